import Foundation
import TestSupport
import Testing

/// A VM's life over its socket, by curl, from nothing to nothing.
@Suite(.timeLimit(.minutes(2))) struct LifeTests {
    @Test func theWholeLife() throws {
        let vmm = try TestVMM(selfTest: "mode=power-button seconds=60")
        #expect(try vmm.curl("GET", "vmm.ping").json.pid.int == Int(vmm.child.id))
        #expect(try vmm.state() == nil)

        try vmm.put("vm.create", vmm.config())
        let created = try vmm.expect(200, "GET", "vm.info")
        #expect(created.json.state.string == "Created")
        #expect(created.json.memory_actual_size.int == 32 << 20)
        #expect(created.json.config.cpus.boot_vcpus.int == 1)
        #expect(created.json.config.serial.mode.string == "File")
        #expect(!vmm.threads.contains("vcpu0"), "a VM that is only created has no vCPU")

        try vmm.put("vm.boot")
        #expect(try vmm.state() == "Running")
        #expect(vmm.threads.contains("vcpu0"))
        try vmm.expectSerial("power-button: waiting")

        try vmm.put("vm.pause")
        #expect(try vmm.state() == "Paused")
        try vmm.put("vm.resume")
        #expect(try vmm.state() == "Running")

        // The guest turns itself off: with --no-shutdown the process stays, and so does the configuration.
        try vmm.put("vm.power-button")
        #expect(try Deadline.seconds(20).wait { try vmm.state() == "Created" }, "\(vmm.evidence)")
        #expect(vmm.serial.contains("power button, events"), "\(vmm.serial)")
        #expect(vmm.serial.contains("FAILED") == false, "\(vmm.serial)")

        try vmm.put("vm.boot")
        #expect(try vmm.state() == "Running")
        try vmm.put("vm.shutdown")
        #expect(try vmm.state() == "Created")
        #expect(!vmm.threads.contains("vcpu0"))
        try vmm.put("vm.boot")
        #expect(try vmm.state() == "Running")
        try vmm.put("vm.reboot")
        #expect(try vmm.state() == "Running")

        try vmm.put("vm.delete")
        #expect(try vmm.state() == nil)
        try vmm.put("vm.delete")
        try vmm.put("vm.create", vmm.config())
        #expect(try vmm.state() == "Created")

        let end = try vmm.expect(200, "PUT", "vmm.shutdown")
        #expect(end.body.isEmpty && end.header("Content-Length") == "0")
        #expect(try vmm.child.waitForEnd(by: .seconds(10)) == .exited(0))
        #expect(!FileManager.default.fileExists(atPath: vmm.socket))
    }

    @Test func aPausedGuestsCountersStandStill() throws {
        let vmm = try TestVMM(selfTest: "mode=disk-load seconds=60")
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        try vmm.put("vm.create", vmm.config(#""disks":[{"path":"\#(disk)","image_type":"Raw","id":"data"}]"#))
        try vmm.put("vm.boot")
        try vmm.expectSerial("disk-load: 200 ms")
        func reads() throws -> [Int] {
            let reply = try vmm.curl("GET", "vm.counters")
            try #require(reply.status == 200, "\(reply.line) \(reply.text)")
            let counters = reply.json["data"]
            return counters.keys.compactMap { counters[$0].int }
        }
        let first = try reads()
        #expect(!first.isEmpty)
        #expect(try Deadline.seconds(10).wait { try reads() != first }, "a working disk counts")

        try vmm.put("vm.pause")
        let (stopped, said) = (try reads(), vmm.serial)
        sleepThread(.milliseconds(500))
        #expect(try reads() == stopped)
        #expect(vmm.serial == said)
        try vmm.put("vm.resume")
        #expect(try Deadline.seconds(10).wait { try reads() != stopped }, "\(vmm.evidence)")
    }

    /// The guest tells every 100 ms of its own clock: were that to go on, the first line after a pause of 3 s would be
    /// followed by the lines of 3 s at once. A KVM that runs guests without the processor's help may show them the host's
    /// counter as it is, whatever offset it was given.
    @Test(.enabled(if: hasHardwareKVM, "this KVM has no hardware that offsets a guest's time stamp counter"))
    func aPausedGuestsClockStandsStill() throws {
        let vmm = try TestVMM(selfTest: "mode=disk-load seconds=60")
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        try vmm.put("vm.create", vmm.config(#""disks":[{"path":"\#(disk)","image_type":"Raw"}]"#))
        try vmm.put("vm.boot")
        try vmm.expectSerial("disk-load: 200 ms")
        try vmm.put("vm.pause")
        let before = lastTime(vmm.serial)
        sleepThread(.seconds(3))
        let resumed = ContinuousClock.now
        try vmm.put("vm.resume")
        #expect(
            Deadline.seconds(20).wait { lastTime(vmm.serial) >= before + 300 },
            "the guest does not go on: \(vmm.evidence)")
        let after = lastTime(vmm.serial)
        let outside = resumed.duration(to: .now)
        // What the guest's clock advanced happened after the pause; half a second is for the look itself.
        #expect(Duration.milliseconds(after - before) <= outside + .milliseconds(500), "\(vmm.serial.suffix(500))")
    }

    private static let hasHardwareKVM = ["kvm_intel", "kvm_amd"].contains {
        FileManager.default.fileExists(atPath: "/sys/module/\($0)")
    }

    /// The last time that the guest told, in ms of its clock.
    private func lastTime(_ serial: String) -> Int {
        let lines = serial.split(separator: "\r\n").flatMap { $0.split(separator: "\n") }
        let times = lines.compactMap { line -> Int? in
            guard line.hasPrefix("disk-load: "), line.contains(" ms, ") else { return nil }
            return Int(line.dropFirst("disk-load: ".count).prefix { $0.isNumber })
        }
        return times.last ?? 0
    }

    @Test func withoutNoShutdownTheGuestsEndIsTheProcesss() throws {
        let vmm = try TestVMM(selfTest: "mode=hello", noShutdown: false)
        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        #expect(try vmm.child.waitForEnd(by: .seconds(20)) == .exited(0), "\(vmm.evidence)")
        #expect(vmm.serial.contains("hello"))
        #expect(!FileManager.default.fileExists(atPath: vmm.socket))
    }

    @Test func anNMIReachesTheGuest() throws {
        let vmm = try TestVMM(selfTest: "mode=hang")
        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        try vmm.expectSerial("hang")
        // The guest halts with interrupts off and has no handler: what still reaches it is its end.
        try vmm.put("vm.nmi")
        #expect(try Deadline.seconds(10).wait { try vmm.state() == "Created" }, "\(vmm.evidence)")
    }

    @Test func aPtysPathIsToldFromCreateOn() throws {
        let vmm = try TestVMM(selfTest: "mode=echo seconds=30")
        try vmm.put(
            "vm.create", #"{"memory":{"size":33554432},"console":{"mode":"Off"},"serial":{"mode":"Pty"}}"#)
        let path = try #require(try vmm.curl("GET", "vm.info").json.config.serial.file.string)
        #expect(path.hasPrefix("/dev/pts/"))
        let terminal = try Conversation.open(terminal: path)
        try vmm.put("vm.boot")
        try terminal.expect("echo: until q", by: .seconds(20))
        try terminal.write("a")
        try terminal.expect("a", by: .seconds(10))
    }
}
