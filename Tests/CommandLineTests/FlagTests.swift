import Foundation
import TestSupport
import Testing

/// `swiftlet vmm`, and the executable under the name `cloud-hypervisor`.
@Suite struct FlagTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("flags") }

    /// Writes "ok" to the serial port and powers off through the ACPI sleep register.
    private static let greeter = TinyKernel([
        0x66, 0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
        0xB0, 0x6F, 0xEE, 0xB0, 0x6B, 0xEE,  // mov al, 'o'; out dx, al; mov al, 'k'; out dx, al
        0x66, 0xBA, 0x00, 0x06, 0xB0, 0x34, 0xEE,  // mov dx, 0x600; mov al, 0x34; out dx, al
        0xF4, 0xEB, 0xFD,  // hlt, again
    ])

    @Test func bootsAKernelFromFlags() throws {
        let kernel = try scratch.write("kernel", Self.greeter.elf)
        let first = try scratch.sparse("first.raw", bytes: 1 << 20)
        let second = try scratch.sparse("second.raw", bytes: 1 << 20)
        let result = try Swiftlet.run([
            "vmm", "--kernel", kernel, "--cpus", "boot=1,max=2", "--memory", "size=64M,shared=on", "--disk",
            "path=\(first)", "path=\(second),readonly=on", "--rng", "src=/dev/urandom", "--console", "off", "--serial",
            "tty", "--cmdline", "--console=ttyS0", "--seccomp", "false", "-vv",
        ])
        #expect(result.ending == .exited(0), "\(result)")
        #expect(result.text == "ok")
        #expect(result.errors.contains("devices ready: 3 on the PCI bus"), "\(result)")
    }

    @Test func worksAsCloudHypervisor() throws {
        let kernel = try scratch.write("kernel", Self.greeter.elf)
        let link = scratch.path("cloud-hypervisor")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: try Built.swiftlet())
        let result = try runProcess(
            Command(link, ["--kernel", kernel, "--memory", "size=32M", "--console", "off", "--serial", "tty"]))
        #expect(result.ending == .exited(0) && result.text == "ok", "\(result)")
        let version = try runProcess(Command(link, ["--version"]))
        #expect(version.text.hasPrefix("cloud-hypervisor v") && version.succeeded, "\(version)")
        for words in [["-V"], ["vmm", "-V"]] {
            let short = try Swiftlet.run(words)
            #expect(short.text == version.text && short.succeeded, "\(short)")
        }
        let wrong = try runProcess(Command(link, ["--kernel", kernel, "--balloon", "size=1M"]))
        expectRefusal(wrong, 64, "--balloon: is not supported", "leave it out")
    }

    @Test(arguments: [
        (
            ["vmm", "--restore", "source_url=/x"], 64, "--restore source_url: got \"/x\"",
            "expected a URL like file:///"
        ),
        (["vmm", "--restore", "resume=on"], 64, "--restore source_url: missing", "give a URL like file:///"),
        (["vmm", "--restore", "source_url=file:///x", "--kernel", "/x"], 64, "--restore: ", "give --restore alone"),
        (["run", "spec.json", "--restore", "/x"], 64, "--restore: ", "leave out one of them"),
        (["vmm", "--restore", "source_url=file:///x,prefetch=maybe"], 64, "--restore", "prefetch"),
        (["run", "spec.json", "--no-prefetch"], 64, "--override, ", "--no-prefetch are for a snapshot"),
        (["run", "--restore", "/x", "--no-prefetch"], 64, "--no-prefetch: without --on-demand", "leave out"),
        (["run", "--restore", "/nowhere/at/all"], 65, "/nowhere/at/all: ", "name that of a snapshot"),
    ])
    func refusesASnapshotThatIsNone(_ words: [String], _ status: Int32, _ problem: String, _ remedy: String) throws {
        expectRefusal(try Swiftlet.run(words), status, problem, remedy)
    }

    @Test func findsAKernelByARelativePath() throws {
        try scratch.write("kernel", Self.greeter.elf)
        try scratch.write(
            "spec.json",
            #"{"payload":{"kernel":"kernel"},"console":{"mode":"Off"},"serial":{"mode":"Tty"},"memory":{"size":33554432}}"#
        )
        var command = Command(try Built.swiftlet(), ["run", "spec.json"])
        command.directory = scratch.path
        let result = try runProcess(command)
        #expect(result.ending == .exited(0) && result.text == "ok", "\(result)")
    }

    @Test(arguments: [
        "--balloon=size=1M", "--fs=tag=a", "--generic-vhost-user=socket=/x",
        "--pmem=file=/x",
        "--device=path=/x", "--user-device=socket=/x", "--vdpa=path=/x", "--numa=guest_numa_id=0", "--memory-zone=id=0",
        "--pci-segment=pci_segment=0", "--rate-limit-group=id=a,bw_size=1,bw_refill_time=1",
        "--platform=num_pci_segments=1", "--tpm=socket=/x", "--ivshmem=path=/x,size=1M", "--pvmemcontrol", "--watchdog",
        "--pvpanic", "--igvm=/x", "--host-data=00", "--fw-cfg-config=e820=on", "--rtc", "--rtc=base=utc",
        "--gdb=path=/x", "--log-format={msg}", "--dbus-service-name=a.b", "--dbus-object-path=/x", "--dbus-system-bus",
        "--landlock", "--landlock-rules=path=/x",
    ]) func refusesByNameWhatDoesNotWorkYet(_ flag: String) throws {
        let name = flag.split(separator: "=")[0]
        expectRefusal(
            try Swiftlet.run(["vmm", "--kernel", "/x", flag]), 64, "\(name): is not supported", "leave it out")
    }

    @Test func namesTheSystemCallFiltersThatWork() throws {
        for value in ["true", "log"] {
            expectRefusal(
                try Swiftlet.run(["vmm", "--kernel", "/x", "--seccomp", value]), 64,
                "--seccomp: '\(value)' is not supported", "leave it out or give false")
        }
    }

    @Test func namesTheFlagThatIsWrong() throws {
        let kernel = try scratch.write("kernel", Self.greeter.elf)
        func run(_ flags: String...) throws -> ProcessResult {
            try Swiftlet.run(["vmm", "--kernel", kernel, "--console", "off"] + flags)
        }
        expectRefusal(try Swiftlet.run(["vmm"]), 64, "--kernel: nothing to boot", "name a kernel")
        expectRefusal(try Swiftlet.run([]), 64, "--kernel: nothing to boot", "name a kernel")
        expectRefusal(try run("--memory", "size=-1"), 64, "--memory: key 'size': got \"-1\"", "expected a size")
        expectRefusal(try run("--memory", "size=1M"), 64, "--memory: key 'size': got 1048576", "expected")
        expectRefusal(try run("--memory", "sze=1G"), 64, "--memory: key 'sze': unknown", "did you mean 'size'?")
        expectRefusal(try run("--cpus", "boot=0,max=1"), 64, "--cpus: key 'boot': got 0", "expected")
        expectRefusal(try run("--cpus", "boot=4000"), 69, "--cpus: key 'boot': 4000 vCPUs", "make it at most")
        expectRefusal(try run("--net", "mac=1"), 64, "--net: key 'mac': got \"1\"", "expected a MAC address")
        expectRefusal(try run("--disk", "path=/nonexistent"), 65, "--disk: key 'path': /nonexistent: cannot", "; ")
        let image = try scratch.sparse("disk.raw", bytes: 1 << 20)
        expectRefusal(
            try run("--disk", "path=\(image)", "path=/nonexistent"), 65, "--disk #2: key 'path': /nonexistent: cannot",
            "; ")
        let link = scratch.path("link.raw")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: image)
        expectRefusal(
            try run("--disk", "path=\(image)", "path=\(link)"), 65,
            "--disk #2: key 'path': \"\(link)\" is the same file",
            "as --disk: key 'path', \"\(image)\"", "use a copy")
        expectRefusal(
            try run("--serial", "file=/nonexistent/x"), 65, "--serial: key 'file': /nonexistent/x: cannot", "; ")
        expectRefusal(try run("--rng", "src=/nonexistent"), 65, "--rng: key 'src': /nonexistent: cannot", "; ")
        expectRefusal(
            try run("--log-file", "/nonexistent/x"), 64, "--log-file: /nonexistent/x: cannot be opened", "name another")
    }
}
