import Foundation
import Host
import TestSupport
import Testing

/// Files and host resources that a spec names and that cannot be used.
@Suite struct BadBackendTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("backend") }

    private func run(_ members: String) throws -> ProcessResult { try Swiftlet.run(spec: Swiftlet.spec(members)) }
    private func disk(_ path: String) -> String { #""disks":[{"path":"\#(path)"}]"# }

    @Test func namesADiskThatIsNone() throws {
        expectRefusal(
            try run(disk("/nonexistent")), 65, "$.disks[0].path: /nonexistent: cannot be opened", "ENOENT",
            "check the path")
        expectRefusal(
            try run(disk(scratch.path)), 65, "$.disks[0].path: \(scratch.path): ", "irectory", "name an image")
        let small = try scratch.write("small", "x")
        expectRefusal(try run(disk(small)), 65, "$.disks[0].path: \(small): has 1 bytes", "truncate")
        expectRefusal(
            try run(disk("/dev/null")), 65, "$.disks[0].path: /dev/null: is neither a file nor a block", "name an image"
        )
        let foreign = try scratch.write("qcow2", [0x51, 0x46, 0x49, 0xFB] + [UInt8](repeating: 0, count: 1020))
        expectRefusal(try run(disk(foreign)), 65, "$.disks[0].path: \(foreign): is a Qcow2 image", "qemu-img convert")
    }

    @Test func namesADiskThatEndsWithinASector() throws {
        let odd = try scratch.sparse("odd.raw", bytes: 700)
        expectRefusal(
            try run(disk(odd)), 65, "$.disks[0].path: \(odd): has 700 bytes", "whole sectors of 512",
            "truncate -s 1024 \(odd)")
    }

    @Test func namesAnInterfaceThatIsNoTap() throws {
        expectRefusal(
            try run(#""net":[{"id":"a"},{"tap":"lo"}]"#), 65, "$.net[1].tap: lo is not a tap interface", "name a tap")
        let kernel = try scratch.write("kernel", TinyKernel([0xF4]).elf)
        expectRefusal(
            try Swiftlet.run(["vmm", "--kernel", kernel, "--console", "off", "--net", "tap=lo"]), 65,
            "--net: key 'tap': lo is not a tap interface", "name a tap")
    }

    /// Kernel, initramfs, each disk, and the entropy source, whichever is opened first.
    @Test func namesEveryFileThatCannotBeUsed() throws {
        let text = try scratch.write("text", String(repeating: "no kernel ", count: 100))
        let good = try scratch.sparse("good.raw", bytes: 1 << 20)
        let spec = Swiftlet.spec(
            #""payload":{"kernel":"\#(text)","initramfs":"/no/i"},"rng":{"src":"/no/rng"},"#
                + #""disks":[{"path":"/no/a"},{"path":"\#(good)"},{"path":"/no/b"}]"#)
        let places = [
            "$.payload.kernel: \(text): is neither ELF", "$.payload.initramfs: /no/i: cannot",
            "$.disks[0].path: /no/a: ",
            "$.disks[2].path: /no/b: ", "$.rng.src: /no/rng: ",
        ]
        for result in [try Swiftlet.run(spec: spec), try Swiftlet.run(["check", "-"], input: spec)] {
            #expect(result.ending == .exited(65) && result.output.isEmpty, "\(result)")
            let lines = result.errors.split(separator: "\n")
            #expect(lines.count == places.count, "\(result)")
            for (line, place) in zip(lines, places) { #expect(line.hasPrefix("swiftlet: \(place)"), "\(line)") }
        }
        let flags = try Swiftlet.run([
            "vmm", "--kernel", "/no/k", "--initramfs", "/no/i", "--disk", "path=/no/a", "path=/no/b", "--console",
            "off",
            "--rng", "src=/no/rng", "--serial", "file=/no/s",
        ])
        #expect(flags.ending == .exited(65), "\(flags)")
        let wanted = [
            "--serial: key 'file': /no/s", "--kernel: /no/k", "--initramfs: /no/i", "--disk: key 'path': /no/a",
            "--disk #2: key 'path': /no/b", "--rng: key 'src': /no/rng",
        ]
        let lines = flags.errors.split(separator: "\n")
        #expect(lines.count == wanted.count, "\(flags)")
        for (line, place) in zip(lines, wanted) { #expect(line.hasPrefix("swiftlet: \(place): cannot be"), "\(line)") }
    }

    @Test func namesMemoryThatTheHostCouldNeverHold() throws {
        let spec = #"{"serial":{"mode":"Null"},"console":{"mode":"Off"},"memory":{"size":8796093022208}}"#
        expectRefusal(
            try Swiftlet.run(spec: spec), 69, "$.memory.size: 8388608 MiB are more than this host could ever hold",
            "MiB of RAM", "of swap; lower it")
    }

    @Test func namesADiskThatAnotherProcessLocked() throws {
        let image = try scratch.sparse("disk.raw", bytes: 1 << 20)
        let spec = try scratch.write(
            "spec.json",
            #"{"memory":{"size":33554432},"serial":{"mode":"Tty"},"console":{"mode":"Off"},\#(disk(image))}"#)
        let holder = try ChildProcess(
            Command(try Built.swiftlet(), ["run", spec, "--self-test", "mode=hang"]))
        try holder.expect("hang", by: .seconds(30))
        expectRefusal(
            try run(disk(image)), 65, "$.disks[0].path: \(image): is locked: another VM uses it", "stop that VM")
        expectRefusal(
            try run(#""disks":[{"path":"\#(image)","readonly":true}]"#), 65, "$.disks[0].path: \(image): is locked")
        expectRefusal(
            try Swiftlet.run(["check", spec]), 65, "$.disks[0].path: \(image): is locked: another VM uses it", "stop")
        holder.signal(SIGTERM)
        #expect(try holder.waitForEnd(by: .seconds(30)) == .exited(128 + SIGTERM))
        #expect(try Swiftlet.run(["check", spec]).succeeded)
        // The lock went with its holder.
        let after = try Swiftlet.run(spec: Swiftlet.spec(disk(image)), ["--self-test", "mode=hello"])
        #expect(after.succeeded, "\(after)")
    }

    @Test func namesADiskThatTheUserMayNotRead() throws {
        let image = try scratch.sparse("disk.raw", bytes: 1 << 20)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: image)
        let spec = Swiftlet.spec(disk(image))
        expectRefusal(
            try Confined.asNobody(spec, in: scratch), 65, "$.disks[0].path: \(image): cannot be opened", "EACCES",
            "give this user the right")
    }

    @Test func namesATapWithoutRights() throws {
        let before = try interfaces()
        let spec = Swiftlet.spec(#""net":[{"tap":"swltest9"}]"#)
        expectRefusal(
            try Confined.asNobody(spec, in: scratch), 69, "$.net[0].tap: cannot open /dev/net/tun", "run as root")
        expectRefusal(
            try Confined.withoutNetworkRights(spec), 69, "$.net[0].tap: cannot attach to the tap swltest9", "EPERM",
            "run as root")
        #expect(try interfaces().subtracting(before).filter { $0.hasPrefix("swltest9") }.isEmpty)
    }

    @Test func namesTheLackOfKVM() throws {
        expectRefusal(
            try Confined.withoutDevices(Swiftlet.spec(#""rng":{"src":"/proc/version"}"#)), 69,
            "/dev/kvm does not exist", "enable virtualisation")
        expectRefusal(
            try Confined.asNobody(Swiftlet.spec(), in: scratch), 69, "/dev/kvm may not be opened by this user (it is ",
            try #require(FileOwnership(path: "/dev/kvm")).words, "run as root")
    }

    @Test(arguments: ["serial", "console"]) func namesAConsoleThatCannotBeOpened(_ section: String) throws {
        func spec(_ mode: String) -> String {
            let other = section == "serial" ? "console" : "serial"
            return #"{"memory":{"size":33554432},"\#(section)":{\#(mode)},"\#(other)":{"mode":"Off"}}"#
        }
        expectRefusal(
            try Swiftlet.run(spec: spec(#""mode":"Socket","socket":"/nonexistent/s""#)), 65,
            "$.\(section).socket: /nonexistent/s: cannot be listened on", "ENOENT", "in a directory that exists")
        expectRefusal(
            try Swiftlet.run(spec: spec(#""mode":"File","file":"/nonexistent/f""#)), 65,
            "$.\(section).file: /nonexistent/f: cannot be opened", "ENOENT", "in a directory that exists")
        expectRefusal(
            try Swiftlet.run(spec: spec(#""mode":"File","file":"/tmp""#)), 65, "$.\(section).file: /tmp: ", "EISDIR",
            "name a file in it")
        let plain = try scratch.write("plain-\(section)", "precious")
        expectRefusal(
            try Swiftlet.run(spec: spec(#""mode":"Socket","socket":"\#(plain)""#)), 65,
            "$.\(section).socket: \(plain): ",
            "EADDRINUSE", "name another path")
        #expect(try scratch.read("plain-\(section)") == Array("precious".utf8))
    }

    @Test func namesASourceOfRandomBytesThatIsNone() throws {
        expectRefusal(try run(#""rng":{"src":"/nonexistent"}"#), 65, "$.rng.src: /nonexistent: cannot", "/dev/urandom")
        expectRefusal(try run(#""rng":{"src":"/tmp"}"#), 65, "$.rng.src: /tmp: is a directory", "/dev/urandom")
    }

    @Test func namesHugePagesThatAreNotThere() throws {
        // More than any test machine has reserved.
        let spec =
            #"{"serial":{"mode":"Null"},"console":{"mode":"Off"},"memory":{"size":1099511627776,"hugepages":true}}"#
        expectRefusal(
            try Swiftlet.run(spec: spec), 69, "$.memory.hugepages: 524288 huge pages of 2048 KiB are needed",
            "are free", "leave hugepages out")
    }

    /// A soft limit is raised as far as the machine needs it; a hard one is named.
    @Test func hasAsManyOpenFilesAsItNeeds() throws {
        let spec = Swiftlet.spec(#""cpus":{"boot_vcpus":20,"max_vcpus":20}"#)
        func run(_ limit: String) throws -> ProcessResult {
            let line = "ulimit \(limit) 48 && exec \(try Built.swiftlet()) run - --self-test mode=exit"
            return try runProcess(Command("sh", ["-c", line]), input: Array(spec.utf8))
        }
        let soft = try run("-Sn")
        #expect(soft.ending == .exited(0), "\(soft)")
        expectRefusal(
            try run("-n"), 69, "20 vCPUs and 1 queues take about 77 open files, and this process may have 48; raise",
            "boot_vcpus")
    }

    @Test func namesHostProcessorsThatAreNotThere() throws {
        let spec = Swiftlet.spec(
            #""cpus":{"boot_vcpus":2,"max_vcpus":2,"affinity":[{"vcpu":0,"host_cpus":[0,1]},{"vcpu":1,"host_cpus":[1022]}]}"#
        )
        expectRefusal(
            try Swiftlet.run(spec: spec), 65, "$.cpus.affinity[1].host_cpus: vCPU 1: ", "1022",
            "name some that are online")
    }

    @Test func leavesNothingBehind() throws {
        let before = try interfaces()
        let socket = scratch.path("serial.sock")
        let image = try scratch.sparse("disk.raw", bytes: 1 << 20)
        let kernel = try scratch.write("kernel", "no kernel at all")
        let spec = """
            {"memory":{"size":33554432},"console":{"mode":"Off"},"serial":{"mode":"Socket","socket":"\(socket)"},
            "disks":[{"path":"\(image)"}],"net":[{"tap":"swltest8"}],"payload":{"kernel":"\(kernel)"}}
            """
        expectRefusal(try Swiftlet.run(spec: spec), 65, "$.payload.kernel: \(kernel): is neither ELF nor bzImage")
        #expect(try scratch.entries() == ["disk.raw", "kernel"])
        #expect(try !interfaces().subtracting(before).contains("swltest8"))
        let file = try FileDescriptor.open(image, O_RDWR)
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        // SAFETY: fcntl reads and fills the local.
        #expect(unsafe fcntl(file.raw, F_GETLK, &lock) == 0)
        #expect(lock.l_type == Int16(F_UNLCK))
    }

    private func interfaces() throws -> Set<String> {
        Set(try FileManager.default.contentsOfDirectory(atPath: "/sys/class/net"))
    }
}
