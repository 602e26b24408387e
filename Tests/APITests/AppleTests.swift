import Foundation
import Glibc
import TestSupport
import Testing

/// How Apple's containerization starts, probes, calls and ends the process.
@Suite(.timeLimit(.minutes(15))) struct AppleTests {
    /// Its argv, a minimal environment, and a session of its own (every child of these tests leads one).
    private func start(in scratch: ScratchDirectory, _ more: [String] = []) throws -> (ChildProcess, String) {
        let directory = scratch.path("6F2C8A3E-9D0B-4F0A-8C55-7D9B0E2F4A61")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        let link = scratch.path("cloud-hypervisor")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: try Built.swiftlet())
        let socket = "\(directory)/api.sock"
        var command = Command(link, ["--api-socket", socket] + more)
        command.environment = ["PATH": "/usr/bin:/bin"]
        return (try ChildProcess(command), socket)
    }

    /// Connect and close, every 50 ms; false when it was not accepted within the client's 2 s.
    private func probe(_ socket: String) -> Bool {
        Deadline.seconds(2).wait(every: .milliseconds(50)) { (try? RawConnection(socket))?.isOpen == true }
    }

    /// A request as its HTTP client sends it: on a connection of its own, which it closes.
    private func call(_ socket: String, _ method: String, _ name: String, _ body: String? = nil) throws -> APIReply {
        let connection = try RawConnection(socket)
        var text = "\(method) /api/v1/\(name) HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        if method == "PUT" {
            text += "content-type: application/json\r\ncontent-length: \(body?.utf8.count ?? 0)\r\n"
        }
        try connection.send(text + "\r\n" + (body ?? ""))
        return try connection.reply()
    }

    @Test func theWholeUseOfIt() throws {
        let scratch = try ScratchDirectory("apple")
        let (child, socket) = try start(in: scratch, ["--seccomp", "false"])
        defer { child.kill() }
        try #require(probe(socket), "\(child.evidence)")
        // A client that goes on probing must not disturb it.
        for _ in 0..<20 { #expect(probe(socket)) }

        let ping = try call(socket, "GET", "vmm.ping")
        #expect(ping.status == 200 && ping.json.version.string?.isEmpty == false)
        let info = try call(socket, "GET", "vmm.info")
        #expect(info.json.pid.int == Int(child.id) && info.json.version.exists && info.json.build_version.exists)

        let linux = LinuxPayload("console=hvc0 swiftlet.modules=virtio_pci,virtio_console swiftlet.test=disks")
        let disks = try ["a", "b", "c"].enumerated().map { try scratch.sparse($1, bytes: UInt64($0 + 1) << 20) }
        let listed = disks.map { #"{"path":"\#(escaped($0))","readonly":false,"image_type":"Raw"}"# }
        let log = escaped(scratch.path("console.log"))
        let config =
            #"{"cpus":{"boot_vcpus":2,"max_vcpus":2},"memory":{"size":268435456,"shared":true},"#
            + #""disks":[\#(listed.joined(separator: ","))],"console":{"mode":"File","file":"\#(log)"},"#
            + #""serial":{"mode":"Off"}\#(linux.map { ",\($0.json)" } ?? "")}"#
        #expect(try call(socket, "PUT", "vm.create", config).status == 204)
        #expect(try call(socket, "PUT", "vm.boot").status == 204, "\(child.evidence)")
        let running = try call(socket, "GET", "vm.info").json
        #expect(running.state.string == "Running")
        #expect(running.config.memory.shared.value as? Bool == true)
        // The guest's vda, vdb, vdc: the order of the request is the order on the bus.
        let ids = (0..<3).compactMap { running.config.disks[$0].id.string }
        #expect((0..<3).map { running.config.disks[$0].path.string } == disks)
        let places = ids.compactMap { running.device_tree[$0].pci_bdf.string }
        #expect(places.count == 3 && places == places.sorted(), "\(places)")

        #expect(try call(socket, "PUT", "vm.pause").status == 204)
        #expect(try call(socket, "PUT", "vm.resume").status == 204)
        if linux != nil {
            let console = scratch.path("console.log")
            func said() -> String { (try? String(contentsOfFile: console, encoding: .utf8)) ?? "" }
            #expect(Deadline.seconds(50).wait { said().contains("SWIFTLET: disk vdc") }, "\(said())\n\(child.evidence)")
            for (name, sectors) in [("vda", 2048), ("vdb", 4096), ("vdc", 6144)] {
                #expect(said().contains("SWIFTLET: disk \(name) \(sectors) "), "\(said())")
            }
        }
        #expect(try call(socket, "PUT", "vm.shutdown").status == 204)
        #expect(try call(socket, "PUT", "vmm.shutdown").status == 200)
        #expect(try child.waitForEnd(by: .seconds(10)) == .exited(0), "\(child.evidence)")
    }

    /// A text as this client escapes it in JSON.
    private func escaped(_ text: String) -> String { text.replacingOccurrences(of: "/", with: #"\/"#) }

    @Test func aConnectionThatAsksForItIsClosedAfterItsReply() throws {
        let vmm = try TestVMM()
        let connection = try RawConnection(vmm.socket)
        try connection.send("GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: close\r\n\r\n")
        #expect(try connection.reply().status == 200)
        // The client closes, by the contract; a server that does so too leaves nothing behind the reply.
        try? connection.send("GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n")
        #expect(try vmm.curl("GET", "vmm.ping").status == 200)
    }

    @Test func sigtermEndsItSoonWithAGuestOrWithout() throws {
        for hasGuest in [false, true] {
            let scratch = try ScratchDirectory("apple")
            let (child, socket) = try start(in: scratch)
            defer { child.kill() }
            try #require(probe(socket), "\(child.evidence)")
            if hasGuest {
                let config = #"{"memory":{"size":33554432},"serial":{"mode":"Off"},"console":{"mode":"Null"}}"#
                #expect(try call(socket, "PUT", "vm.create", config).status == 204)
                #expect(try call(socket, "PUT", "vm.boot").status == 204)
            }
            let began = ContinuousClock.now
            child.signal(SIGTERM)
            let ending = try child.waitForEnd(by: .seconds(10))
            #expect(began.duration(to: .now) < .seconds(5), "\(child.evidence)")
            #expect(ending == .exited(128 + SIGTERM), "\(child.evidence)")
            #expect(!FileManager.default.fileExists(atPath: socket))
        }
    }

    @Test func aStaleSocketIsTakenOverAndALiveOneIsNot() throws {
        let vmm = try TestVMM()
        let second = try runProcess(Command(try Built.swiftlet(), ["vmm", "--api-socket", vmm.socket]))
        #expect(second.ending != .exited(0))
        #expect(second.errors.contains(vmm.socket), "\(second)")
        #expect(try vmm.curl("GET", "vmm.ping").status == 200)
        let attributes = try FileManager.default.attributesOfItem(atPath: vmm.socket)
        #expect(
            (attributes[.posixPermissions] as? NSNumber)?.intValue == 0o700
                || (attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)

        // Killed, it leaves its socket behind; the next one takes its place.
        vmm.child.kill()
        #expect(FileManager.default.fileExists(atPath: vmm.socket))
        let third = try ChildProcess(Command(try Built.swiftlet(), ["vmm", "--api-socket", vmm.socket]))
        defer { third.kill() }
        try #require(probe(vmm.socket), "\(third.evidence)")
        #expect(try vmm.curl("GET", "vmm.ping").json.pid.int == Int(third.id))
    }
}
