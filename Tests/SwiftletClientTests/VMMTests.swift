import Foundation
import Glibc
import SwiftletClient
import TestSupport
import Testing

/// A VMM process on a socket of its own, whose guest is the self-test.
private struct RunningVMM {
    let scratch: ScratchDirectory
    let socket: String
    let process: ChildProcess

    /// Starts it and waits until it answers.
    ///
    /// - Parameter mode: what the guest is to do.
    init(_ mode: String) async throws {
        scratch = try ScratchDirectory("vmm")
        socket = scratch.path("api.sock")
        let words = ["vmm", "--api-socket", socket, "--no-shutdown", "--self-test", "mode=\(mode)"]
        process = try ChildProcess(Command(try Built.swiftlet(), words))
        let deadline = Deadline.seconds(20)
        while true {
            // Looked at before the try: on a busy machine a refusal may come back when the time is long up.
            let isLast = deadline.hasPassed
            do {
                _ = try await client.ping()
                break
            } catch {
                if isLast { throw error }
                try await Task.sleep(for: .milliseconds(10))
            }
        }
    }

    var client: VMMClient { VMMClient(socketPath: socket) }

    /// A small machine whose serial port is for clients alone.
    let config: JSON = ["memory": ["size": 33_554_432], "serial": ["mode": "Null"], "console": ["mode": "Off"]]

    func ctl(_ arguments: String...) throws -> ProcessResult {
        try runProcess(Command(try Built.swiftlet(), ["ctl", "--api-socket", socket] + arguments))
    }

    func state() async throws -> VMInfo.State { try await client.info().state }
}

