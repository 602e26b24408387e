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
        .get("vmm.metrics") { metrics($0) },
        metricsWithDirtying(true), metricsWithDirtying(false),
        .get("vm.events") { EventStream.reply($0.events) },
        .get("vm.console") { line(.console, "console", $0) },
        .get("vm.serial") { line(.serial, "serial port", $0) },
    ]

    /// The metrics as they are.
    private static func metrics(_ context: APIContext) -> APIReply {
        let events = MetricFamily(
            .counter, "swiftlet_events_dropped_total", "Events that did not get into the event monitor's file.",
            [.init([], .integer(context.events.dropped))])
        let text = PrometheusText.render(context.vm.status.metrics + [events])
        return .response(status: 200, contentType: PrometheusText.contentType, body: Array(text.utf8))
    }

    /// The metrics with what the guest's memory was written since the look before, which the first one begins; or the
    /// end of that. Without a guest that is on there is nothing to log, and the rest is told all the same.
    private static func metricsWithDirtying(_ on: Bool) -> Route {
        Route(name: "vmm.metrics?dirty_log=\(on ? "on" : "off")", method: .get, body: .none) { _, context, reply in
            context.vm.send(.measureDirtying(on)) { result in
                if case .failure(let error) = result { context.logger.debug("vmm.metrics: \(error)") }
                reply(metrics(context))
            }
        }
    }

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
