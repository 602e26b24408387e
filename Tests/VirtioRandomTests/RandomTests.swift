import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioRandom

/// The entropy device over files whose bytes are known.
struct RandomTests {
    private let memory: GuestMemory
    private let driver: FakeDriver
    private let scratch: ScratchDirectory
    private let transport = RecordingTransport()

    init() throws {
        memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        driver = try FakeDriver(memory, size: 16, base: 0)
        scratch = try ScratchDirectory("random")
    }

    private func start(_ path: String) throws -> RandomDevice {
        let device = try RandomDevice(id: "__rng", path: path)
        try device.activate(
            VirtioActivation(memory: memory, features: 0, queues: [driver.resources()], transport: transport))
        return device
    }

    @Test func buffersAreFilledFromTheSource() throws {
        let bytes = (0..<100).map { UInt8($0) }
        let device = try start(try scratch.write("source", bytes))
        defer { _ = device.deactivate() }
        #expect(try driver.exchange([.writable(0x10000, 10), .writable(0x20000, 54)]) == 64)
        #expect(try memory.bytes(at: 0x10000, count: 11) == Array(bytes[..<10]) + [0])
        #expect(try memory.bytes(at: 0x20000, count: 55) == Array(bytes[10..<64]) + [0])
        // The source's end gives fewer bytes, then none; the queue lives on.
        #expect(try driver.exchange([.writable(0x10000, 64)]) == 36)
        #expect(try driver.exchange([.writable(0x10000, 64)]) == 0)
        #expect(driver.interrupt.count == 3)
    }

    @Test func realRandomness() throws {
        let device = try start("/dev/urandom")
        #expect(try driver.exchange([.writable(0x10000, 4096)]) == 4096)
        #expect(Set(try memory.bytes(at: 0x10000, count: 4096)).count > 200)
        // One request gets 64 KiB at most.
        #expect(try driver.exchange([.writable(0x10000, 0x80000)]) == 64 << 10)
        #expect(try memory.bytes(at: 0x20000, count: 64).allSatisfy { $0 == 0 })
        #expect(device.deactivate() == [0: QueueProgress(nextAvailable: 2, nextUsed: 2)])
        #expect(device.deactivate().isEmpty)
        #expect(device.type == .entropy && device.configuration().isEmpty && device.features == 0)
    }

    @Test func malformedRequests() throws {
        let device = try start("/dev/zero")
        defer { _ = device.deactivate() }
        #expect(try driver.exchange([.readable(0x10000, 64)]) == 0)
        #expect(try driver.exchange([.writable(.max, 0)]) == 0)
        #expect(transport.reasons.isEmpty)
        try driver.offer(16)
        driver.kick()
        #expect(Deadline.seconds(10).wait { transport.reasons.count == 1 })
        #expect(try driver.usedIndex == 2)
    }

    @Test func sourcesThatCannotBeOpened() throws {
        let path = scratch.path("missing")
        #expect(throws: HostError("open", path, .noSuchFile)) { try RandomDevice(id: "__rng", path: path) }
    }
}
