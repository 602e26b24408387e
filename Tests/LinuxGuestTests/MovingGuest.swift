import Foundation
import TestSupport
import Testing

/// A guest that computes on 4 vCPUs, writes a file system and serves a client over TCP (the init's test `serve`), and moves
/// between two hosts, each time into a new process.
final class MovingGuest {
    /// How often it is to move, where the environment says so.
    private static let wanted = ProcessInfo.processInfo.environment["SWIFTLET_MOVES"].flatMap { Int($0) }
    /// Whether more than each way once is asked for: what takes minutes runs then.
    static var isLong: Bool { (wanted ?? 0) > Way.all.count }

    /// The ways that the executable has.
    let ways: [Way]
    /// How often it moves: once each way, if nobody wants more.
    var moves: Int { Self.wanted ?? ways.count }

    /// Bytes of its memory.
    static let memorySize: UInt64 = 256 << 20

    let hosts: TwoHosts
    let deadline: Deadline
    let client: EchoClient
    private let scratch: ScratchDirectory
    /// Its disk's image, which is another one where the disk came along.
    private var disk: String
    private var vmm: ChildProcess
    private var socket: String
    /// On which host it is.
    private(set) var place = 0
    private var count = 0
    private var certificates: Certificates?

    /// Boots it.
    ///
    /// - Parameter memory: what it has; its size and whether it is shared are set here.
    init(in scratch: ScratchDirectory, memory: VMConfiguration.Memory = .init(size: 0)) throws {
        self.scratch = scratch
        deadline = Deadline.seconds(5 * GuestFiles.limit)
        hosts = try TwoHosts()
        disk = try scratch.sparse("disk.raw", bytes: 32 << 20)
        try Self.succeed("mke2fs", "-q", "-t", "ext4", disk)
        var spec = try VMConfiguration(
            tests: "serve", words: "swiftlet.ip=\(TwoHosts.guest)/24", "swiftlet.port=7000")
        spec.cpus = .init(bootVcpus: 4, maxVcpus: 4)
        spec.memory = memory
        (spec.memory.size, spec.memory.shared) = (Self.memorySize, true)
        spec.disks = [.init(path: disk, id: Way.disk)]
        spec.net = [.init(tap: TwoHosts.tap, id: "lan")]
        spec.serial = .file(scratch.path("serial"))
        (vmm, socket) = try Self.start(hosts, 0, scratch, "api0")
        let api = try GuestAPI(socket, by: deadline)
        ways = try Self.ways(api)
        for (name, body) in [("vm.create", String(decoding: try spec.json(), as: UTF8.self)), ("vm.boot", "")] {
            let reply = try api.put(name, body)
            try #require(reply.status == 204, "\(name): \(reply)\n\(vmm.evidence)")
        }
        client = try EchoClient(TwoHosts.guest, 7000, by: deadline)
    }

