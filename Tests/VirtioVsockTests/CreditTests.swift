import Host
import TestSupport
import Testing
import VirtioVsock

/// Flow control (virtio 1.2 section 5.10.6.3).
struct CreditTests {
    @Test func sendsNoMoreThanTheGuestHasRoomFor() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5, window: 10_000)
        try client.write(pattern(25_000))
        var got: [UInt8] = []
        while got.count < 10_000 { got += try guest.expect(.readWrite).bytes }
        #expect(got.count == 10_000)
        // Asked once, and not again while the guest says that it has nothing.
        try guest.expect(.creditRequest)
        try end.send(.creditUpdate)
        #expect(guest.staysSilent())
        end.forwarded = 4_000
        try end.send(.creditUpdate)
        while got.count < 14_000 { got += try guest.expect(.readWrite).bytes }
        #expect(got.count == 14_000)
        try guest.expect(.creditRequest)
        // A larger buffer is credit too.
        end.window = 1 << 20
        try end.send(.creditUpdate)
        while got.count < 25_000 { got += try guest.expect(.readWrite).bytes }
        #expect(got == pattern(25_000))
        #expect(guest.staysSilent())
    }

    @Test func theEndNeedsNoCredit() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, _) = try guest.dial(5, window: 0)
        client.shutDown(.writing)
        #expect(try guest.expect(.shutdown).header.flags == VsockHeader.sendsNoMore)
    }

    @Test func keepsWhatTheHostDoesNotTakeAndNoMore() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        let (lively, other) = try guest.dial(6)
        var sent = 0
        // The kernel's buffer and the device's fill up.
        while true {
            while guest.hasPacket { end.learn(try guest.next().header) }
            let part = min(end.room, 0x8000)
            if part == 0, guest.staysSilent(.milliseconds(100)) { break }
            guard part > 0 else { continue }
            try end.send(.readWrite, pattern(sent + part).suffix(part))
            sent += part
        }
        #expect(sent > 256 << 10 && sent < 2 << 20)
        // The other connection flows meanwhile.
        try other.send(.readWrite, [1, 2, 3])
        #expect(try lively.read(3) == [1, 2, 3])
        try lively.write("up")
        #expect(try other.receive(2) == Array("up".utf8))
        // A request for credit is answered at any time.
        try end.send(.creditRequest)
        #expect(try guest.expect(.creditUpdate).header.targetPort == 5)
        #expect(try client.read(sent) == pattern(sent))
        end.learn(try guest.expect(.creditUpdate).header)
        #expect(end.room >= 128 << 10)
    }

    @Test func moreThanAllowedIsAReset() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        for _ in 0..<64 {
            while guest.hasPacket { _ = try guest.next() }
            try end.send(.readWrite, pattern(0x8000))
            if guest.device.metrics.malformed.load(ordering: .relaxed) > 0 { break }
        }
        var packet = try guest.next()
        while packet.operation == .creditUpdate { packet = try guest.next() }
        #expect(packet.operation == .reset)
        #expect(guest.device.metrics.malformed.load(ordering: .relaxed) == 1)
        _ = try client.read(1 << 20)
        #expect(try client.isClosed())
    }

    @Test func liesAboutCreditHurtNobodyElse() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5, window: .max)
        // More taken than was ever sent: no room, and no trap.
        end.forwarded = 0x8000_0000
        try end.send(.creditUpdate)
        try client.write("x")
        var packet = try guest.next()
        if packet.operation == .creditRequest {
            end.forwarded = 0
            try end.send(.creditUpdate)
            packet = try guest.next()
        }
        #expect(packet.bytes == [UInt8(ascii: "x")])
        end.forwarded = .max
        end.window = 0
        try end.send(.creditUpdate)
        try client.write("y")
        try guest.expect(.creditRequest)
        let (fine, other) = try guest.dial(6)
        try fine.write("z")
        #expect(try other.receive(1) == [UInt8(ascii: "z")])
    }

    @Test func countersRunOverTheEndOfTheirRange() throws {
        // 2^32 bytes are too many for a test, the arithmetic is not.
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5, window: 8192)
        var total = 0
        for round in 0..<50 {
            try client.write(pattern(8192, seed: round))
            #expect(try end.receive(8192) == pattern(8192, seed: round))
            total += 8192
        }
        #expect(guest.device.metrics.bytesToGuest.load(ordering: .relaxed) == UInt64(total))
    }
}
