import Foundation
import Glibc
import Host
import SwiftletClient
import Synchronization
import TestSupport
import Testing

/// The library's calls against a server of the tests, over a real socket.
@Suite(.timeLimit(.minutes(15))) struct ClientTests {
    /// The error that a call throws.
    private func error<Value>(
        of body: () async throws(VMMClientError) -> Value, at location: SourceLocation = #_sourceLocation
    ) async throws -> VMMClientError {
        do {
            let value = try await body()
            Issue.record("no error but \(value)", sourceLocation: location)
            throw ExpectedAnError()
        } catch let error as VMMClientError {
            return error
        }
    }
    private struct ExpectedAnError: Error {}

    @Test func requestsAreWrittenAsTheAPIReadsThem() async throws {
        let fake = try FakeVMM(reply: Reply.done)
        let client = VMMClient(socketPath: fake.path)
        try await client.boot()
        try await client.create(["payload": ["kernel": "/k"], "memory": ["size": 18_446_744_073]])
        try await client.create(json: Array("{}".utf8))
        try await client.resize(vcpus: 2, memory: 1 << 30)
        #expect(fake.requests.map(\.line).allSatisfy { $0.hasPrefix("PUT /api/v1/vm.") && $0.hasSuffix(" HTTP/1.1") })
        let boot = "PUT /api/v1/vm.boot HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: 0"
        #expect(fake.requests[0].head == boot)
        let config = try JSON(parsing: fake.requests[1].body)
        #expect(config["memory"]?["size"]?.unsignedInteger == 18_446_744_073)
        #expect(fake.requests[2].head.contains("Content-Type: application/json\r\nContent-Length: 2"))
        #expect(try JSON(parsing: fake.requests[3].body) == ["desired_vcpus": 2, "desired_ram": 1_073_741_824])
    }

    @Test func everyActionHasItsRoute() async throws {
        let fake = try FakeVMM(reply: Reply.done)
        let client = VMMClient(socketPath: fake.path)
        try await client.boot()
        try await client.shutdown()
        try await client.delete()
        try await client.reboot()
        try await client.pause()
        try await client.resume()
        try await client.powerButton()
        try await client.nmi()
        try await client.coredump(to: "file:///core")
        try await client.snapshot(to: "file:///s")
        try await client.restore(["source_url": "file:///s"])
        try await client.sendMigration(to: "tcp:h:1", options: ["local": true])
        try await client.receiveMigration(at: "unix:/m")
        try await client.removeDevice(id: "_disk0")
        try await client.resizeDisk(id: "_disk0", size: 4096)
        try await client.resizeZone(id: "z", size: 4096)
        try await client.shutdownVMM()
        #expect(try await client.addDisk(["path": "/a"]) == nil)
        #expect(try await client.addNet(["tap": "t"]) == nil)
        #expect(try await client.addVsock(["cid": 3, "socket": "/v"]) == nil)
        #expect(try await client.addDevice(["path": "/d"]) == nil)
        #expect(try await client.addFs(["tag": "t", "socket": "/f"]) == nil)
        #expect(try await client.addPmem(["file": "/p"]) == nil)
        #expect(try await client.addUserDevice(["socket": "/u"]) == nil)
        #expect(try await client.addVdpa(["path": "/dev/vhost-vdpa-0"]) == nil)
        let routes = fake.requests.map { String($0.line.split(separator: " ")[1].dropFirst("/api/v1/".count)) }
        #expect(
            routes == [
                "vm.boot", "vm.shutdown", "vm.delete", "vm.reboot", "vm.pause", "vm.resume", "vm.power-button",
                "vm.nmi",
                "vm.coredump", "vm.snapshot", "vm.restore", "vm.send-migration", "vm.receive-migration",
                "vm.remove-device", "vm.resize-disk", "vm.resize-zone", "vmm.shutdown", "vm.add-disk", "vm.add-net",
                "vm.add-vsock", "vm.add-device", "vm.add-fs", "vm.add-pmem", "vm.add-user-device", "vm.add-vdpa",
            ])
        #expect(try JSON(parsing: fake.requests[11].body) == ["destination_url": "tcp:h:1", "local": true])
        #expect(try JSON(parsing: fake.requests[14].body) == ["id": "_disk0", "desired_size": 4096])
    }

    @Test func repliesAreDecoded() async throws {
        let fake = try FakeVMM { request in
            let body =
                switch request.line.split(separator: " ")[1] {
                case "/api/v1/vmm.ping":
                    #"{"build_version":"b","version":"54.0.0","pid":42,"features":["kvm"],"new":1}"#
                case "/api/v1/vm.info": Samples.info
                case "/api/v1/vm.counters": #"{"_disk0":{"read_ops":18446744073709551615}}"#
                case "/api/v1/vmm.metrics": "a 1\n"
                default: #"{"id":"_disk1","bdf":"0000:00:05.0"}"#
                }
            return [.trickle(Array(Reply.json(body).utf8))]
        }
        let client = VMMClient(socketPath: fake.path)
        let ping = try await client.ping()
        #expect((ping.version, ping.buildVersion, ping.pid) == ("54.0.0", "b", 42))
        let info = try await client.info()
        #expect(info.state == .running && info.memoryActualSize == 536_870_912)
        #expect(info.config.disks?.first?.path == "/srv/a.raw" && info.config.disks?.first?.readonly == true)
        #expect(info.deviceTree?["_disk0"]?.bdf == "0000:00:02.0")
        #expect(info.raw == Array(Samples.info.utf8))
        #expect(try await client.counters() == ["_disk0": ["read_ops": .max]])
        #expect(try await client.metrics() == "a 1\n")
        let device = try await client.addDisk(["path": "/b"])
        #expect(device?.id == "_disk1" && device?.bdf == "0000:00:05.0")
    }

    @Test func aRefusalHasItsStatusAndItsChain() async throws {
        let chain = ["Error from API", "The VM could not boot", "VM is not created"]
        let fake = try FakeVMM(
            reply: Reply.json(#"["Error from API","The VM could not boot","VM is not created"]"#, 404))
        let error = try await error { () throws(VMMClientError) in try await VMMClient(socketPath: fake.path).boot() }
        #expect(error.kind == .api(status: 404) && error.causes == chain)
        let summary = "the VMM refused PUT /api/v1/vm.boot with 404 Not Found"
        #expect(error.description == ([summary] + chain).joined(separator: ": "))
    }

    @Test func aRefusalThatIsNoChainIsShownAsItIs() async throws {
        let fake = try FakeVMM(reply: Reply.json("no luck", 503))
        let error = try await error { () throws(VMMClientError) in try await VMMClient(socketPath: fake.path).boot() }
        #expect(error.kind == .api(status: 503) && error.causes == ["no luck"])
    }

    @Test func whyThereIsNoConnection() async throws {
        let scratch = try ScratchDirectory("connect")
        func cause(_ path: String) async throws -> VMMClientError {
            try await error { () throws(VMMClientError) in try await VMMClient(socketPath: path).ping() }
        }
        let missing = try await cause(scratch.path("none"))
        #expect(missing.kind == .cannotConnect(errno: ENOENT) && "\(missing)".contains("is the VMM started?"))
        let plain = try await cause(scratch.write("file", "x"))
        #expect(plain.kind == .cannotConnect(errno: ECONNREFUSED) && "\(plain)".contains("nobody listens there"))
        let long = try await cause("/" + String(repeating: "x", count: 200))
        #expect(long.kind == .cannotConnect(errno: ENAMETOOLONG) && "\(long)".contains("1 to 107 bytes"))
        let empty = try await cause("")
        #expect(empty.kind == .cannotConnect(errno: ENAMETOOLONG))
    }

    @Test func aConnectionThatEndsEarly() async throws {
        for steps: [FakeVMM.Step] in [[], [.send(Array("HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\nabc".utf8))]] {
            let fake = try FakeVMM { _ in steps }
            let error = try await error { () throws(VMMClientError) in try await VMMClient(socketPath: fake.path).ping()
            }
            #expect(error.kind == .connectionLost(errno: 0), "\(error)")
        }
    }

    @Test func bytesThatAreNoReply() async throws {
        let fake = try FakeVMM(reply: "SSH-2.0-x\r\n\r\n")
        let error = try await error { () throws(VMMClientError) in try await VMMClient(socketPath: fake.path).ping() }
        #expect(error.kind == .protocolError, "\(error)")
        let other = try FakeVMM(reply: Reply.json("[1]"))
        let mistaken = try await self.error { () throws(VMMClientError) in
            try await VMMClient(socketPath: other.path).ping()
        }
        #expect(mistaken.kind == .protocolError, "\(mistaken)")
    }

    @Test func aBodyWithoutMeasureIsRefused() async throws {
        let fake = try FakeVMM { _ in [.send(Array((Reply.head(200) + "\r\n").utf8)), .flood(20 << 20)] }
        let error = try await error { () throws(VMMClientError) in try await VMMClient(socketPath: fake.path).ping() }
        #expect(error.kind == .protocolError && "\(error)".contains("more than 16 MiB"))
    }

    @Test func aRefusalBeforeTheRequestIsReadWhole() async throws {
        // The server answers at the head's end and closes without having read the body.
        let scratch = try ScratchDirectory("early")
        let path = scratch.path("api.sock")
        let handed = Mutex<UnixListener?>(try UnixListener(path: path))
        Foundation.Thread.detachNewThread {
            guard let listener = handed.withLock({ $0.take() }) else { return }
            var entries = [PollEntry(listener.raw, forReading: true)]
            PollEntry.wait(&entries, timeout: 30_000)
            guard let client = listener.accept() else { return }
            try? client.setNonBlocking(false)
            try? client.writeAll(Array(Reply.json(#"["too large"]"#, 413).utf8))
            usleep(100_000)
        }
        let error = try await error { () throws(VMMClientError) in
            try await VMMClient(socketPath: path).create(json: [UInt8](repeating: 0x20, count: 8 << 20))
        }
        // A reset may overtake the reply; a wait without end must not.
        #expect(error.kind == .api(status: 413) || "\(error)".contains("connection"), "\(error)")
    }

    @Test func aTimeoutEndsTheWaiting() async throws {
        let fake = try FakeVMM { _ in [.hold] }
        let error = try await error { () throws(VMMClientError) in
            try await VMMClient(socketPath: fake.path, timeout: .milliseconds(100)).ping()
        }
        #expect(error.kind == .timeout)
        let endless = try await self.error { () throws(VMMClientError) in
            try await VMMClient(socketPath: fake.path, timeout: .seconds(-5)).ping()
        }
        #expect(endless.kind == .timeout)
    }

    @Test func cancellingEndsTheWaiting() async throws {
        let fake = try FakeVMM { _ in [.hold] }
        let task = Task { try await VMMClient(socketPath: fake.path, timeout: nil).boot() }
        while fake.requests.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        let result = await task.result
        #expect(throws: VMMClientError.self) { try result.get() }
        if case .failure(let error as VMMClientError) = result { #expect(error.kind == .cancelled) }
    }

    @Test func manyCallsAtOnceLeaveNoDescriptors() async throws {
        let fake = try FakeVMM(reply: Reply.json(#"{"version":"1"}"#))
        let client = VMMClient(socketPath: fake.path)
        _ = try await client.ping()
        let before = try OpenFiles.sockets()
        for _ in 0..<10 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<50 { group.addTask { _ = try await client.ping() } }
                try await group.waitForAll()
            }
        }
        #expect(Deadline.seconds(10).wait { (try? OpenFiles.sockets()) ?? .max <= before + 4 })
        #expect(fake.requests.count == 501)
    }

    @Test func namesThatAreNoRoutesAreNotSent() async throws {
        let error = try await error { () throws(VMMClientError) in
            try await VMMClient(socketPath: "/x").request("GET", "vm.info HTTP/1.1\r\nX: y", timeout: nil)
        }
        #expect(error.kind == .invalidRequest)
    }
}

/// This process's open descriptors.
enum OpenFiles {
    static func sockets() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count { name in
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)"))?.hasPrefix("socket:")
                ?? false
        }
    }
}

/// Replies as VMMs send them.
enum Samples {
    static let info = #"""
        {"config":{"cpus":{"boot_vcpus":2,"max_vcpus":4},"memory":{"size":536870912,"shared":true},
        "payload":{"kernel":"/boot/vmlinux","cmdline":"console=ttyS0"},
        "disks":[{"id":"_disk0","path":"/srv/a.raw","readonly":true,"image_type":"Raw"}],
        "net":[{"id":"_net1","tap":"tap0","mac":"52:54:00:00:00:01","mtu":1500}],
        "rng":{"src":"/dev/urandom"},"vsock":{"id":"_vsock2","cid":3,"socket":"/run/v"},
        "serial":{"mode":"Tty"},"console":{"mode":"Pty","file":"/dev/pts/7"},"future":{"x":[1,2]}},
        "state":"Running","memory_actual_size":536870912,
        "device_tree":{"_virtio-pci-_disk0":{"id":"_virtio-pci-_disk0","resources":[],"children":["_disk0"],
        "pci_bdf":"0000:00:02.0"},"_disk0":{"id":"_disk0","resources":[],"parent":"_virtio-pci-_disk0","children":[],
        "pci_bdf":"0000:00:02.0"},"__rng":{"id":"__rng","resources":[],"children":[],"pci_bdf":"0000:00:01.0"},
        "old":{"id":"old","resources":[],"children":[],"pci_bdf":"0000:00:03.0","kind":"disk","pending_removal":true},
        "new":{"id":"new","resources":[],"children":[],"pci_bdf":"0000:00:04.0"}}}
        """#
}