    /// All ways but those that the executable was built without, which it tells itself.
    private static func ways(_ api: GuestAPI) throws -> [Way] {
        if try api.get("vmm.ping").body.contains(#""zstd""#) { return Way.all }
        tell("the way \(Way.compressed.name) is left out: the executable was built without libzstd (Tests/run zstd)")
        return Way.all.filter { $0.name != Way.compressed.name }
    }

    private static func start(
        _ hosts: TwoHosts, _ host: Int, _ scratch: ScratchDirectory, _ name: String
    ) throws -> (ChildProcess, String) {
        let socket = scratch.path(name)
        let command = hosts.command(
            on: host, try Built.swiftlet(), ["vmm", "--api-socket", socket, "-v", "--log-file", scratch.path("log")])
        return (try ChildProcess(command), socket)
    }

    /// What happened so far, for a failed expectation.
    var evidence: String {
        func end(_ name: String) -> String {
            ((try? String(contentsOfFile: scratch.path(name), encoding: .utf8)) ?? "").suffix(4000).description
        }
        return "move \(count): \(vmm.evidence)\n--- serial ---\n\(end("serial"))\n--- log ---\n\(end("log"))"
    }

    /// Waits until it has served its client, and counted on each vCPU.
    func work() throws {
        let before = (client.answered, try lines())
        let worked = try deadline.wait(every: .milliseconds(100)) {
            if client.failure != nil { return true }
            guard client.answered >= before.0 + 3 else { return false }
            let now = try lines()
            return (0..<4).allSatisfy { vcpu in now.all("cpu\(vcpu)").count > before.1.all("cpu\(vcpu)").count }
        }
        try #require(worked && client.failure == nil, "\(client.failure ?? "the guest stands still")\n\(evidence)")
    }

    private func lines() throws -> GuestReport {
        GuestReport(
            ending: .exited(0), output: String(decoding: try scratch.read("serial"), as: UTF8.self), errors: "")
    }

    /// What a migration came to.
    struct Outcome: CustomStringConvertible {
        let sent: GuestAPI.Reply
        /// What `vm.migration` says of it at the source, or at the destination where the source has ended.
        let report: String
        /// What the destination's curl printed: its reply's status.
        let received: String
        var description: String { "\(sent)\n\(report)\nreceived: \(received)" }
    }

    /// Moves it to the other host.
    ///
    /// - Parameters:
    ///   - way: how it goes there.
    ///   - arrives: whether it does.
    ///   - during: called while it is under way, with the source.
    @discardableResult
    func move(
        _ way: Way = .plain, arrives: Bool = true, during: (GuestAPI) throws -> Void = { _ in }
    ) throws -> Outcome {
        count += 1
        let there = 1 - place
        let (other, otherSocket) = try Self.start(hosts, there, scratch, "api\(count)")
        let port = 20_000 + count
        let (own, url) =
            way.isLocal
            ? ("unix:\(scratch.path("move\(count)"))", "unix:\(scratch.path("move\(count)"))")
            : ("tcp:0.0.0.0:\(port)", "tcp:\(hosts.address(there)):\(port)")
        let otherAPI = try GuestAPI(otherSocket, by: deadline)
        let image = way.isMirrored ? scratch.path("disk\(count).raw") : disk
        let receiver = try ask(
            otherSocket, "vm.receive-migration", #"{"receiver_url":"\#(own)"\#(try way.atDestination(image, tls))}"#)
        let waits = try deadline.wait(every: .milliseconds(50)) {
            try otherAPI.get("vm.migration").body.contains(#""waiting""#)
        }
        try #require(waits, "\(other.evidence)")
        let sender = try ask(
            socket, "vm.send-migration",
            #"{"destination_url":"\#(url)"\#(try way.atSource(tls))}"#)
        let api = try GuestAPI(socket, by: deadline)
        try during(api)
        // Nobody can tell afterwards why it stood still.
        var slow = ""
        let isQuick = Deadline.seconds(25).wait { sender.ending != nil }
        if !isQuick {
            let reports = [api, otherAPI].map { (try? $0.get("vm.migration").body) ?? "no answer" }
            slow = "--- after 25 s ---\n\(reports.joined(separator: "\n"))\n\(hosts.connections)"
        }
        _ = try sender.waitForEnd(by: deadline)
        // A source that has nothing left to do may be gone already.
        let report = try (try? api.get("vm.migration").body) ?? otherAPI.get("vm.migration").body
        let status = Int(sender.output.suffix(3)) ?? 0
        if arrives { _ = try receiver.waitForEnd(by: deadline) } else { other.kill() }
        let outcome = Outcome(
            sent: .init(status: status, body: sender.output), report: report, received: receiver.output)
        if arrives {
            // Whatever ended the source says so when it ends.
            if status != 204 { _ = Deadline.seconds(5).wait { vmm.ending != nil } }
            try #require(status == 204 && receiver.output.hasSuffix("204"), "\(outcome)\n\(slow)\(evidence)")
            // Its VM is gone, and there is nothing else for it to do.
            #expect(try vmm.waitForEnd(by: deadline) == .exited(0), "\(vmm.evidence)")
            (vmm, socket, place) = (other, otherSocket, there)
            if way.isMirrored {
                try leave(disk)
                disk = image
            }
        }
        return outcome
    }

    /// Looks at the image that a guest left behind while it wrote: the file system of a machine whose power was cut.
    private func leave(_ image: String) throws {
        // Replays its journal, without which nothing in it is of one moment.
        let mended = try runProcess(Command("e2fsck", ["-p", image]))
        try #require(mended.ending == .exited(0) || mended.ending == .exited(1), "\(mended)")
        try Self.succeed("e2fsck", "-fn", image)
        try FileManager.default.removeItem(atPath: image)
    }

    private static func succeed(_ program: String, _ arguments: String...) throws {
        let result = try runProcess(Command(program, arguments))
        try #require(result.succeeded, "\(program) \(arguments): \(result)")
    }

    /// The directory of both ends' certificates, made when the first of them is needed.
    private func tls() throws -> String {
        let made = try certificates ?? Certificates(in: scratch, for: (0...1).map(hosts.address))
        certificates = made
        return made.directory
    }

    private func ask(_ socket: String, _ name: String, _ body: String) throws -> ChildProcess {
        try ChildProcess(
            Command(
                "curl",
                [
                    "-sS", "-w", "%{http_code}", "--unix-socket", socket, "-X", "PUT", "-H",
                    "Content-Type: application/json", "--data-binary", body, "http://localhost/api/v1/\(name)",
                ]))
    }

    /// Has it end, and looks at all that it did.
    func finish() throws {
        try #require(client.stop(by: deadline), "\(client.failure ?? "the guest does not stop")\n\(evidence)")
        let ending = try vmm.waitForEnd(by: deadline)
        let report = GuestReport(ending: ending, output: try lines().output, errors: vmm.errors)
        try #require(report.isClean, "\(report)\n\(evidence)")
        // Neither a gap nor a repeat.
        for vcpu in 0..<4 {
            let counted = try #require(report["counted\(vcpu)"].flatMap { Int($0) }, "\(report)")
            #expect(report.all("cpu\(vcpu)").map { Int($0) } == (1...counted).map { $0 })
        }
        let files = try #require(report["files"].flatMap { Int($0) }, "\(report)")
        #expect(files > 1)
        #expect(report["complaints"] == "0", "\(report.all("complaint"))\n\(report)")
        try Self.succeed("e2fsck", "-fn", disk)
        tell("moves: \(client.answered) answers, the longest after \(client.longest) ms; \(files) files")
    }
}
