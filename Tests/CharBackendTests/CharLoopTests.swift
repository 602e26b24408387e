import CLinux
import CharBackend
import Host
import Synchronization
import TestSupport
import Testing

/// A device of the guest that keeps what it is sent.
private final class FakeReceiver: CharReceiver {
    private let state = Mutex<(bytes: [UInt8], room: Int, drained: Int)>(([], 1 << 20, 0))
    var inputRoom: Int { state.withLock { max(0, $0.room - $0.bytes.count) } }
    func receive(_ bytes: [UInt8]) { state.withLock { $0.bytes += bytes } }
    func outputDrained() { state.withLock { $0.drained += 1 } }
    var bytes: [UInt8] { state.withLock { $0.bytes } }
    var drained: Int { state.withLock { $0.drained } }
    func setRoom(_ room: Int) { state.withLock { $0.room = room } }
}

private let deadline = 10

/// Backends with real files, terminals and sockets, and the thread that serves them.
struct CharLoopTests {
    private let scratch: ScratchDirectory
    private let loop: CharLoop
    private let reports = Reports()

    private final class Reports: Sendable {
        let lines = Mutex<[String]>([])
    }

    init() throws {
        scratch = try ScratchDirectory("char")
        let reports = reports
        loop = try CharLoop(report: { line in reports.lines.withLock { $0.append(line) } }, onQuit: {})
    }

