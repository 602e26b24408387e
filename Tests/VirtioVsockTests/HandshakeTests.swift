import Host
import TestSupport
import Testing
import VirtioVsock

/// What clients of the listening socket say first.
struct HandshakeTests {
    @Test func comesInPiecesAndWithBytesBehindIt() throws {
        let guest = try FakeGuest()
        try guest.start()
        let slow = try HostClient(guest.socket)
        for byte in Array("CONNECT 52\n".utf8) {
            try slow.write([byte])
            sleepThread(.milliseconds(3))
        }
        #expect(try guest.expect(.request).header.targetPort == 52)
        let hasty = try HostClient(guest.socket)
        try hasty.write("connect 4294967295\nGET / HTTP/1.1\n")
        let request = try guest.expect(.request).header
        #expect(request.targetPort == .max)
        #expect(guest.staysSilent())
        let end = GuestEnd(guest, guestPort: .max, hostPort: request.sourcePort, window: 1 << 20)
        try end.send(.response)
        #expect(try end.receive(15) == Array("GET / HTTP/1.1\n".utf8))
        #expect(try hasty.read(32, until: "\n") == "OK \(request.sourcePort)\n")
    }

    @Test(arguments: [
        "\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT 4294967296\n", "CONNECT -1\n", "CONNECT +1\n",
        "CONNECT 1 2\n", "CONNECTED 1\n", "GET / HTTP/1.1\r\n", "CONNECT 0x10\n", "CONNECT ٣\n",
        "CONNECT 00000000000000000000000000000001\n", String(repeating: "C", count: 64),
    ]) func closesWhatIsNoHandshake(_ text: String) throws {
        let guest = try FakeGuest()
        try guest.start()
        let client = try HostClient(guest.socket)
        try client.write(text)
        #expect(try client.isClosed())
        #expect(guest.staysSilent(.milliseconds(20)))
        #expect(guest.device.metrics.malformed.load(ordering: .relaxed) == 1)
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 0)
    }

    @Test func silentClientsGiveWayToTheNext() throws {
        let guest = try FakeGuest { $0.handshakeLimit = 4 }
        try guest.start()
        let silent = try (0..<6).map { _ in try HostClient(guest.socket) }
        #expect(try silent[0].isClosed() && silent[1].isClosed())
        let (_, end) = try guest.dial(9)
        #expect(end.guestPort == 9)
        #expect(try silent[2].isClosed())
        #expect(try silent[5].readSome() == [])
    }

    @Test func silentClientsAndGuestsRunOutOfTime() throws {
        let guest = try FakeGuest { $0.patience = 300 }
        try guest.start()
        let silent = try HostClient(guest.socket)
        let asking = try HostClient(guest.socket)
        try asking.write("CONNECT 3\n")
        let request = try guest.expect(.request).header
        #expect(try silent.isClosed() && asking.isClosed())
        #expect(try guest.expect(.reset).header.sourcePort == request.sourcePort)
        // The answer comes too late.
        try GuestEnd(guest, guestPort: 3, hostPort: request.sourcePort, window: 1).send(.response)
        try guest.expect(.reset)
    }

    @Test func aClientThatGoesIsNotKept() throws {
        let guest = try FakeGuest()
        try guest.start()
        do {
            let client = try HostClient(guest.socket)
            try client.write("CONNECT 3\n")
            try guest.expect(.request)
        }
        try guest.expect(.reset)
        do { _ = try HostClient(guest.socket) }
        #expect(Deadline.seconds(5).wait { guest.device.metrics.open.load(ordering: .relaxed) == 0 })
    }

    @Test func theListeningSocketsFileComesAndGoes() throws {
        let scratch = try ScratchDirectory("vsock")
        let path = scratch.path("s")
        let settings = VsockSettings(cid: 3, socket: path)
        let first = try VsockBackend(settings)
        // In use.
        #expect(throws: HostError.self) { try VsockBackend(settings) }
        do { _ = try VsockBackend(settings) } catch { #expect(error.errno == Errno(98)) }
        first.close()
        #expect(try scratch.entries() == [])
        // Connections that are open do not mind, and closing again does nothing.
        first.close()
        try scratch.write("s", "no socket")
        #expect(throws: HostError.self) { try VsockBackend(settings) }
        for (bad, number) in [(scratch.path("none/s"), 2), (scratch.path(String(repeating: "x", count: 108)), 36)] {
            do {
                _ = try VsockBackend(VsockSettings(cid: 3, socket: bad))
                Issue.record("\(bad) was taken")
            } catch {
                #expect(error.errno == Errno(Int32(number)) && "\(error)".contains(bad))
            }
        }
    }
}
