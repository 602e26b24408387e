import CharBackend
import Host
import Synchronization
import TestSupport
import Testing

/// A client that keeps what it is told, as long as it takes anything.
private final class FakeClient: CharClient {
    private let state = Mutex<(bytes: [UInt8], takes: Bool, ended: Bool)>(([], true, false))
    func take(_ bytes: [UInt8]) -> Bool {
        state.withLock { state in
            if state.takes { state.bytes += bytes }
            return state.takes
        }
    }
    func end() { state.withLock { $0.ended = true } }
    func setTaking(_ on: Bool) { state.withLock { $0.takes = on } }
    var bytes: [UInt8] { state.withLock { $0.bytes } }
    var hasEnded: Bool { state.withLock { $0.ended } }
}

/// A device of the guest that keeps what it is sent, at most so much at once.
private final class FakeDevice: CharReceiver {
    private let state: Mutex<(bytes: [UInt8], room: Int)>
    init(room: Int = 1 << 20) { state = Mutex(([], room)) }
    var inputRoom: Int { state.withLock { $0.room - $0.bytes.count } }
    func receive(_ bytes: [UInt8]) { state.withLock { $0.bytes += bytes } }
    func outputDrained() {}
    var bytes: [UInt8] { state.withLock { $0.bytes } }
    func makeRoom(_ count: Int) { state.withLock { $0.room += count } }
}

/// Clients beside a line's backend.
struct CharClientTests {
    private let scratch: ScratchDirectory
    private let loop: CharLoop
    private let deadline = Deadline.seconds(10)

    init() throws {
        scratch = try ScratchDirectory("clients")
        loop = try CharLoop(report: { _ in }, onQuit: {})
    }

    private func text(_ count: Int, from start: Int = 0) -> [UInt8] {
        (start..<start + count).map { UInt8(truncatingIfNeeded: 32 + $0 % 89) }
    }

    private func attach(_ port: CharPort) throws -> (FakeClient, CharAttachment) {
        let client = FakeClient()
        return (client, try port.attach(client))
    }

    // MARK: Output

