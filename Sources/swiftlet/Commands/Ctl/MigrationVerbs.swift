import ArgumentParser
import Host
import Spec
import SwiftletClient
import Synchronization

/// A migration's argument: a URL, or an option list that has one.
private enum MigrationArgument {
    static func object(
        _ text: String, _ kind: RequestFlags, _ key: String, verb: String
    ) throws(CtlFailure) -> JSONObject {
        let schemes = ["tcp:", "unix:", "file:"]
        if schemes.contains(where: { text.hasPrefix($0) }) {
            var body = JSONObject()
            body[key] = .string(text)
            return body
        }
        let body = try RequestList.object(kind, text, verb: verb)
        guard body[key] != nil else {
            throw CtlFailure.usage("\(verb): no \(key); give tcp:HOST:PORT, unix:/PATH, or \(key)=…")
        }
        return body
    }
}

struct SendMigrationVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send-migration", abstract: "Move the VM to another VMM.",
        discussion: """
            Ends when the migration is over. It shows how far that is: as a bar on a terminal; elsewhere as lines of JSON, one \
            each half second and one at the end, if the VMM still answers then. With --json there is none of that unless \
            --progress asks for the lines.
            """)
    @OptionGroup var vmm: VMMOptions
    @Flag(help: "Hand the memory over by descriptors, on the same host.") var local = false
    @Flag(inversion: .prefixedNo, help: "Show how far it is.") var progress: Bool?
    @Argument(
        help:
            "tcp:HOST:PORT or unix:/PATH, or destination_url=URL,downtime_ms=N,timeout_s=N,timeout_strategy=cancel|ignore,connections=N,tls_dir=DIRECTORY,local=on,memory_mode=precopy|postcopy,reconnect_s=N,auto_converge=off,bandwidth=SIZE,disks=shared|mirror,compression=none|zstd"
    )
    var config: String

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            var body = try MigrationArgument.object(
                config, .sendMigration, "destination_url", verb: "send-migration")
            if local { body["local"] = .bool(true) }
            let call = try CtlCall(vmm)
            let isTerminal = Terminal.size(2) != nil && !vmm.json
            let meter = progress ?? !vmm.json ? MigrationMeter(call, isTerminal: isTerminal) : nil
            defer { meter?.end() }
            try call.act("vm.send-migration", body)
        }
    }
}

struct ReceiveMigrationVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "receive-migration", abstract: "Wait for a VM from another VMM.",
        discussion: "Ends when the VM has arrived.")
    static let route = "vm.receive-migration"
    @OptionGroup var vmm: VMMOptions
    @Option(
        name: .customLong("disk"), parsing: .singleValue,
        help: ArgumentHelp(
            "Where the image of a disk is here, or is to be made if it comes along.", valueName: "id=path"))
    var disks: [String] = []
    @Argument(help: "tcp:HOST:PORT or unix:/PATH, or receiver_url=URL,tls_dir=DIRECTORY") var config: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = try MigrationArgument.object(config, .receiveMigration, "receiver_url", verb: "receive-migration")
        if !disks.isEmpty { body["disks"] = .array(try disks.map(Self.disk)) }
        return body
    }

    private static func disk(_ text: String) throws(CtlFailure) -> JSONValue {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw CtlFailure.usage("receive-migration --disk \(text): expected ID=PATH")
        }
        let path = String(text[text.index(after: equals)...])
        return .members([("id", .string(String(text[..<equals]))), ("path", .string(path))])
    }
}

struct MigrationVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migration", abstract: "Show how far the VM's migration is, or how the last one ended.")
    @OptionGroup var vmm: VMMOptions

    /// What is shown, in this order.
    private static let rows = [
        "role", "state", "owner", "over", "error", "token", "peer", "memory_mode", "compression", "round",
        "memory_bytes", "sent_bytes", "sent_pages",
        "zero_pages", "remaining_bytes", "disk_bytes", "disk_sent_bytes", "disk_remaining_bytes", "rate_bytes_per_s",
        "dirty_rate_bytes_per_s", "expected_downtime_ms",
        "downtime_ms", "throttle_percent", "elapsed_ms",
    ]

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            try CtlCall(vmm).ask("vm.migration") { reply, _ in
                guard let report = MigrationMeter.members(reply.body) else { return nil }
                var table = Table()
                for key in Self.rows {
                    guard let value = report[key] else { continue }
                    table.add(key, MigrationMeter.text(key, value))
                }
                return table.text
            }
        }
    }
}

struct MigrationCancelVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "migration-cancel", abstract: "Call the VM's migration off; the VM stays where it is.")
    static let route = "vm.migration.cancel"
    @OptionGroup var vmm: VMMOptions
}

struct MigrationCheckVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migration-check", abstract: "Ask a VMM that waits for a VM whether it would take this one.",
        discussion: "Prints every reason against it, a line each, and exits with 1 where there is one. Nothing moves.")
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "tcp:HOST:PORT or unix:/PATH, or destination_url=URL") var config: String

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let verb = "migration-check"
            let body = try MigrationArgument.object(config, .sendMigration, "destination_url", verb: verb)
            let call = try CtlCall(vmm)
            let bytes = Array(JSONValue.object(body).text().utf8)
            let reply = try call.perform(WireRequest("PUT", "vm.migration.check", body: bytes))
            if call.json { StandardStreams.out(String(decoding: reply.body, as: UTF8.self)) }
            guard case .array(let reasons)? = MigrationMeter.members(reply.body)?["reasons"], !reasons.isEmpty else {
                return
            }
            throw CtlFailure(
                ["the destination would not take the VM"]
                    + reasons.compactMap { reason in
                        if case .string(let text) = reason { text } else { nil }
                    }, status: ExitStatus.failed)
        }
    }
}

