import Host
import TestSupport
import Testing
import Virtio
import VirtioVsock

/// How connections come about, carry bytes and end.
struct ConnectionTests {
    @Test func tellsTheGuestItsContextID() throws {
        let guest = try FakeGuest { $0.cid = 0xFFFF_FFFE }
        #expect(guest.device.configuration() == [0xFE, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0])
        #expect(guest.device.type.rawValue == 19 && guest.device.queueSizes.count == 3)
        #expect(guest.device.features == 1 && guest.device.configurationSize == 8)
    }

    @Test func aHostProgramConnectsToTheGuest() throws {
        let guest = try FakeGuest()
        try guest.start()
        let client = try HostClient(guest.socket)
        try client.write("CONNECT 1234\n")
        let request = try guest.expect(.request).header
        #expect(request.sourceCID == 2 && request.targetCID == FakeGuest.cid)
        #expect(request.targetPort == 1234 && request.sourcePort == 1 << 30)
        #expect(request.type == 1 && request.flags == 0 && request.length == 0)
        #expect(request.bufferSize == 256 << 10 && request.forwarded == 0)
        #expect(try client.readSome() == [])
        let end = GuestEnd(guest, guestPort: 1234, hostPort: request.sourcePort, window: 1 << 20)
        end.learn(request)
        try end.send(.response)
        #expect(try client.read(16, until: "\n") == "OK 1073741824\n")

        let down = pattern(300_000)
        try client.write(Array(down[..<150_000]))
        var got = try end.receive(150_000)
        try client.write(Array(down[150_000...]))
        got += try end.receive(150_000)
        #expect(got == down)

        let up = pattern(1_000_000, seed: 7)
        var arrived: [UInt8] = []
        try end.transfer(up) { arrived += try client.readSome() ?? [] }
        arrived += try client.read(up.count - arrived.count)
        #expect(arrived == up)
        let metrics = guest.device.metrics
        #expect(metrics.bytesToGuest.load(ordering: .relaxed) == 300_000)
        #expect(metrics.bytesFromGuest.load(ordering: .relaxed) == 1_000_000)
        #expect(metrics.openedByHost.load(ordering: .relaxed) == 1)
        #expect(metrics.malformed.load(ordering: .relaxed) == 0)
    }

    @Test func aGuestProgramConnectsToTheHost() throws {
        let guest = try FakeGuest()
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_77")
        let (client, end) = try guest.call(listener, 77, from: 5000)
        try end.send(.readWrite, Array("to the host".utf8))
        #expect(try client.read(11) == Array("to the host".utf8))
        try client.write("to the guest")
        #expect(try end.receive(12) == Array("to the guest".utf8))
        #expect(guest.device.metrics.openedByGuest.load(ordering: .relaxed) == 1)
    }