    @Test func outputWithoutABackendIsKeptForWhoComesLater() throws {
        defer { loop.stop() }
        let port = try loop.open(.null).port
        #expect(port.write(text(1000).span) == 1000)
        for byte in text(500, from: 1000) { #expect(port.write(byte)) }
        let (client, _) = try attach(port)
        #expect(deadline.wait { client.bytes == text(1500) })
        #expect(port.write(text(700, from: 1500).span) == 700)
        #expect(deadline.wait { client.bytes == text(2200) })
        #expect(port.write(0x21))
        #expect(deadline.wait { client.bytes == text(2200) + [0x21] })
        #expect(port.written == 2201)
    }

    @Test(arguments: [65535, 65536, 65537, 200_000])
    func theLast64KiBAreReplayed(count: Int) throws {
        defer { loop.stop() }
        let port = try loop.open(.null).port
        // In pieces that fall across the ring's end, and one that is larger than the ring.
        var done = 0
        for piece in [3, 40_000, 70_000, 11] where done + piece <= count {
            #expect(port.write(text(piece, from: done).span) == piece)
            done += piece
        }
        #expect(port.write(text(count - done, from: done).span) == count - done)
        let (client, _) = try attach(port)
        let expected = Array(text(count).suffix(CharPort.capacity))
        #expect(deadline.wait { client.bytes.count >= expected.count })
        #expect(client.bytes == expected)
    }

    @Test func readersOfEveryKindSeeTheSame() throws {
        defer { loop.stop() }
        let port = try loop.open(.file(scratch.path("log"))).port
        let (first, _) = try attach(port)
        var sent = 0
        for _ in 0..<50 {
            sent += port.write(text(1000, from: sent).span)
            sleepThread(.milliseconds(1))
        }
        let (second, _) = try attach(port)
        #expect(deadline.wait { first.bytes.count == sent && second.bytes.count == sent })
        #expect(first.bytes == text(sent) && second.bytes == text(sent))
        #expect(deadline.wait { (try? scratch.read("log")) == text(sent) })
    }

    @Test func aClientThatDoesNotReadStopsNobodyAndIsToldWhatItMissed() throws {
        defer { loop.stop() }
        let port = try loop.open(.null).port
        let (slow, _) = try attach(port)
        let (quick, _) = try attach(port)
        #expect(port.write(text(100).span) == 100)
        #expect(deadline.wait { slow.bytes.count == 100 })
        slow.setTaking(false)
        var sent = 100
        while sent < 200_100 {
            sent += port.write(text(10_000, from: sent).span)
            #expect(deadline.wait { quick.bytes.count == sent })
        }
        slow.setTaking(true)
        let missed = 200_000 - CharPort.capacity
        let notice = "\r\n[swiftlet: \(missed) bytes of output were skipped: they came faster than they were read]\r\n"
        let expected = text(100) + Array(notice.utf8) + text(CharPort.capacity, from: 100 + missed)
        #expect(deadline.wait { slow.bytes.count >= expected.count })
        #expect(slow.bytes == expected)
        #expect(quick.bytes == text(sent))
    }

    @Test func whoHasLeftHearsNothing() throws {
        defer { loop.stop() }
        let port = try loop.open(.null).port
        let (leaving, stay) = try attach(port)
        let (other, _) = try attach(port)
        stay.detach()
        stay.detach()
        #expect(port.write([1].span) == 1)
        #expect(deadline.wait { other.bytes == [1] })
        #expect(port.write([2].span) == 1)
        #expect(deadline.wait { other.bytes == [1, 2] })
        #expect(leaving.bytes.count <= 1 && stay.room == 0)
    }

    @Test func theEndOfTheLineIsToldAfterItsLastOutput() throws {
        let port = try loop.open(.null).port
        let (client, _) = try attach(port)
        #expect(port.write(text(5000).span) == 5000)
        loop.stop()
        #expect(client.hasEnded && client.bytes == text(5000))
        let late = FakeClient()
        _ = try port.attach(late)
        #expect(late.hasEnded)
    }

    // MARK: Input

    @Test func inputOfSeveralClientsAndTheBackendReachesTheGuest() throws {
        defer { loop.stop() }
        let opened = try loop.open(.pty)
        let device = FakeDevice()
        opened.port.connect(device)
        let (_, first) = try attach(opened.port)
        let (_, second) = try attach(opened.port)
        let terminal = try FileDescriptor.open(try #require(opened.ptyPath), 2)
        first.write(Array("aaaa".utf8))
        second.write(Array("bbbb".utf8))
        try terminal.writeAll(Array("cccc".utf8))
        #expect(deadline.wait { device.bytes.count == 12 })
        #expect(device.bytes.sorted() == Array("aaaabbbbcccc".utf8))
        #expect(opened.port.delivered == 12)
    }

    @Test func inputWaitsForTheGuestInABoundedQueue() throws {
        defer { loop.stop() }
        let port = try loop.open(.null).port
        let device = FakeDevice(room: 16)
        let (_, stay) = try attach(port)
        // Before there is a guest it waits, and what does not fit is lost.
        #expect(stay.room == CharAttachment.capacity)
        stay.write(text(5000))
        #expect(stay.room == 0)
        port.connect(device)
        #expect(deadline.wait { device.bytes.count == 16 })
        while device.bytes.count < CharAttachment.capacity {
            let before = device.bytes.count
            device.makeRoom(1000)
            port.inputRoomAvailable()
            #expect(deadline.wait { device.bytes.count > before })
            guard device.bytes.count > before else { break }
        }
        #expect(device.bytes == text(CharAttachment.capacity))
        #expect(deadline.wait { stay.room == CharAttachment.capacity })
    }

    /// A guest that has taken what it got before the I/O thread looks again tells nobody that there is room.
    @Test func aGuestThatReadsAtOnceGetsAllOfIt() throws {
        final class Reader: CharReceiver {
            private let taken = Mutex<[UInt8]>([])
            var inputRoom: Int { 3 }
            func receive(_ bytes: [UInt8]) { taken.withLock { $0 += bytes } }
            func outputDrained() {}
            var bytes: [UInt8] { taken.withLock { $0 } }
        }
        defer { loop.stop() }
        let port = try loop.open(.null).port
        let reader = Reader()
        port.connect(reader)
        let (_, client) = try attach(port)
        client.write(text(4000))
        #expect(deadline.wait { reader.bytes.count == 4000 }, "\(reader.bytes.count)")
        #expect(reader.bytes == text(4000))
    }

    @Test func aLineOutlivesItsGuests() throws {
        defer { loop.stop() }
        let port = try loop.open(.null).port
        let first = FakeDevice(), second = FakeDevice()
        let (client, stay) = try attach(port)
        port.connect(first)
        #expect(port.write(text(100).span) == 100)
        stay.write([1])
        #expect(deadline.wait { first.bytes == [1] })
        port.connect(nil)
        stay.write([2])
        #expect(deadline.wait { client.bytes == text(100) })
        port.connect(second)
        #expect(port.write(text(100, from: 100).span) == 100)
        #expect(deadline.wait { second.bytes == [2] && client.bytes == text(200) })
        let (late, _) = try attach(port)
        #expect(deadline.wait { late.bytes == text(200) })
        #expect(first.bytes == [1])
    }
}
