import Machine

extension Route {
    /// What can be watched.
    static let observation: [Route] = [
        .get("vm.counters") { context in
            guard let counters = context.vm.status.counters else {
                let reason: VMError = context.vm.status.state == nil ? .notCreated : .notBooted
                return .failure(reason.during("The VM's counters are not available"))
            }
            return .json(counters)
        },
        .get("vmm.metrics") { context in
            let events = MetricFamily(
                .counter, "swiftlet_events_dropped_total", "Events that did not get into the event monitor's file.",
                [.init([], .integer(context.events.dropped))])
            let text = PrometheusText.render(context.vm.status.metrics + [events])
            return .response(status: 200, contentType: PrometheusText.contentType, body: Array(text.utf8))
        },
        .get("vm.events") { EventStream.reply($0.events) },
        .get("vm.console") { line(.console, "console", $0) },
        .get("vm.serial") { line(.serial, "serial port", $0) },
    ]

    /// Attaches a client to one of the guest's character devices.
    private static func line(_ line: ConsoleBackends.Line, _ name: String, _ context: APIContext) -> APIReply {
        guard let consoles = context.vm.status.consoles else {
            return .failure(VMError.notCreated.during("The \(name) cannot be attached to"))
        }
        guard let port = consoles.port(line) else {
            return .failure(VMError(.notFound, ["The VM has no \(name): its mode is Off"]))
        }
        return ConsoleStream.reply(port)
    }
}
