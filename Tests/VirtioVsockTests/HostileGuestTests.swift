import Host
import TestSupport
import Testing
import Virtio
import VirtioVsock

/// Guests that break the rules.
struct HostileGuestTests {
    /// A packet that cannot be on an open connection: what is wrong, and whether the connection ends.
    struct Wrong: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let answersReset: Bool
        let change: @Sendable (inout VsockHeader) -> Void

        init(_ name: String, reset: Bool, _ change: @escaping @Sendable (inout VsockHeader) -> Void) {
            (testDescription, answersReset, self.change) = (name, reset, change)
        }
    }

    static let wrong = [
        Wrong("another guest's name", reset: false) { $0.sourceCID = 43 },
        Wrong("the guest's own name with high bits", reset: false) { $0.sourceCID |= 1 << 40 },
        Wrong("to another guest", reset: true) { $0.targetCID = 43 },
        Wrong("to the hypervisor", reset: true) { $0.targetCID = 0 },
        Wrong("to the host with high bits", reset: true) { $0.targetCID |= 1 << 32 },
        Wrong("seqpacket", reset: true) { $0.type = 2 },
        Wrong("no type", reset: true) { $0.type = 0 },
        Wrong("no operation", reset: true) { $0.operation = 0 },
        Wrong("an unknown operation", reset: true) { $0.operation = 8 },
        Wrong("the last operation", reset: true) { $0.operation = .max },
        Wrong("more bytes than there are", reset: true) { $0.length = 5 },
        Wrong("4 GiB", reset: true) { $0.length = .max },
        Wrong("a second request", reset: true) { $0.operation = VsockOperation.request.rawValue },
        Wrong("a second response", reset: true) { $0.operation = VsockOperation.response.rawValue },
        Wrong("a reset of the wrong type", reset: false) {
            ($0.type, $0.operation) = (7, VsockOperation.reset.rawValue)
        },
        Wrong("an unknown connection", reset: true) { $0.sourcePort = 99 },
        Wrong("an unknown port of the host", reset: true) { $0.targetPort = 99 },
    ]

    @Test(arguments: wrong) func isAnsweredByTheRules(_ wrong: Wrong) throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        let (other, good) = try guest.dial(6)
        var header = end.header(.readWrite)
        header.length = 4
        wrong.change(&header)
        try guest.send(header, [1, 2, 3, 4])
        if wrong.answersReset {
            let reset = try guest.expect(.reset).header
            #expect(reset.sourcePort == header.targetPort && reset.targetPort == header.sourcePort)
            #expect(reset.sourceCID == header.targetCID && reset.targetCID == header.sourceCID)
            #expect(reset.type == header.type || header.targetCID == 2 && header.sourcePort == 5)
        }
        #expect(guest.staysSilent(.milliseconds(20)))
        #expect(try client.readSome()?.isEmpty ?? true)
        try good.send(.readWrite, [7])
        #expect(try other.read(1) == [7])
        #expect(guest.transport.reasons.isEmpty)
    }

    @Test func unknownFlagsAreIgnored() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        try end.send(.shutdown, flags: 0xFFFF_FFFC)
        try end.send(.readWrite, flags: .max, [1])
        #expect(try client.read(1) == [1])
    }

    @Test func bytesAfterTheEndAreAReset() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        try end.send(.shutdown, flags: VsockHeader.sendsNoMore)
        try end.send(.readWrite, [1])
        try guest.expect(.reset)
        #expect(try client.isClosed())
    }

    @Test func malformedChains() throws {
        let guest = try FakeGuest()
        try guest.start(buffers: 0)
        let (place, header) = (UInt64(0x9_0000), GuestEnd(guest, guestPort: 1, hostPort: 2, window: 0).header(.request))
        try guest.write(header, at: place)
        // A header that is cut off, one in the wrong direction, one in 44 pieces.
        #expect(try guest.transmit.exchange([.readable(place, 43)]) == 0)
        #expect(try guest.transmit.exchange([.writable(place, 44)]) == 0)
        #expect(try guest.transmit.exchange([.readable(place, 0)]) == 0)
        #expect(try guest.transmit.exchange((0..<44).map { .readable(place + $0, 1) }) == 0)
        // Buffers without room for a header are given back empty; the answer waits for one that has it.
        try guest.receive.send([.writable(0xA_0000, 43)])
        try guest.receive.send([.readable(0xA_0000, 100)])
        guest.receive.kick()
        #expect(try guest.receive.waitUsed().length == 0)
        #expect(try guest.receive.waitUsed().length == 0)
        try guest.receive.send([.writable(0xA_0000, 44)])
        guest.receive.kick()
        #expect(try guest.receive.waitUsed().length == 44)
        #expect(guest.transport.reasons.isEmpty)
        // A chain outside of RAM stops its queue and says so.
        try guest.transmit.send([.readable(1 << 40, 44)])
        guest.transmit.kick()
        #expect(Deadline.seconds(5).wait { guest.transport.reasons.count == 1 })
    }

    @Test func buffersForHeadersAloneHoldNoBytes() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, _) = try guest.dial(5)
        // The good buffers that the device has come first.
        for _ in 0..<3 { try guest.receive.send([.writable(0xA_0000, 44)]) }
        guest.receive.kick()
        var bytes = 0
        for byte in 0..<48 {
            try client.write([UInt8(byte)])
            let entry = try guest.receive.waitUsed()
            bytes += Int(entry.length) - 44
        }
        #expect(bytes == 48)
        try client.write([99])
        for _ in 0..<3 { #expect(try guest.receive.waitUsed().length == 0) }
    }

    @Test func tooManyConnectionsAreRefused() throws {
        let guest = try FakeGuest { $0.streamLimit = 4 }
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_1", backlog: 64)
        var kept: [(HostClient, GuestEnd)] = []
        for port in 0..<4 as Range<UInt32> { kept.append(try guest.call(listener, 1, from: 100 + port)) }
        try GuestEnd(guest, guestPort: 200, hostPort: 1, window: 1).send(.request)
        #expect(try guest.expect(.reset).header.targetPort == 200)
        #expect(try HostClient(guest.socket).isClosed())
        // One that ends makes room.
        try kept[0].1.send(.shutdown, flags: 3)
        try guest.expect(.reset)
        _ = try guest.call(listener, 1, from: 200)
        try kept[1].1.send(.readWrite, [5])
        #expect(try kept[1].0.read(1) == [5])
    }

    @Test func answersThatNobodyTakesDoNotPileUp() throws {
        let guest = try FakeGuest()
        try guest.start(buffers: 0)
        // 256 answers wait at most; then the packets do.
        let (place, header) = (
            UInt64(0x9_0000), GuestEnd(guest, guestPort: 1, hostPort: 2, window: 0).header(.readWrite)
        )
        try guest.write(header, at: place)
        for _ in 0..<256 { #expect(try guest.transmit.exchange([.readable(place, 44)]) == 0) }
        for _ in 0..<60 { try guest.transmit.send([.readable(place, 44)]) }
        guest.transmit.kick()
        #expect(!Deadline(after: .milliseconds(100)).wait { (try? guest.transmit.usedIndex != 256) ?? true })
        for _ in 0..<48 { try guest.post() }
        guest.receive.kick()
        for _ in 0..<316 { try guest.expect(.reset) }
        for _ in 0..<60 { _ = try guest.transmit.waitUsed() }
        #expect(guest.staysSilent(.milliseconds(20)))
    }

    @Test(arguments: 1...6) func survivesRandomPackets(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let guest = try FakeGuest { ($0.streamLimit, $0.patience) = (64, 100) }
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_1", backlog: 8)
        var clients: [HostClient] = []
        for round in 0..<3000 {
            if round % 50 == 0 {
                while let accepted = listener.accept() { clients.append(HostClient(owning: accepted)) }
                let client = try HostClient(guest.socket)
                try client.write("CONNECT \(round % 4)\n")
                clients.append(client)
                if clients.count > 20 { clients.removeFirst(10) }
            }
            if let client = clients.randomElement(using: &random) { _ = try? client.writeSome([1, 2, 3]) }
            while guest.hasPacket { _ = try guest.next() }
            let bytes = [UInt8](repeating: 7, count: Int.random(in: 0...100, using: &random))
            var header = VsockHeader()
            (header.sourceCID, header.targetCID) = (FakeGuest.cid, Int.random(in: 0..<20, using: &random) == 0 ? 9 : 2)
            header.sourcePort = UInt32.random(in: 0..<4, using: &random)
            header.targetPort = Bool.random(using: &random) ? 1 : 1 << 30 | UInt32.random(in: 0..<80, using: &random)
            header.length =
                Int.random(in: 0..<20, using: &random) == 0
                ? .random(in: 0 ... .max, using: &random)
                : UInt32(bytes.count)
            header.type = Int.random(in: 0..<30, using: &random) == 0 ? 2 : 1
            header.operation = UInt16.random(in: 0...8, using: &random)
            header.flags = UInt32.random(in: 0...3, using: &random)
            header.bufferSize = Bool.random(using: &random) ? .max : .random(in: 0...5000, using: &random)
            header.forwarded = .random(in: 0...5000, using: &random)
            try guest.send(header, bytes)
        }
        clients = []
        #expect(guest.device.metrics.open.load(ordering: .relaxed) <= 64)
        #expect(guest.transport.reasons.isEmpty)
        // And it still works, once the guest's resets have made room.
        while guest.hasPacket { _ = try guest.next() }
        let progress = guest.device.deactivate()
        guest.device.reset()
        #expect(progress[1]?.nextUsed == progress[1]?.nextAvailable)
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 0)
    }
}
