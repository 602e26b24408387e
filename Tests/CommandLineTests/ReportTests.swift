import Foundation
import Host
import TestSupport
import Testing

/// What `check` and `doctor` print, and the log.
@Suite struct ReportTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("report") }

    private func object(_ result: ProcessResult) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(result.output)) as? [String: Any], "\(result)")
    }

    @Test func checkPrintsThePlanAsJSON() throws {
        let spec = #"""
            {"cpus":{"boot_vcpus":2,"max_vcpus":4},"memory":{"size":6442450944,"shared":true},
            "payload":{"kernel":"/nowhere/vmlinux","cmdline":"quiet"},"console":{"mode":"Off"},
            "disks":[{"path":"/nowhere/a.raw","id":"root"},{"path":"/nowhere/b.raw","readonly":true}],
            "net":[{"tap":"t0","mac":"12:34:56:78:9a:bc","num_queues":4}],"serial":{"mode":"File","file":"/nowhere/log"}}
            """#
        let result = try Swiftlet.run(["check", "--json", "--no-files", "-"], input: spec)
        #expect(result.succeeded && result.errors.isEmpty, "\(result)")
        let plan = try object(result)
        let cpus = try #require(plan["cpus"] as? [String: Any])
        #expect(cpus["boot"] as? Int == 2 && cpus["max"] as? Int == 4)
        #expect(cpus["apic_ids"] as? [Int] == [0, 1, 2, 3])
        let topology = ["packages": 1, "dies_per_package": 1, "cores_per_die": 4, "threads_per_core": 1]
        #expect(cpus["topology"] as? [String: Int] == topology)
        let functions = try #require(plan["pci"] as? [[String: Any]])
        #expect(functions[0]["bdf"] as? String == "0000:00:00.0" && functions[0]["type"] as? String == "host bridge")
        let pci = Array(functions.dropFirst())
        #expect(pci.map { $0["id"] as? String } == ["root", "_disk0", "_net1", "__rng"])
        #expect(pci.map { $0["bdf"] as? String } == (1...4).map { "0000:00:0\($0).0" })
        #expect(
            pci.map { $0["type"] as? String } == ["virtio-block", "virtio-block", "virtio-net", "virtio-rng"])
        #expect(pci[1]["backend"] as? String == "/nowhere/b.raw, read-only")
        #expect(pci[2]["vectors"] as? Int == 6)
        let ram = try #require(plan["memory"] as? [[String: Any]]).filter { $0["name"] as? String == "RAM" }
        #expect(ram.map { $0["address"] as? String } == ["0x0", "0x100000", "0x100000000"])
        #expect(ram.map { $0["size"] as? UInt64 } == [0xA_0000, (3 << 30) - 0x10_0000, 3 << 30])
        #expect(plan["backing"] as? String == "shared memfd")
        #expect(plan["serial"] as? String == "file /nowhere/log")
        #expect((plan["payload"] as? String)?.contains("/nowhere/vmlinux") == true)
        let gsis = (plan["interrupts"] as? [[String: Any]])?.map { $0["gsi"] as? Int }
        #expect(gsis == [4, 5])
        #expect(!FileManager.default.fileExists(atPath: "/nowhere"))
    }

    @Test func checkNeedsNeitherKVMNorRoot() throws {
        try #require(geteuid() == 0, "this test gives rights up, so it has to run as root")
        let executable = try Confined.copy(in: scratch)
        let words = ["--reuid=65534", "--regid=65534", "--clear-groups", executable, "check", "-"]
        let result = try runProcess(Command("setpriv", words), input: Array(Swiftlet.ttySpec.utf8))
        #expect(result.succeeded && result.errors.isEmpty, "\(result)")
        for words in ["memory map", "PCI functions", "host bridge", "virtio-rng", "GSI 4  ttyS0", "self-test guest"] {
            #expect(result.text.contains(words), "\(words) in \(result.text)")
        }
    }

    /// What the guest may use and what it may not: ranges that neither overlap nor leave a gap below 1 MiB.
    @Test func checkShowsTheMemoryMapThatTheGuestGets() throws {
        let plan = try object(try Swiftlet.run(["check", "--json", "-"], input: Swiftlet.ttySpec))
        let ranges = try #require(plan["memory"] as? [[String: Any]])
        var end: UInt64 = 0
        var names: [String] = []
        for range in ranges {
            let text = try #require(range["address"] as? String)
            let address = try #require(UInt64(text.dropFirst(2), radix: 16))
            #expect(address >= end, "\(ranges)")
            if address < 1 << 20 { #expect(address == end, "\(ranges)") }
            end = address + (try #require(range["size"] as? UInt64))
            names.append(try #require(range["name"] as? String))
        }
        #expect(names.prefix(5) == ["RAM", "reserved", "ACPI tables", "reserved (reset vector)", "RAM"])
    }

    @Test func checkLooksAtFilesUnlessItIsToldNotTo() throws {
        let kernel = try scratch.write("kernel", TinyKernel([0xF4]).elf)
        let cut = try scratch.write("cut", Array(TinyKernel([0xF4]).elf.dropLast()))
        let odd = try scratch.sparse("odd.raw", bytes: 700)
        let archive = try scratch.sparse("initramfs", bytes: 64 << 20)
        func check(_ members: String, _ arguments: String...) throws -> ProcessResult {
            try Swiftlet.run(["check", "-"] + arguments, input: Swiftlet.spec(members))
        }
        #expect(try check(#""payload":{"kernel":"\#(kernel)"}"#).succeeded)
        let cases = [
            (#""payload":{"kernel":"/no/k"}"#, "$.payload.kernel: /no/k: cannot be opened"),
            (#""payload":{"kernel":"\#(cut)"}"#, "$.payload.kernel: \(cut): is truncated"),
            (
                #""payload":{"kernel":"\#(kernel)","initramfs":"\#(archive)"}"#,
                "$.payload.initramfs: \(archive): is 64 MiB"
            ),
            (#""disks":[{"path":"\#(odd)"}]"#, "$.disks[0].path: \(odd): has 700 bytes"),
            (#""disks":[{"path":"/dev/null"}]"#, "$.disks[0].path: /dev/null: is neither"),
            (#""net":[{"tap":"lo"}]"#, "$.net[0].tap: lo is not a tap"),
            (#""rng":{"src":"/no/r"}"#, "$.rng.src: /no/r: cannot be opened"),
        ]
        for (members, words) in cases {
            expectRefusal(try check(members), 65, words, "; ")
            let planned = try check(members, "--no-files")
            #expect(planned.succeeded && planned.errors.isEmpty, "\(planned)")
        }
        // The image is as it was, and nobody holds its lock.
        #expect(try scratch.read("odd.raw") == [UInt8](repeating: 0, count: 700))
    }

    /// Another user may be the one who runs it.
    @Test func checkOnlyWarnsOfWhatItMayNotRead() throws {
        try #require(geteuid() == 0, "this test gives rights up, so it has to run as root")
        let image = try scratch.sparse("disk.raw", bytes: 1 << 20)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: image)
        let spec = Swiftlet.spec(#""disks":[{"path":"\#(image)"}]"#)
        let executable = try Confined.copy(in: scratch)
        let words = ["--reuid=65534", "--regid=65534", "--clear-groups", executable, "check", "-"]
        let result = try runProcess(Command("setpriv", words), input: Array(spec.utf8))
        #expect(result.succeeded && result.text.contains("virtio-block"), "\(result)")
        #expect(result.errors.hasPrefix("swiftlet: warning: $.disks[0].path: \(image): cannot be opened"), "\(result)")
    }

    @Test func checkRefusesAsRunDoes() throws {
        let spec = Swiftlet.spec(#""dsks":[]"#)
        expectRefusal(try Swiftlet.run(["check", "-"], input: spec), 65, "$.dsks: unknown", "did you mean 'disks'?")
        expectRefusal(try Swiftlet.run(["check", "--json", "/nonexistent"]), 65, "/nonexistent: cannot be read")
    }

    /// Devices come by commands alone: where none can come, the guest has no empty slots for them.
    @Test func slotsAreThereForCommands() throws {
        func tableSize(_ more: [String]) throws -> Int {
            let words = ["-vv", "--self-test", "mode=hello"] + more
            let result = try Swiftlet.run(spec: Swiftlet.spec(), words)
            let lines = result.errors.split(separator: "\n")
            let line = try #require(lines.first { $0.contains("name=DSDT") }, "\(result)")
            return try #require(line.split(separator: "size=").last.flatMap { Int($0) }, "\(line)")
        }
        let (alone, commanded) = (try tableSize([]), try tableSize(["--api-socket", scratch.path("api")]))
        #expect(alone < 1024 && commanded > 2048, "\(alone), \(commanded)")
    }

    @Test func doctorSaysWhatRunsHere() throws {
        let result = try Swiftlet.run(["doctor", "--json"])
        let diagnosis = try object(result)
        let guests = try #require(diagnosis["guests"] as? Bool)
        _ = try #require(diagnosis["linux_guests"] as? Bool)
        // These tests run guests, so this host can.
        #expect(guests && result.ending == .exited(0), "\(result)")
        let findings = try #require(diagnosis["findings"] as? [[String: Any]])
        let names = Set(findings.compactMap { $0["name"] as? String })
        let wanted: Set = [
            "/dev/kvm", "running a guest", "Linux guests", "/dev/net/tun", "making a tap", "/dev/vhost-net",
            "huge pages",
            "io_uring", "userfaultfd", "libzstd",
        ]
        #expect(names.isSuperset(of: wanted), "\(wanted.subtracting(names)) missing")
        for finding in findings {
            let verdict = try #require(finding["verdict"] as? String)
            #expect(["yes", "no", "limited"].contains(verdict))
            let detail = try #require(finding["detail"] as? String)
            #expect(!detail.isEmpty && detail.last != " ", "\(finding)")
            if verdict == "no" { #expect((finding["remedy"] as? String)?.isEmpty == false, "\(finding)") }
        }
        let text = try Swiftlet.run(["doctor"]).text
        #expect(text.contains("yes     /dev/kvm"))
    }

    @Test func doctorSaysWhatToDoWithoutRights() throws {
        try #require(geteuid() == 0, "this test gives rights up, so it has to run as root")
        let executable = try Confined.copy(in: scratch)
        let words = ["--reuid=65534", "--regid=65534", "--clear-groups", executable, "doctor"]
        let result = try runProcess(Command("setpriv", words))
        #expect(result.ending == .exited(1), "\(result)")
        let lines = result.text.split(separator: "\n")
        let kvm = try #require(lines.firstIndex { $0.hasPrefix("no      /dev/kvm") })
        let ownership = try #require(FileOwnership(path: "/dev/kvm"))
        #expect(lines[kvm].contains("may not be opened by this user (it is \(ownership.words))"))
        let remedy = "→ \(ownership.remedy("/dev/kvm", usualGroup: "kvm"))"
        #expect(lines[kvm + 1].hasSuffix(remedy) && !lines[kvm].contains("run as root"))
        // A device that is there needs no module.
        let tun = try #require(lines.firstIndex { $0.contains("  /dev/net/tun") })
        if lines[tun].hasPrefix("no") { #expect(!lines[tun + 1].contains("modprobe"), "\(lines[tun + 1])") }
    }

    // MARK: The log

    @Test func logsAPhasePerLineWithTheTime() throws {
        let result = try Swiftlet.run(spec: Swiftlet.spec(), ["--self-test", "mode=exit", "-v"])
        #expect(result.succeeded, "\(result)")
        let lines = result.errors.split(separator: "\n")
        for phase in [
            "the spec is valid", "memory ready", "devices ready", "payload ready", "vcpus ready", "the guest runs",
        ] {
            #expect(lines.contains { $0.contains(phase) }, "\(phase) in \(result.errors)")
        }
        var last = 0.0
        for line in lines {
            let shape = line.wholeMatch(of: /\[ *\d+\.\d{6}\] (trace|debug|info|notice|warning|error) +\S.*/)
            #expect(shape != nil, "\(line)")
            let digits = String(line.dropFirst().prefix { $0 != "]" }.filter { $0 != " " })
            let time = try #require(Double(digits), "\(line)")
            #expect(time >= last)
            last = time
        }
        let quiet = try Swiftlet.run(spec: Swiftlet.spec(), ["--self-test", "mode=exit"])
        #expect(quiet.succeeded && quiet.errors.isEmpty)
    }

    /// Each level says all that the one before says, and more.
    @Test func logsMoreAtEachLevel() throws {
        func log(_ flag: String) throws -> [Substring] {
            let result = try Swiftlet.run(spec: Swiftlet.spec(), [flag])
            #expect(result.succeeded, "\(result)")
            return result.errors.split(separator: "\n").map {
                $0[($0.firstIndex(of: "]") ?? $0.startIndex)...].dropFirst(2)
            }
        }
        let (info, debug, trace) = (try log("-v"), try log("-vv"), try log("-vvv"))
        #expect(info.allSatisfy { !$0.hasPrefix("debug") && !$0.hasPrefix("trace") })
        for words in [
            "KVM capability name=KVM_CAP_IRQFD value=1", "memory slot address=0x0 host=0x", "device bdf=0000:00:01.0",
            "ACPI table address=0xe0000 name=RSDP size=36", "name=DSDT", "payload part address=0x",
            "vCPU apic_id=0 features=0x", "activated, queues 0:", "features 0x1", "reset device=",
        ] {
            #expect(debug.contains { $0.hasPrefix("debug") && $0.contains(words) }, "\(words) in \(debug)")
            #expect(!info.contains { $0.contains(words) }, "\(words)")
        }
        #expect(debug.allSatisfy { !$0.hasPrefix("trace") })
        for words in ["its driver writes the status 0xf", "CPUID leaf function=0x1 ", "entry state"] {
            #expect(trace.contains { $0.hasPrefix("trace") && $0.contains(words) }, "\(words) in \(trace)")
        }
        #expect(trace.contains { $0.hasPrefix("debug") && $0.contains("activated") })
        // A guest without a command line has none of one byte.
        #expect(!info.contains { $0.contains("command line") }, "\(info)")
    }

    @Test func logsIntoAFile() throws {
        let file = scratch.path("log")
        let result = try Swiftlet.run(
            spec: Swiftlet.spec(), ["--self-test", "mode=exit", "-vvv", "--log-file", file])
        #expect(result.succeeded && result.errors.isEmpty && result.output.isEmpty, "\(result)")
        let log = String(decoding: try scratch.read("log"), as: UTF8.self)
        #expect(log.contains("the guest runs vcpus=1"))
        #expect(log.contains("the self-test ended result=0"))
    }
}
