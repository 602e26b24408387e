import CLinux
import CharBackend
import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioConsole

/// The console between a driver and a client of its socket.
struct ConsoleTests {
    private let memory: GuestMemory
    private let receive: FakeDriver, transmit: FakeDriver
    private let scratch: ScratchDirectory
    private let loop: CharLoop
    private let device: ConsoleDevice
    private let transport = RecordingTransport()

    init() throws {
        memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        receive = try FakeDriver(memory, size: 16, base: 0)
        transmit = try FakeDriver(memory, size: 16, base: 0x1000)
        scratch = try ScratchDirectory("console")
        loop = try CharLoop(report: { _ in }, onQuit: {})
        let port = try loop.open(.socket(scratch.path("socket"))).port
        device = try ConsoleDevice(id: "__console", port, size: (80, 25))
    }

    private func start() throws {
        try device.activate(
            VirtioActivation(
                memory: memory, features: 1, queues: [receive.resources(index: 0), transmit.resources(index: 1)],
                transport: transport))
    }

    private func stop() {
        _ = device.deactivate()
        loop.stop()
    }

    private func connect() throws -> FileDescriptor {
        let client = FileDescriptor(owning: cl_unix_socket())
        // SAFETY: the path's bytes live through the call.
        guard unsafe cl_unix_connect(client.raw, scratch.path("socket")) == 0 else { throw Errno.current }
        return client
    }

    @Test func inputGoesIntoTheDriversBuffers() throws {
        try start()
        defer { stop() }
        let client = try connect()
        try receive.send([.writable(0x10000, 3)])
        try receive.send([.writable(0x20000, 2), .writable(0x21000, 100)])
        receive.kick()
        try client.writeAll(Array("hello, guest".utf8))
        #expect(try receive.waitUsed().length == 3)
        #expect(try receive.waitUsed().length == 9)
        #expect(try memory.bytes(at: 0x10000, count: 4) == Array("hel\0".utf8))
        #expect(try memory.bytes(at: 0x20000, count: 2) == Array("lo".utf8))
        #expect(try memory.bytes(at: 0x21000, count: 7) == Array(", guest".utf8))
    }

    @Test func inputWaitsForBuffersAndIsNotLost() throws {
        try start()
        defer { stop() }
        let client = try connect()
        // More than the device keeps, so that it has to ask for the rest.
        let bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8) }
        try client.writeAll(bytes)
        sleepThread(.milliseconds(50))
        #expect(try receive.usedIndex == 0)
        var got: [UInt8] = []
        while got.count < bytes.count {
            try receive.send([.writable(0x10000, 700)])
            receive.kick()
            let entry = try receive.waitUsed()
            #expect(entry.length > 0 && entry.length <= 700)
            got += try memory.bytes(at: 0x10000, count: Int(entry.length))
        }
        #expect(got == bytes)
    }

    @Test func outputReachesTheClient() throws {
        try start()
        defer { stop() }
        let client = try connect()
        try receive.send([.writable(0x30000, 1)])
        receive.kick()
        try client.writeAll([1])
        #expect(try receive.waitUsed().length == 1)
        let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8) }
        try memory.write(bytes, at: 0x10000)
        #expect(try transmit.exchange([.readable(0x10000, 1), .readable(0x10001, 4999)]) == 0)
        #expect(client.read(5000) == bytes)
    }

    @Test func outputWaitsForASlowClient() throws {
        try start()
        defer { stop() }
        let client = try connect()
        try receive.send([.writable(0x30000, 1)])
        receive.kick()
        try client.writeAll([1])
        #expect(try receive.waitUsed().length == 1)
        // More than the socket and the port hold together.
        let bytes = (0..<0x80000).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8 ^ $0 >> 16) }
        try memory.write(bytes, at: 0x40000)
        for part in 0..<8 as Range<UInt64> { try transmit.send([.readable(0x40000 + part * 0x10000, 0x10000)]) }
        transmit.kick()
        sleepThread(.milliseconds(100))
        #expect(try transmit.usedIndex < 8)
        #expect(client.read(bytes.count) == bytes)
        for _ in 0..<8 { #expect(try transmit.waitUsed().length == 0) }
    }

    @Test func outputWithoutAClientDoesNotStopTheGuest() throws {
        try start()
        defer { stop() }
        for _ in 0..<4 { #expect(try transmit.exchange([.readable(0x10000, 0x20000)]) == 0) }
    }

    @Test func malformedChains() throws {
        try start()
        defer { stop() }
        // Room where nothing is to be written, nothing where there is to be.
        #expect(try transmit.exchange([.writable(0x10000, 10)]) == 0)
        #expect(try transmit.exchange([.readable(.max, 0)]) == 0)
        let client = try connect()
        try receive.send([.readable(0x10000, 10)])
        try receive.send([.writable(0x20000, 10)])
        receive.kick()
        try client.writeAll([7])
        #expect(try receive.waitUsed().length == 0)
        #expect(try receive.waitUsed().length == 1)
        try transmit.send([.readable(0x100000, 1)])
        transmit.kick()
        #expect(Deadline.seconds(10).wait { transport.reasons.count == 1 })
        // The other queue goes on.
        try receive.send([.writable(0x20000, 10)])
        receive.kick()
        try client.writeAll([8])
        #expect(try receive.waitUsed().length == 1)
    }

    @Test func sizeAndItsChanges() throws {
        #expect(device.configuration() == [80, 0, 25, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        device.resize(columns: 300, rows: 50)
        try start()
        defer { stop() }
        // A driver that looks at the size only when it changes hears of the first one, too.
        #expect(transport.changes == 1)
        device.resize(columns: 300, rows: 50)
        device.resize(columns: 301, rows: 50)
        #expect(transport.changes == 2)
        #expect(Array(device.configuration()[..<4]) == [0x2D, 1, 50, 0])
        #expect(device.features == 1 && device.configurationSize == 12)
    }

    @Test func startsAgainWhereItStopped() throws {
        try start()
        defer { stop() }
        #expect(try transmit.exchange([.readable(0x10000, 10)]) == 0)
        #expect(device.deactivate() == [0: QueueProgress(), 1: QueueProgress(nextAvailable: 1, nextUsed: 1)])
        try start()
        #expect(try transmit.exchange([.readable(0x10000, 10)]) == 0)
    }
}