/// The library and `swiftlet ctl` against a real VMM process.
@Suite(.serialized, .timeLimit(.minutes(15))) struct VMMTests {
    @Test func whoAnswers() async throws {
        let vmm = try await RunningVMM("spin")
        let ping = try await vmm.client.ping()
        #expect(ping.pid == Int64(vmm.process.id) && ping.version.hasPrefix("54."))
        let info = try await vmm.client.vmmInfo()
        #expect(info.pid == ping.pid && info.config == nil)
        #expect(try JSON(parsing: await vmm.client.openAPI())["openapi"]?.string?.hasPrefix("3.1") == true)
        let error = await #expect(throws: VMMClientError.self) { try await vmm.client.info() }
        #expect(error?.kind == .api(status: 404) && error?.causes.first == "Error from API")
        try await vmm.client.shutdownVMM()
        #expect(try vmm.process.waitForEnd(by: .seconds(20)) == .exited(0))
    }

    @Test func aWholeLife() async throws {
        let vmm = try await RunningVMM("spin")
        try await vmm.client.create(vmm.config)
        #expect(try await vmm.state() == .created)
        try await vmm.client.boot()
        #expect(try await vmm.state() == .running)
        try await vmm.client.pause()
        #expect(try await vmm.state() == .paused)
        try await vmm.client.resume()
        #expect(try await vmm.state() == .running)
        let second = await #expect(throws: VMMClientError.self) { try await vmm.client.boot() }
        #expect(second?.kind == .api(status: 500), "\(String(describing: second))")
        try await vmm.client.shutdown()
        #expect(try await vmm.state() == .created)
        try await vmm.client.boot()
        #expect(try await vmm.state() == .running)
        try await vmm.client.delete()
        let gone = await #expect(throws: VMMClientError.self) { try await vmm.client.info() }
        #expect(gone?.kind == .api(status: 404))
    }

    @Test func theCommandLinesLife() async throws {
        let vmm = try await RunningVMM("spin")
        let file = try vmm.scratch.write("vm.json", JSONEncoder().encode(vmm.config).map { $0 })
        #expect(try vmm.ctl("create", file).succeeded)
        #expect(try vmm.ctl("info").text.hasPrefix("state    Created\n"))
        #expect(try vmm.ctl("boot").succeeded)
        #expect(try vmm.ctl("wait", "running", "--timeout", "20").succeeded)
        let info = try vmm.ctl("info").text
        #expect(info.contains("memory   32 MiB\n") && info.contains("__rng"), "\(info)")
        #expect(try JSON(parsing: vmm.ctl("--json", "info").output)["state"] == "Running")
        let twice = try vmm.ctl("boot")
        #expect(twice.ending == .exited(1) && twice.errors.contains("  caused by: Error from API\n"), "\(twice)")
        let disk = try vmm.scratch.sparse("disk.raw", bytes: 1 << 20)
        let added = try vmm.ctl("add-disk", "path=\(disk),image_type=raw,id=data")
        #expect(added.text.hasPrefix("data is at 0000:00:"), "\(added)")
        #expect(try vmm.ctl("info").text.contains("\(disk), raw"))
        let same = try vmm.ctl("add-disk", "path=\(disk),image_type=raw,id=data")
        #expect(same.ending == .exited(1) && same.errors.contains("409 Conflict"), "\(same)")
        let zone = try vmm.ctl("resize-zone", "--id", "z", "--size", "1G")
        #expect(zone.ending == .exited(1) && zone.errors.contains("501 Not Implemented"), "\(zone)")
        #expect(try vmm.ctl("shutdown-vmm").succeeded)
        #expect(try vmm.process.waitForEnd(by: .seconds(20)) == .exited(0))
        #expect(try vmm.ctl("ping").ending == .exited(69))
    }

    @Test func theSerialPortFromTwoSides() async throws {
        let vmm = try await RunningVMM("echo")
        try await vmm.client.create(vmm.config)
        try await vmm.client.boot()
        let first = try await vmm.client.serial()
        let second = try await vmm.client.serial()
        // What was written before the second came is shown to it too.
        try await expect("echo: until q", first)
        try await expect("echo: until q", second)
        try await first.write("hello")
        try await expect("hello", second)
        let words = ["ctl", "--api-socket", vmm.socket, "serial"]
        let attached = try ChildProcess(Command(try Built.swiftlet(), words))
        try attached.expect("echo: until q", by: .seconds(20))
        try attached.write("typed")
        try attached.expect("typed", by: .seconds(20))
        try await expect("typed", second)
        attached.signal(SIGTERM)
        #expect(try attached.waitForEnd(by: .seconds(20)) == .exited(128 + SIGTERM))
        // The guest powers off.
        try await second.write("q")
        #expect(try vmm.ctl("wait", "shutdown", "--timeout", "20").succeeded)
    }

    @Test func eventsOfALife() async throws {
        let vmm = try await RunningVMM("spin")
        let events = try await vmm.client.events()
        let watching = try ChildProcess(Command(try Built.swiftlet(), ["ctl", "--api-socket", vmm.socket, "watch"]))
        // Watching begins when the VMM has answered, which nothing tells: events go on until one is seen.
        try await vmm.client.create(vmm.config)
        try await vmm.client.boot()
        try await vmm.client.pause()
        try await vmm.client.resume()
        var names: [String] = []
        for try await event in events {
            names.append("\(event.source).\(event.event)")
            #expect(event.id == UInt64(names.count), "\(event)")
            if names.last == "vm.resumed" { break }
        }
        // A client that comes back hears of them again, by the same numbers.
        var again: [String] = []
        for try await event in try await vmm.client.events() {
            again.append("\(event.source).\(event.event)")
            #expect(event.id == UInt64(again.count), "\(event)")
            if event.id == UInt64(names.count) { break }
        }
        #expect(again == names)
        for (before, after) in [("vm.booting", "vm.booted"), ("vm.booted", "vm.paused"), ("vm.paused", "vm.resumed")] {
            let places = [before, after].map { names.firstIndex(of: $0) ?? -1 }
            #expect(places[0] >= 0 && places[0] < places[1], "\(names)")
        }
        let deadline = Deadline.seconds(30)
        while !watching.output.contains("  vm  resumed"), !deadline.hasPassed {
            try await vmm.client.pause()
            try await vmm.client.resume()
        }
        #expect(watching.output.contains("  vm  resumed"), "\(watching.evidence)")
        try await vmm.client.shutdownVMM()
        // The stream ends with its VMM.
        #expect(try watching.waitForEnd(by: .seconds(20)) == .exited(0))
    }

    @Test func metricsAndCounters() async throws {
        let vmm = try await RunningVMM("spin")
        try await vmm.client.create(vmm.config)
        try await vmm.client.boot()
        let metrics = try await vmm.client.metrics()
        #expect(metrics.contains("# TYPE swiftlet_"), "\(metrics.prefix(400))")
        #expect(try vmm.ctl("metrics").text.contains("# TYPE swiftlet_"))
        _ = try await vmm.client.counters()
        #expect(try vmm.ctl("counters").text.hasPrefix("DEVICE"))
    }

    @Test func descriptorsTravelWithARequest() async throws {
        let vmm = try await RunningVMM("spin")
        try await vmm.client.create(vmm.config)
        // A plain file is no tap: that the VMM says so shows that it came.
        let kept = try FileHandle(forReadingFrom: URL(fileURLWithPath: vmm.scratch.sparse("plain", bytes: 16)))
        let file = kept.fileDescriptor
        let error = await #expect(throws: VMMClientError.self) {
            try await vmm.client.addNet(["num_queues": 2], descriptors: [file])
        }
        #expect(error?.kind == .api(status: 400), "\(String(describing: error))")
        #expect(error?.causes.contains { $0.contains("is no tap's") } == true, "\(String(describing: error))")
        // They stay the caller's.
        #expect(fcntl(file, F_GETFD) >= 0)
        try kept.close()
    }

    /// Reads until the text has come.
    private func expect(
        _ text: String, _ terminal: GuestTerminal, at location: SourceLocation = #_sourceLocation
    ) async throws {
        var seen: [UInt8] = []
        for try await bytes in terminal {
            seen += bytes
            if String(decoding: seen, as: UTF8.self).contains(text) { return }
        }
        Issue.record("no \"\(text)\" in \(String(decoding: seen, as: UTF8.self))", sourceLocation: location)
    }
}
