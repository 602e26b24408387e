import Foundation
import TestSupport
import Testing

/// A VM's life over its socket, by curl, from nothing to nothing.
@Suite(.timeLimit(.minutes(15))) struct LifeTests {
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
    @Test(.enabled(if: HostProcessor.runsGuests, "this KVM has no hardware that offsets a guest's time stamp counter"))
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

    /// A large guest's memory takes long to allocate ahead; a signal that comes meanwhile ends the process all the same.
    @Test(arguments: [SIGTERM, SIGINT]) func aSignalEndsABoot(signal: Int32) throws {
        let vmm = try TestVMM()
        let members = #""memory":{"size":4294967296,"prefault":true},"serial":{"mode":"Off"},"console":{"mode":"Off"}"#
        try vmm.put("vm.create", "{\(members)}")
        let connection = try RawConnection(vmm.socket)
        try connection.send("PUT", "vm.boot")
        #expect(Deadline.seconds(10).wait { vmm.anonymousMemory > 64 << 10 }, "\(vmm.evidence)")
        #expect(vmm.anonymousMemory < 3 << 20, "the memory came too fast for this test")
        kill(vmm.child.id, signal)
        #expect(try vmm.child.waitForEnd(by: .seconds(5)) == .exited(128 + signal), "\(vmm.evidence)")
        #expect(!vmm.evidence.contains("the guest runs"))
    }

    @Test func whatTheProcessMakesIsItsOwners() throws {
        let vmm = try TestVMM()
        let socket = vmm.scratch.path("console")
        try vmm.put(
            "vm.create",
            #"{"serial":{"mode":"File","file":"\#(vmm.scratch.path("serial"))"},"#
                + #""console":{"mode":"Socket","socket":"\#(socket)"}}"#)
        try vmm.put("vm.boot")
        for path in [vmm.scratch.path("serial"), vmm.scratch.path("log"), socket, vmm.socket] {
            var status = stat()
            try #require(unsafe stat(path, &status) == 0, "\(path)")
            #expect(status.st_mode & 0o077 == 0, "\(path) has the mode \(String(status.st_mode, radix: 8))")
        }
    }

    /// The guest writes its memory, and the metrics tell how fast, while a client wants to know.
    @Test func theDirtyRateIsMeasured() throws {
        let vmm = try TestVMM(selfTest: "mode=disk-load seconds=60")
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        func value(_ name: String, _ query: String) throws -> UInt64? {
            let text = try vmm.expect(200, "GET", "vmm.metrics\(query)").text
            let line = text.split(separator: "\n").first { $0.hasPrefix("\(name) ") }
            return line.flatMap { UInt64($0.dropFirst(name.count + 1)) }
        }
        let (bytes, rate) = ("swiftlet_memory_dirtied_bytes_total", "swiftlet_memory_dirty_bytes_per_second")
        // Without a guest there is nothing to measure.
        #expect(try value(bytes, "?dirty_log=on") == nil)
        try vmm.put("vm.create", vmm.config(#""disks":[{"path":"\#(disk)","image_type":"Raw"}]"#))
        try vmm.put("vm.boot")
        try vmm.expectSerial("disk-load: 200 ms")
        #expect(try value(bytes, "") == nil)
        #expect(try value(bytes, "?dirty_log=on") == 0)
        #expect(try value(rate, "") == nil)
        sleepThread(.milliseconds(300))
        let first = try #require(try value(bytes, "?dirty_log=on"))
        // The guest has 32 MiB and reads its disk into some pages of them.
        #expect(first >= 4096 && first % 4096 == 0 && first <= 32 << 20, "\(first)")
        #expect(try (value(rate, "") ?? 0) > 0)
        sleepThread(.milliseconds(300))
        #expect(try (value(bytes, "?dirty_log=on") ?? 0) > first)
        // A guest that stands still writes nothing.
        try vmm.put("vm.pause")
        let paused = try value(bytes, "?dirty_log=on")
        #expect(try value(bytes, "?dirty_log=on") == paused)
        #expect(try value(rate, "") == 0)
        try vmm.put("vm.resume")
        #expect(try value(bytes, "?dirty_log=off") == nil)
        try vmm.expect(404, "GET", "vmm.metrics?dirty_log=perhaps")
    }

    /// Clients that ask without a pause do not slow the guest down: the server's thread has less weight than the others.
    @Test func theGuestsThreadsGoBeforeTheServers() throws {
        let vmm = try TestVMM()
        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        var nice: [String: Int] = [:]
        for task in try FileManager.default.contentsOfDirectory(atPath: "/proc/\(vmm.child.id)/task") {
            let text = try String(contentsOfFile: "/proc/\(vmm.child.id)/task/\(task)/stat", encoding: .utf8)
            // proc(5): the name stands in parentheses, and the nice value is the 19th field.
            let name = text.drop { $0 != "(" }.dropFirst().prefix { $0 != ")" }
            let rest = try #require(text.split(separator: ") ").last).split(separator: " ")
            nice[String(name)] = Int(rest[16])
        }
        let (server, vcpu) = (try #require(nice["api"]), try #require(nice["vcpu0"]))
        #expect(server == min(vcpu + 5, 19), "\(nice)")
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
