import Host
import TestSupport
import Testing

@testable import VirtioVsock

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

    @Test func countersRunOverTheEndOfTheirRange() {
        var credit = Credit(window: 1000)
        var header = VsockHeader()
        // Up to 10 bytes before 2^32, both ways.
        let far = UInt32.max - 9
        credit.send(far)
        (header.bufferSize, header.forwarded) = (500, far)
        credit.learn(header)
        #expect(credit.room == 500)
        credit.send(100)
        #expect(credit.room == 400)
        header.forwarded = 90
        credit.learn(header)
        #expect(credit.room == 500)
        // A guest that claims to have taken bytes that were not sent has no room, whatever it claims.
        for claim in [91, 1 << 31, far - 1000] as [UInt32] {
            header.forwarded = claim
            credit.learn(header)
            #expect(credit.room == 0)
        }

        // 2^32 bytes from the guest and more, in the largest steps.
        var wide = Credit(window: 1 << 30)
        for _ in 0..<6 {
            let first = wide.receive(1 << 30)
            // What has not left, and what the guest was not told of, is not the guest's to use.
            let second = wide.receive(1)
            wide.forward(1 << 30)
            let third = wide.receive(1)
            #expect(first && !second && !third && wide.owesUpdate)
            wide.tell(&header)
            #expect(!wide.owesUpdate && wide.held == 0)
        }
        #expect(header.forwarded == 2 << 30 && header.bufferSize == 1 << 30)
    }

    @Test func windowsShrinkWhenManyAreOpen() {
        var budget = WindowBudget()
        var sum: UInt64 = 0
        var windows: [UInt32] = []
        for _ in 0..<4096 { windows.append(budget.take()) }
        for window in windows { sum += UInt64(window) }
        #expect(windows[0] == 256 << 10 && windows[100] == 256 << 10)
        #expect(windows.allSatisfy { $0 >= 4096 } && windows.last == 4096)
        #expect(sum <= 64 << 20 + 4096 * 4096)
        for window in windows { budget.giveBack(window) }
        let again = budget.take()
        #expect(again == 256 << 10)
    }
}
