import Foundation
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
        let result = try Swiftlet.run(["check", "--json", "-"], input: spec)
        #expect(result.succeeded && result.errors.isEmpty, "\(result)")
        let plan = try object(result)
        let cpus = try #require(plan["cpus"] as? [String: Any])
        #expect(cpus["boot"] as? Int == 2 && cpus["max"] as? Int == 4)
        let pci = try #require(plan["pci"] as? [[String: Any]])
        #expect(pci.map { $0["id"] as? String } == ["root", "_disk0", "_net1", "__rng"])
        #expect(pci.map { $0["bdf"] as? String } == (1...4).map { "0000:00:0\($0).0" })
        #expect(
            pci.map { $0["type"] as? String } == ["virtio-block", "virtio-block", "virtio-net", "virtio-rng"])
        #expect(pci[1]["backend"] as? String == "/nowhere/b.raw, read-only")
        #expect(pci[2]["vectors"] as? Int == 6)
        let ram = try #require(plan["memory"] as? [[String: Any]]).filter { $0["name"] as? String == "RAM" }
        #expect(ram.map { $0["address"] as? String } == ["0x0", "0x100000000"])
        #expect(ram.map { $0["size"] as? UInt64 } == [3 << 30, 3 << 30])
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

    @Test func checkRefusesAsRunDoes() throws {
        let spec = Swiftlet.spec(#""dsks":[]"#)
        expectRefusal(try Swiftlet.run(["check", "-"], input: spec), 65, "$.dsks: unknown", "did you mean 'disks'?")
        expectRefusal(try Swiftlet.run(["check", "--json", "/nonexistent"]), 65, "/nonexistent: cannot be read")
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
            "io_uring", "userfaultfd",
        ]
        #expect(names.isSuperset(of: wanted), "\(wanted.subtracting(names)) missing")
        for finding in findings {
            let verdict = try #require(finding["verdict"] as? String)
            #expect(["yes", "no", "limited"].contains(verdict))
            #expect((finding["detail"] as? String)?.isEmpty == false)
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
        #expect(lines[kvm + 1].contains("→ usermod -aG kvm"))
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
