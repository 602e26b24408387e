import Foundation
import TestSupport
import Testing

/// A guest that computes on 4 vCPUs, writes a file system and talks to the host, and goes on from one snapshot to the next,
/// each in another process: the init's test `chain`.
final class SnapshotChain {
    /// How many snapshots are taken: a few, or as many as the environment says.
    static let steps = ProcessInfo.processInfo.environment["SWIFTLET_SNAPSHOT_STEPS"].flatMap { Int($0) } ?? 3

    /// Where a clone's lines are found, and what it says.
    struct Identity: Equatable { let generation: String, random: String }

    private let scratch: ScratchDirectory
    private let deadline: Deadline
    private let tap: String
    private let disk: String
    private let stream: ChildProcess
    private var guest: LinuxGuest
    private var socket: String
    /// What the processes before this one printed.
    private var output = ""
    private var snapshot = ""

    /// Boots the guest.
    init(in scratch: ScratchDirectory) throws {
        self.scratch = scratch
        tap = "swc\(getpid())"
        try Self.makeTap(tap)
        try Self.ip(["address", "add", "192.168.250.1/24", "dev", tap])
        disk = try Self.makeDisk(in: scratch)
        let port = 31_000 + Int(getpid()) % 1_000
        stream = try ChildProcess(
            Command(
                "sh",
                [
                    "-c",
                    "n=0; while sleep 0.1; do n=$((n + 1)); echo $n; done | busybox nc -l -p \(port) >\(scratch.path("heard"))",
                ]))
        var spec = try VMConfiguration(
            tests: "chain", words: "swiftlet.ip=192.168.250.2/24", "swiftlet.peer=192.168.250.1",
            "swiftlet.port=\(port)")
        spec.cpus = .init(bootVcpus: 4, maxVcpus: 4)
        spec.disks = [.init(path: disk, id: "files")]
        spec.net = [.init(tap: tap, id: "lan")]
        socket = scratch.path("api0")
        // It boots, and computes for a while before each snapshot.
        guest = try LinuxGuest(spec, in: scratch, options: ["--api-socket", socket], patience: 3)
        deadline = guest.deadline
        try guest.expect("SWIFTLET: chain-ready")
    }

    deinit {
        // Those of clones may never have been made.
        for name in [tap] + (1...2).map({ "\(tap)c\($0)" }) {
            _ = try? runProcess(Command("ip", ["link", "delete", name]))
        }
    }

    /// Pauses the guest after some work of each vCPU, takes a snapshot, kills the process and goes on in another one.
    func step(_ number: Int) throws {
        for vcpu in 0..<4 { try waitForLines(2, with: "cpu\(vcpu)") }
        let api = try GuestAPI(socket, by: deadline)
        try #require(try api.put("vm.pause").status == 204)
        snapshot = scratch.path("snapshot\(number)")
        let kind = number == 1 ? "Full" : "Diff"
        let taken = try api.put("vm.snapshot", "{\"destination_url\":\"file://\(snapshot)\",\"type\":\"\(kind)\"}")
        try #require(taken.status == 204, "\(taken)")
        guest.process.signal(SIGKILL)
        let report = try guest.finish()
        try #require(report.ending == .signaled(SIGKILL), "\(report)")
        try #require(report.all("error").isEmpty, "step \(number): \(report)")
        output += report.output
        if number == Self.steps { for clone in 1...2 { try copy(disk, to: "clone\(clone)") } }
        socket = scratch.path("api\(number)")
        let options = ["--api-socket", socket] + (number.isMultiple(of: 2) ? ["--on-demand"] : [])
        guest = try LinuxGuest(restoring: snapshot, in: scratch, options: options, deadline: deadline)
    }

    private func waitForLines(_ count: Int, with key: String) throws {
        for _ in 0..<count { try guest.expect("SWIFTLET: \(key) ") }
    }

    /// Two more guests from the last snapshot, while the first one goes on: what each says of itself.
    func clones() throws -> [Identity] {
        let clones = try (1...2).map { number in
            try Self.makeTap("\(tap)c\(number)")
            return try LinuxGuest(
                restoring: snapshot, in: scratch,
                options: [
                    "--on-demand", "--override", "disks.files.path=\(scratch.path("clone\(number)"))", "--override",
                    "net.lan.tap=\(tap)c\(number)",
                ], deadline: deadline)
        }
        return try clones.map { clone in
            try clone.expect("SWIFTLET: generation ")
            try clone.expect("\n")
            try clone.expect("SWIFTLET: random ")
            try clone.expect("\n")
            let lines = GuestReport.lines(in: clone.process.output)
            clone.process.kill()
            return try #require(Self.identities(lines).last, "\(clone.process.evidence)")
        }
    }

