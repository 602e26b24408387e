import ArgumentParser
import Host
import SwiftletClient

struct WatchVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Show what happens in the VMM as it happens, until the VMM ends.",
        discussion: "With --json each event is one line.")
    @OptionGroup var vmm: VMMOptions

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            do throws(VMMClientError) {
                let request = WireRequest("GET", "vm.events")
                let connection = try BlockingCall.open(request, expecting: 200, at: call.socket, Patience(nil))
                try follow(connection, call)
            } catch {
                throw CtlFailure(error)
            }
        }
    }

    private func follow(_ connection: APIConnection, _ call: CtlCall) throws(VMMClientError) {
        var parser = EventParser()
        while let bytes = try connection.next() {
            guard let events = parser.feed(bytes) else {
                throw connection.failure(.protocolError, ["an event has more than \(EventParser.limit) bytes"])
            }
            for event in events {
                let isShown = StandardStreams.out(try line(event.data, connection, call))
                // Whoever read has gone.
                if !isShown { return }
            }
        }
    }

    private func line(
        _ text: [UInt8], _ connection: APIConnection, _ call: CtlCall
    ) throws(VMMClientError) -> String {
        if call.json {
            return String(decoding: text.map { $0 == 0x0a || $0 == 0x0d ? 0x20 : $0 }, as: UTF8.self)
        }
        let event = try BlockingCall.decode(
            VMEvent.self, text, operation: "GET /api/v1/vm.events", socketPath: call.socket)
        return Self.text(event)
    }

    /// An event on one line: seconds, whose it is, what happened, and more about it.
    static func text(_ event: VMEvent) -> String {
        let micros = String(event.timestamp.nanos / 1000)
        let padded = String(repeating: "0", count: max(0, 6 - micros.count)) + micros
        var table = Table()
        var more = ""
        if case .object(let properties)? = event.properties {
            more = properties.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.plainText)" }.joined(
                separator: " ")
        }
        table.add("\(event.timestamp.secs).\(padded)", event.source, event.event, more)
        return table.text
    }
}

extension JSON {
    /// A value within a line: strings without quotation marks.
    fileprivate var plainText: String {
        switch self {
        case .null: "null"
        case .bool(let flag): "\(flag)"
        case .integer(let number): "\(number)"
        case .unsigned(let number): "\(number)"
        case .number(let number): "\(number)"
        case .string(let text): text
        case .array(let items): "[" + items.map(\.plainText).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.plainText)" }.joined(separator: ",")
                + "}"
        }
    }
}

struct WaitVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Wait until the VM runs, or does not run any more.",
        discussion: """
            running waits for the VMM's socket too. shutdown ends when the VM is shut down or deleted, has not been \
            booted, or when its VMM has ended. Exit status 124 when the time is up.
            """)

    /// What is waited for.
    enum Goal: String, ExpressibleByArgument, CaseIterable { case running, shutdown }

    @OptionGroup var vmm: VMMOptions
    @Argument(help: "running or shutdown") var goal: Goal
    @Option(help: "Seconds to wait at most; for ever without it.") var timeout: Double?

    /// How long to sleep between two looks, in milliseconds.
    private static let pause = 20

    func validate() throws {
        if let timeout, !(timeout >= 0 && timeout < 1e9) {
            throw ValidationError("--timeout: \(timeout) is no number of seconds from 0 on")
        }
    }

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            let patience = Patience(timeout.map { .milliseconds(Int64($0 * 1000)) })
            var last: VMMClientError?
            var hasAnswered = false
            // The first look has its time, however short the wait.
            var look = Patience(timeout.map { .milliseconds(Int64(max(1, $0) * 1000)) })
            while true {
                do throws(VMMClientError) {
                    defer { look = patience }
                    if try isReached(call, look) { return }
                    hasAnswered = true
                    last = nil
                } catch {
                    if try isEnd(error, hasAnswered) { return }
                    if case .timeout = error.kind {} else { last = error }
                }
                if patience.hasExpired {
                    let causes = last?.chain ?? []
                    throw CtlFailure(["the VM was not \(goal) in time"] + causes, status: ExitStatus.timeUp)
                }
                HostClock.sleep(milliseconds: Self.pause)
            }
        }
    }

    private func isReached(_ call: CtlCall, _ patience: Patience) throws(VMMClientError) -> Bool {
        let request = WireRequest("GET", "vm.info")
        let reply = try BlockingCall.perform(request, at: call.socket, patience)
        let info = try BlockingCall.decode(
            VMInfo.self, reply.body, operation: request.operation, socketPath: call.socket)
        return switch goal {
        case .running: info.state == .running
        case .shutdown: info.state == .shutdown || info.state == .created
        }
    }

    /// Whether an error is what is waited for; errors that waiting does not mend are thrown.
    private func isEnd(_ error: VMMClientError, _ hasAnswered: Bool) throws(CtlFailure) -> Bool {
        switch (error.kind, goal) {
        case (.api(404), .shutdown): return true
        case (.cannotConnect, .shutdown), (.connectionLost, .shutdown):
            // A VMM that never answered may be a wrong path.
            if hasAnswered { return true }
            throw CtlFailure(error)
        case (.api(404), .running), (.cannotConnect, .running), (.connectionLost, .running), (.timeout, _): return false
        default: throw CtlFailure(error)
        }
    }
}