    private func text(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(32 + $0 % 90) } }

    private func connect(_ path: String) throws -> FileDescriptor {
        let client = FileDescriptor(owning: cl_unix_socket())
        // SAFETY: the path's bytes live through the call.
        guard unsafe cl_unix_connect(client.raw, path) == 0 else { throw Errno.current }
        return client
    }

    /// Queues all the bytes, as a guest does that waits for room.
    private func writeAll(_ bytes: [UInt8], to port: CharPort) -> Bool {
        var done = 0
        return Deadline.seconds(deadline).wait {
            done += port.write(bytes.span.extracting(done..<bytes.count))
            return done == bytes.count
        }
    }

    @Test func fileGetsTheOutput() throws {
        defer { loop.stop() }
        let path = try scratch.write("log", "what was there before")
        let opened = try loop.open(.file(path))
        #expect(opened.ptyPath == nil)
        let bytes = text(300_000)
        #expect(writeAll(bytes, to: opened.port))
        #expect(Deadline.seconds(deadline).wait { (try? scratch.read("log")) == bytes })
        #expect(opened.port.dropped == 0)
    }

    @Test func stopWritesWhatWaits() throws {
        let opened = try loop.open(.file(scratch.path("log")))
        let bytes = text(CharPort.capacity)
        #expect(opened.port.write(bytes.span) == bytes.count)
        loop.stop()
        #expect(try scratch.read("log") == bytes)
        loop.stop()
    }

    @Test func stopDoesNotWaitForASilentClient() throws {
        let path = scratch.path("socket")
        let opened = try loop.open(.socket(path))
        let client = try connect(path)
        // Nobody reads, so the socket's buffer and then the ring fill up.
        var full = 0
        _ = Deadline.seconds(deadline).wait {
            full = opened.port.write(text(4096).span) == 0 ? full + 1 : 0
            return full > 20
        }
        #expect(full > 20)
        let start = ContinuousClock.now
        loop.stop(deadlineMilliseconds: 100)
        #expect(start.duration(to: .now) < .seconds(5))
        #expect(client.raw >= 0)
        #expect(try scratch.entries() == [])
    }

    @Test func aFullDiskIsReportedOnce() throws {
        defer { loop.stop() }
        let opened = try loop.open(.file("/dev/full"))
        #expect(writeAll(text(200_000), to: opened.port))
        #expect(Deadline.seconds(deadline).wait { !reports.lines.withLock { $0.isEmpty } })
        #expect(writeAll(text(200_000), to: opened.port))
        #expect(
            reports.lines.withLock { $0 } == [
                "cannot write /dev/full: No space left on device (ENOSPC); the guest's output there is lost from now on"
            ])
    }

    @Test func backendsThatCannotBeOpened() throws {
        defer { loop.stop() }
        let path = scratch.path("no/such/log")
        #expect(throws: HostError("open", path, .noSuchFile)) { try loop.open(.file(path)) }
        #expect(throws: HostError.self) { try loop.open(.socket(scratch.path(String(repeating: "x", count: 120)))) }
    }

    @Test func nullTakesEverything() throws {
        let port = try loop.open(.null).port
        #expect(port.write(text(1 << 20).span) == 1 << 20)
        #expect(port.hasRoom && port.write(0x41) && port.dropped == 0)
    }

    // MARK: Nobody at the other end

    @Test func outputWithoutAClientGoesAwayAllOfIt() throws {
        defer { loop.stop() }
        let opened = try loop.open(.socket(scratch.path("socket")))
        // A ring full at once, more than the thread moves in one go; then no further event wakes it.
        #expect(opened.port.write(text(CharPort.capacity).span) == CharPort.capacity)
        #expect(
            Deadline.seconds(deadline).wait { opened.port.write(text(CharPort.capacity).span) == CharPort.capacity })
    }

    @Test func terminalThatNobodyReadsDoesNotStopTheGuest() throws {
        defer { loop.stop() }
        let opened = try loop.open(.pty)
        let receiver = FakeReceiver()
        opened.port.connect(receiver)
        #expect(opened.port.write(text(CharPort.capacity).span) == CharPort.capacity)
        #expect(opened.port.hasRoom == false || receiver.drained >= 0)
        #expect(writeAll(text(300_000), to: opened.port))
        #expect(Deadline.seconds(deadline).wait { receiver.drained > 0 })
    }

    // MARK: Both ways

    @Test func socketCarriesBothWays() throws {
        defer { loop.stop() }
        let path = scratch.path("socket")
        let opened = try loop.open(.socket(path))
        let receiver = FakeReceiver()
        opened.port.connect(receiver)
        let client = try connect(path)
        try client.writeAll(Array("hello".utf8))
        #expect(Deadline.seconds(deadline).wait { receiver.bytes == Array("hello".utf8) })
        let bytes = text(200_000)
        let port = opened.port
        let writer = try Thread("writer") {
            var done = 0
            while done < bytes.count { done += port.write(bytes.span.extracting(done..<bytes.count)) }
        }
        #expect(client.read(bytes.count) == bytes)
        writer.join()
    }

    @Test func theNewestClientHasTheLine() throws {
        defer { loop.stop() }
        let path = scratch.path("socket")
        let opened = try loop.open(.socket(path))
        let receiver = FakeReceiver()
        opened.port.connect(receiver)
        let first = try connect(path)
        try first.writeAll([1])
        #expect(Deadline.seconds(deadline).wait { receiver.bytes == [1] })
        do {
            let second = try connect(path)
            try second.writeAll([2])
            #expect(Deadline.seconds(deadline).wait { receiver.bytes == [1, 2] })
            #expect(first.read(1).isEmpty)
        }
        let third = try connect(path)
        try third.writeAll([3])
        #expect(Deadline.seconds(deadline).wait { receiver.bytes == [1, 2, 3] })
        #expect(opened.port.write([7, 8].span) == 2)
        #expect(third.read(2) == [7, 8])
    }

    @Test func inputWaitsForRoom() throws {
        defer { loop.stop() }
        let path = scratch.path("socket")
        let opened = try loop.open(.socket(path))
        let receiver = FakeReceiver()
        receiver.setRoom(10)
        opened.port.connect(receiver)
        let client = try connect(path)
        try client.writeAll(text(25))
        #expect(Deadline.seconds(deadline).wait { receiver.bytes.count == 10 })
        sleepThread(.milliseconds(50))
        #expect(receiver.bytes == text(10))
        receiver.setRoom(100)
        opened.port.inputRoomAvailable()
        #expect(Deadline.seconds(deadline).wait { receiver.bytes == text(25) })
    }

    @Test func terminalCarriesBothWays() throws {
        defer { loop.stop() }
        let opened = try loop.open(.pty)
        let receiver = FakeReceiver()
        opened.port.connect(receiver)
        let path = try #require(opened.ptyPath)
        for round in 0..<2 {
            // People come and go.
            let other = try FileDescriptor.open(path, O_RDWR | O_NOCTTY)
            try other.writeAll(Array("in\n".utf8))
            #expect(Deadline.seconds(deadline).wait { receiver.bytes.count == 3 * (round + 1) })
            #expect(opened.port.write(Array("out\r\n".utf8).span) == 5)
            #expect(other.read(5) == Array("out\r\n".utf8))
        }
        #expect(receiver.bytes == Array("in\nin\n".utf8))
    }

    @Test func aReaderOfTheTerminalMissesNothing() throws {
        defer { loop.stop() }
        let opened = try loop.open(.pty)
        let other = try FileDescriptor.open(try #require(opened.ptyPath), O_RDWR | O_NOCTTY)
        let bytes = text(100_000)
        let port = opened.port
        let writer = try Thread("writer") {
            var done = 0
            let deadline = Deadline.seconds(10)
            while done < bytes.count, !deadline.hasPassed {
                done += port.write(bytes.span.extracting(done..<bytes.count))
            }
        }
        #expect(other.read(bytes.count) == bytes)
        writer.join()
    }

    // MARK: The ring

    @Test func aFullRingSaysSoAndTellsWhenItHasDrained() throws {
        defer { loop.stop() }
        let path = scratch.path("socket")
        let opened = try loop.open(.socket(path))
        let receiver = FakeReceiver()
        opened.port.connect(receiver)
        let client = try connect(path)
        try client.writeAll([1])
        #expect(Deadline.seconds(deadline).wait { receiver.bytes == [1] })
        var written = 0
        _ = Deadline.seconds(deadline).wait {
            let taken = opened.port.write(text(8192).span)
            written += taken
            if taken == 0 { sleepThread(.milliseconds(20)) }
            return taken == 0 && !opened.port.hasRoom
        }
        #expect(!opened.port.hasRoom && !opened.port.write(0x21))
        #expect(opened.port.dropped == 1)
        let got = client.read(written)
        #expect(got.count == written)
        #expect(Deadline.seconds(deadline).wait { receiver.drained > 0 })
    }
}