    @Test func refusesWhereNobodyListens() throws {
        let guest = try FakeGuest()
        try guest.start()
        // No file, and a file that nobody listens on.
        try guest.scratch.write("vm.sock_9", "")
        for port in [8, 9] as [UInt32] {
            let end = GuestEnd(guest, guestPort: 6000, hostPort: port, window: 4096)
            try end.send(.request)
            let reset = try guest.expect(.reset).header
            #expect(reset.sourcePort == port && reset.targetPort == 6000 && reset.targetCID == FakeGuest.cid)
        }
        let client = try HostClient(guest.socket)
        try client.write("CONNECT 1\n")
        let request = try guest.expect(.request).header
        try GuestEnd(guest, guestPort: 1, hostPort: request.sourcePort, window: 0).send(.reset)
        #expect(try client.isClosed())
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 0)
        #expect(guest.device.metrics.refused.load(ordering: .relaxed) == 3)
    }

    @Test func halvesCloseForThemselves() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        // The host's half first: the guest learns of it after the bytes before it, and goes on sending.
        try client.write("last words")
        client.shutDown(.writing)
        #expect(try end.receive(10) == Array("last words".utf8))
        #expect(try guest.expect(.shutdown).header.flags == VsockHeader.sendsNoMore)
        try end.send(.readWrite, Array("still here".utf8))
        #expect(try client.read(10) == Array("still here".utf8))
        try end.send(.shutdown, flags: VsockHeader.sendsNoMore)
        #expect(try client.isClosed())
        // Nothing can come from either side any more.
        #expect(try guest.expect(.shutdown).header.flags == 3)
        try end.send(.shutdown, flags: 3)
        try guest.expect(.reset)
        #expect(Deadline.seconds(5).wait { guest.device.metrics.open.load(ordering: .relaxed) == 0 })

        // Then the guest's half first.
        let (second, other) = try guest.dial(6)
        try other.send(.shutdown, flags: VsockHeader.sendsNoMore)
        #expect(try second.isClosed())
        try second.write("heard you")
        #expect(try other.receive(9) == Array("heard you".utf8))
        try other.send(.shutdown, flags: VsockHeader.receivesNoMore)
        try guest.expect(.reset)
        #expect(throws: Errno.self) { _ = try second.writeSome([1]) }
    }

    @Test func aGuestThatReceivesNoMoreCanStillSend() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        try end.send(.shutdown, flags: VsockHeader.receivesNoMore)
        #expect(throws: Errno.self) { while true { _ = try client.writeSome([1]) } }
        try end.send(.readWrite, [1, 2, 3])
        #expect(try client.read(3) == [1, 2, 3])
        #expect(guest.staysSilent())
        client.shutDown(.both)
        #expect(try guest.expect(.shutdown).header.flags == 3)
    }

    @Test func aClosedClientEndsTheGuestsConnection() throws {
        let guest = try FakeGuest()
        try guest.start()
        var (client, end): (HostClient?, GuestEnd) = try guest.dial(5)
        try client?.write("bye")
        client = nil
        #expect(try end.receive(3) == Array("bye".utf8))
        // It may learn of the two halves one after the other.
        while try guest.expect(.shutdown).header.flags != 3 {}
        // What was under way is dropped, and the guest's reset ends it all.
        try end.send(.readWrite, [1, 2, 3])
        try end.send(.reset)
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 0)
        #expect(guest.staysSilent())
    }

    @Test func aResetByTheGuestClosesTheClient() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        try end.send(.readWrite, [9])
        try end.send(.reset)
        #expect(try client.read(1) == [9])
        #expect(try client.isClosed())
        #expect(guest.staysSilent())
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 0)
    }

    @Test func aSlowReaderGetsWhatTheGuestSentBeforeItsEnd() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        let bytes = pattern(480_000)
        // More than the host's kernel keeps, so that the device holds the rest.
        try end.transfer(Array(bytes[..<300_000]))
        let rest = end.room
        try end.send(.readWrite, Array(bytes[300_000..<300_000 + min(rest, 30_000)]))
        try end.send(.shutdown, flags: 3)
        #expect(guest.staysSilent())
        // The guest's patience is at its end before the reader reads.
        try end.send(.reset)
        let total = 300_000 + min(rest, 30_000)
        #expect(try client.read(total) == Array(bytes[..<total]))
        #expect(try client.isClosed())
        #expect(Deadline.seconds(5).wait { guest.device.metrics.open.load(ordering: .relaxed) == 0 })
    }

    @Test func twoHundredConnectionsAtOnce() throws {
        let guest = try FakeGuest()
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_80", backlog: 4)
        var clients: [HostClient] = []
        var ends: [GuestEnd] = []
        for number in 0..<100 as Range<UInt32> {
            let dialled = try guest.dial(1000 + number)
            let called = try guest.call(listener, 80, from: 2000 + number)
            clients += [dialled.0, called.0]
            ends += [dialled.1, called.1]
        }
        // All write at once; each turn carries some of everybody's bytes.
        for (index, client) in clients.enumerated() { try client.write(pattern(20_000, seed: index)) }
        var got: [[UInt32]: [UInt8]] = [:]
        var order: [UInt32] = []
        while got.values.reduce(0, { $0 + $1.count }) < 200 * 20_000 {
            let packet = try guest.next()
            try #require(packet.operation == .readWrite)
            got[[packet.header.targetPort, packet.header.sourcePort], default: []] += packet.bytes
            order.append(packet.header.targetPort)
        }
        for (index, end) in ends.enumerated() {
            #expect(got[[end.guestPort, end.hostPort]] == pattern(20_000, seed: index))
            try end.send(.readWrite, pattern(5_000, seed: 3 * index))
        }
        // Nobody had a second turn long before the last had a first: the queue takes all in turn.
        #expect(Set(order.suffix(200)).count > 100)
        for (index, client) in clients.enumerated() {
            #expect(try client.read(5_000) == pattern(5_000, seed: 3 * index))
        }
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 200)
        #expect(guest.device.metrics.malformed.load(ordering: .relaxed) == 0)
    }
}