    /// Each id of the VM that the guest saw, with its random bytes then.
    static func identities(_ lines: [(key: String, value: String)]) -> [Identity] {
        lines.filter { $0.key == "random" }.compactMap { line in
            let words = line.value.split(separator: " ").map(String.init)
            return words.count == 2 ? Identity(generation: words[0], random: words[1]) : nil
        }
    }

    /// Has the guest end, after it has gone on for a while.
    func finish() throws -> GuestReport {
        for vcpu in 0..<4 { try waitForLines(2, with: "cpu\(vcpu)") }
        // It may have come before those lines.
        let told = deadline.wait(every: .milliseconds(100)) {
            GuestReport.lines(in: guest.process.output).contains { $0.key == "random" }
        }
        try #require(told, "\(guest.process.evidence)")
        try guest.process.write("stop\n")
        let last = try guest.finish()
        return GuestReport(ending: last.ending, output: output + last.output, errors: last.errors)
    }

    /// The numbers that came from the guest over the whole chain.
    func heard() throws -> [Int] {
        _ = Deadline.seconds(20).wait { stream.ending != nil }
        return String(decoding: try scratch.read("heard"), as: UTF8.self).split(separator: "\n").map { Int($0) ?? -1 }
    }

    /// What all the snapshots take on the disk, in MiB.
    func mebibytes() throws -> Int {
        let used = try runProcess(
            Command("sh", ["-c", "du -smc \(scratch.path)/snapshot* | tail -n 1 | cut -f 1"]))
        return try #require(Int(used.text.trimmingCharacters(in: .whitespacesAndNewlines)), "\(used)")
    }

    /// Looks at the file system, which the guest has unmounted.
    func checkFileSystem() throws -> ProcessResult { try runProcess(Command("e2fsck", ["-fn", disk])) }

    // MARK: The host's side

    private static func makeTap(_ name: String) throws {
        try ip(["tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr"])
        try ip(["link", "set", name, "up"])
    }

    private static func ip(_ words: [String]) throws {
        let result = try runProcess(Command("ip", words))
        try #require(result.succeeded, "ip \(words.joined(separator: " ")): \(result)")
    }

    private func copy(_ file: String, to name: String) throws {
        let copied = try runProcess(Command("cp", ["--sparse=always", file, scratch.path(name)]))
        try #require(copied.succeeded, "\(copied)")
    }

    /// An ext4 file system with the host's tcc, its libraries, a program in C, and what is to come of it.
    private static func makeDisk(in scratch: ScratchDirectory) throws -> String {
        let tree = scratch.path("tree")
        try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: false)
        try scratch.write("tree/program.c", program)
        let line = """
            cp -L $(ldd $(command -v tcc) | awk '$3 ~ /^\\// { print $3 } $1 ~ /^\\// { print $1 }') $(command -v tcc) . &&
            tcc -nostdlib -static -o ../program program.c || exit 125
            ../program; echo $(sha256sum <../program | cut -c1-64) $? >expected
            """
        var command = Command("sh", ["-c", line])
        command.directory = tree
        let built = try runProcess(command)
        try #require(built.succeeded, "tcc is needed (apt-get install tcc): \(built)")
        let disk = try scratch.sparse("disk.raw", bytes: 32 << 20)
        let made = try runProcess(Command("mke2fs", ["-q", "-t", "ext4", "-d", tree, disk]))
        try #require(made.succeeded, "\(made)")
        return disk
    }

    /// A program of 200 functions that ends with a number that all of them had a part in.
    private static var program: String {
        let functions = (0..<200).map { number in
            "int f\(number)(int x) { int s = x, i; for (i = 0; i < \(number % 7 + 1); i++) "
                + "s = s * \(2 * number + 3) + (s >> 3) ^ i; return s; }\n"
        }
        let calls = (0..<200).map { "s = f\($0)(s);\n" }
        return functions.joined() + "void _start(void) { int s = 1;\n" + calls.joined()
            + "asm volatile (\"syscall\" :: \"a\" (60), \"D\" (s & 127)); }\n"
    }
}
