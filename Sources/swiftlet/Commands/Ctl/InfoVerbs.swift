import ArgumentParser
import Spec
import SwiftletClient

struct PingVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping", abstract: "Ask whether the VMM answers, and who it is.")
    @OptionGroup var vmm: VMMOptions

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            try call.ask("vmm.ping") { reply, request throws(CtlFailure) in
                let ping = try call.decode(VMMPing.self, reply, request)
                var table = Table()
                table.add("version", ping.version)
                if let build = ping.buildVersion { table.add("build", build) }
                if let pid = ping.pid { table.add("pid", "\(pid)") }
                if let features = ping.features, !features.isEmpty {
                    table.add("features", features.joined(separator: ", "))
                }
                return table.text
            }
        }
    }
}

struct InfoVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Show the VM's state, its machine and its devices.")
    @OptionGroup var vmm: VMMOptions

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            try call.ask("vm.info") { reply, request throws(CtlFailure) in
                InfoReport.text(try call.decode(VMInfo.self, reply, request))
            }
        }
    }
}

struct CountersVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "counters", abstract: "Show the counters of the VM's devices.")
    @OptionGroup var vmm: VMMOptions

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            try call.ask("vm.counters") { reply, request throws(CtlFailure) in
                Self.text(try call.decode(VMCounters.self, reply, request))
            }
        }
    }

    /// A row for each counter.
    static func text(_ counters: VMCounters) -> String {
        var table = Table(["DEVICE", "COUNTER", "VALUE", "UNIT"], numbers: [2])
        for (device, values) in counters.sorted(by: { $0.key < $1.key }) {
            for (name, value) in values.sorted(by: { $0.key < $1.key }) {
                let (number, unit) = measure(name, value)
                table.add(device, name, number, unit)
            }
        }
        return table.text
    }

    /// A counter as people read it: what it counts, its name tells. Cloud Hypervisor counts latencies in microseconds.
    private static func measure(_ name: String, _ value: UInt64) -> (String, String) {
        if name.hasSuffix("_bytes") {
            let parts = ByteSize.text(value).split(separator: " ").map(String.init)
            if parts.count == 2 { return (parts[0], parts[1]) }
        }
        if name.contains("_latency_") { return ("\(value)", "us") }
        let units = [("_ops", "requests"), ("_frames", "frames"), ("_packets", "packets")]
        return ("\(value)", units.first { name.hasSuffix($0.0) }?.1 ?? "")
    }
}

struct MetricsVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Print the VMM's metrics in Prometheus' text format.")
    @OptionGroup var vmm: VMMOptions

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            try CtlCall(vmm).ask("vmm.metrics") { reply, _ in
                // Its last line has an end of its own.
                let body = reply.body.last == 0x0a ? reply.body.dropLast() : reply.body[...]
                return String(decoding: body, as: UTF8.self)
            }
        }
    }
}
