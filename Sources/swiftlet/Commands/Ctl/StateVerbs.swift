import ArgumentParser
import Host
import Spec
import SwiftletClient

struct CoredumpVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "coredump", abstract: "Write the guest's memory and registers as an ELF core.",
        discussion: "The VMM writes the file; gdb and crash open it.")
    static let route = "vm.coredump"
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "file:///PATH") var url: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        body["destination_url"] = .string(url)
        return body
    }
}

struct SnapshotVerb: ActionVerb {
    static let configuration = CommandConfiguration(commandName: "snapshot", abstract: "Save a paused VM.")
    static let route = "vm.snapshot"
    @OptionGroup var vmm: VMMOptions
    @Option(help: "Full, for a Diff to follow, or Diff: what was written since the last one with a type.")
    var type: String?
    @Option(help: "Take the disks' images along: reflink or copy.") var disks: String?
    @Argument(help: "file:///DIRECTORY") var url: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        body["destination_url"] = .string(url)
        if let type { body["type"] = .string(type) }
        if let disks { body["disks"] = .string(disks) }
        return body
    }
}

struct RestoreVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Restore a VM from a snapshot.",
        discussion: "net_fds=[ID@[N,N]] hands open tap queues of this process over.")
    @OptionGroup var vmm: VMMOptions
    @Option(
        name: .customLong("override"),
        help: "Use another resource of the host: disks.ID.path=FILE, net.ID.tap=NAME, serial.file=FILE …")
    var overrides: [String] = []
    @Argument(help: "source_url=file:///DIRECTORY,prefault=on,resume=on,disks=copy,net_fds=[ID@[N,N]]") var config:
        String

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            var body = try RequestList.object(.restore, config, verb: "restore")
            if !overrides.isEmpty {
                do throws(SpecError) {
                    body["overrides"] = .object(try RestoreOverrides.object(overrides, name: "restore --override"))
                } catch {
                    throw CtlFailure(error)
                }
            }
            var descriptors: [Int32] = []
            if case .array(let cards)? = body["net_fds"] {
                var counted: [JSONValue] = []
                for card in cards {
                    guard case .object(var card) = card else { continue }
                    let numbers = try RequestList.takeDescriptors(&card, "fds", "restore")
                    card["num_fds"] = .integer(numbers.count)
                    counted.append(.object(card))
                    descriptors += numbers
                }
                body["net_fds"] = .array(counted)
            }
            try CtlCall(vmm).act("vm.restore", body, descriptors: descriptors)
        }
    }
}

struct ForkVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fork", abstract: "Make VMs of the one that runs, which share its memory until they write to it.",
        discussion: """
            The VM stands still afterwards, and so do the children; resume lets each go on. A file says what each child \
            gets of the host: {"children": [{"api_socket": "/run/a.sock", "overrides": {"serial": {"file": "/tmp/a"}}}]}.
            """)
    @OptionGroup var vmm: VMMOptions
    @Option(help: "The request in JSON, or - for standard input, in place of sockets.", completion: .file())
    var request: String?
    @Argument(help: "The API sockets of the children.", completion: .file()) var sockets: [String] = []

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let body: [UInt8]
            switch (request, sockets.isEmpty) {
            case (let path?, true): body = try CreateVerb.read(path)
            case (nil, false):
                let children = sockets.map { JSONValue.members([("api_socket", .string($0))]) }
                body = Array(JSONValue.members([("children", .array(children))]).text().utf8)
            default: throw CtlFailure.usage("fork: name either the children's sockets or --request and a file")
            }
            let call = try CtlCall(vmm)
            try call.act("vm.fork", bytes: body) { reply, request throws(CtlFailure) in
                let children = try call.decode(ForkedVMs.self, reply, request).children
                return children.map { "\($0.apiSocket) \($0.pid)" }.joined(separator: "\n")
            }
        }
    }
}