struct MigrationResolveVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "migration-resolve", abstract: "Decide who has a VM whose migration ended without an answer.",
        discussion: """
            Look first whether the VM runs at the destination: `swiftlet ctl migration` there tells it by the token. \
            run-here where it does not, discard where it does. A destination that does not answer has to be ended first: it \
            may have got the commit, and would run as well when it wakes. Of a postcopy migration that has lost its connection, \
            reconnect seeks the destination again; discard at the destination drops the guest.
            """)
    static let route = "vm.migration.resolve"
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "The migration's token, which `swiftlet ctl migration` shows.") var token: String
    @Argument(help: "run-here, discard or reconnect") var action: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        (body["token"], body["action"]) = (.string(token), .string(action))
        return body
    }
}

/// Shows how far a migration is while another thread waits for its end.
final class MigrationMeter: Sendable {
    private let call: CtlCall
    private let isTerminal: Bool
    private let isOver = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)
    private let shown = Atomic<Bool>(false)

    /// How long to sleep between two looks, in ms.
    private static let pause = 500

    init(_ call: CtlCall, isTerminal: Bool) {
        (self.call, self.isTerminal) = (call, isTerminal)
        let started = try? Thread("progress", stackSize: 1 << 20) { [self] in run() }
        thread.withLock { $0 = started }
    }

    /// Ends it; the cursor is on a new line then.
    func end() {
        isOver.store(true, ordering: .releasing)
        thread.withLock { $0 }?.join()
        if isTerminal, shown.load(ordering: .acquiring) { StandardStreams.error("") }
    }

    private func run() {
        var slept = 0
        while !isOver.load(ordering: .acquiring) {
            HostClock.sleep(milliseconds: 50)
            slept += 50
            guard slept >= Self.pause else { continue }
            slept = 0
            show()
        }
        // A bar has nothing to say of the end that the exit status does not.
        if !isTerminal { show() }
    }

    private func show() {
        guard let reply = try? call.perform(WireRequest("GET", "vm.migration"), Patience(.seconds(2))),
            let report = Self.members(reply.body)
        else { return }
        if isTerminal {
            shown.store(true, ordering: .releasing)
            // What goes beyond the line's end could not be taken back.
            let columns = Int(Terminal.size(2)?.columns ?? 80)
            StandardStreams.errorAsItIs("\r\u{1B}[K" + Self.line(report).prefix(max(1, columns - 1)))
        } else {
            StandardStreams.out(String(decoding: reply.body, as: UTF8.self))
        }
    }

    static func members(_ bytes: [UInt8]) -> JSONObject? {
        guard case .object(let object)? = try? JSONValue.parse(bytes) else { return nil }
        return object
    }

    /// A value as people read it.
    static func text(_ key: String, _ value: JSONValue) -> String {
        switch value {
        case .string(let text): text
        case .bool(let flag): flag ? "yes" : "no"
        default:
            if key.contains("bytes"), let number = UInt64(value.text()) {
                ByteSize.text(number) + (key.hasSuffix("per_s") ? "/s" : "")
            } else {
                value.text()
            }
        }
    }

    /// The migration on a line: a bar for the round, and the figures.
    static func line(_ report: JSONObject) -> String {
        func number(_ key: String) -> UInt64 { report[key].flatMap { UInt64($0.text()) } ?? 0 }
        let (total, _) = number("memory_bytes").addingReportingOverflow(number("disk_bytes"))
        let (left, _) = number("remaining_bytes").addingReportingOverflow(number("disk_remaining_bytes"))
        let part = Int(min(20, (max(total, 1) - min(left, max(total, 1))) / max(total / 20, 1)))
        let bar = String(repeating: "#", count: part) + String(repeating: "-", count: 20 - part)
        var words = [
            "[\(bar)]", "round \(number("round"))", ByteSize.text(number("sent_bytes")),
            "\(ByteSize.text(number("rate_bytes_per_s")))/s",
            "written \(ByteSize.text(number("dirty_rate_bytes_per_s")))/s",
        ]
        if report["disk_bytes"] != nil { words.append("disks \(ByteSize.text(number("disk_remaining_bytes"))) left") }
        if case .string("Postcopy")? = report["memory_mode"], case .string(let state)? = report["state"] {
            // No rounds, and nothing that the guest could write here any more.
            words = [
                "[\(bar)]", state, "\(ByteSize.text(left)) to follow", "\(ByteSize.text(number("sent_bytes"))) sent",
            ]
            if report["downtime_ms"] != nil { words.append("stood still \(number("downtime_ms")) ms") }
            if case .string(let problem)? = report["error"] { words.append(String(problem.prefix(120))) }
        }
        if report["expected_downtime_ms"] != nil { words.append("downtime \(number("expected_downtime_ms")) ms") }
        if number("throttle_percent") > 0 { words.append("vCPUs held back \(number("throttle_percent"))%") }
        return words.joined(separator: "  ")
    }
}
