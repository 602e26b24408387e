import Memory
import TestSupport
import Testing
import Virtio

/// Whole rings of random bytes: whatever they say, chains lie in memory or the queue stops with an error.
struct VirtqueueFuzzTests {
    /// Random descriptors that are near enough to good ones to get past the first check now and then.
    private func scribble(_ driver: FakeDriver, _ random: inout SeededGenerator) throws {
        let memory = driver.memory
        let size = UInt64(driver.size)
        if Int.random(in: 0..<4, using: &random) == 0 {
            let bytes = (0..<Int(driver.end - driver.table)).map { _ in UInt8.random(in: 0...255, using: &random) }
            try memory.write(bytes, at: driver.table)
            return
        }
        for table in [driver.table, 0x8000] {
            for index in 0..<driver.size {
                let wild = Int.random(in: 0..<24, using: &random) == 0
                let address =
                    wild ? UInt64.random(in: 0 ... .max, using: &random) : .random(in: 0x8000..<0x30000, using: &random)
                let length =
                    wild ? UInt32.random(in: 0 ... .max, using: &random) : .random(in: 0...0x400, using: &random)
                var flags = UInt16.random(in: 0...3, using: &random)
                if Int.random(in: 0..<6, using: &random) == 0 { flags = FakeDriver.indirect }
                let isTable = flags == FakeDriver.indirect && !wild
                try driver.describe(
                    index, isTable ? 0x8000 : address, isTable ? length / 16 * 16 : length, flags: flags,
                    next: UInt16.random(in: 0...(driver.size + (wild ? 1 : 0)), using: &random) % driver.size, in: table
                )
            }
        }
        for slot in 0..<size {
            try memory.write(UInt16.random(in: 0..<driver.size, using: &random), at: driver.available + 4 + 2 * slot)
        }
        try driver.showAvailable(UInt16.random(in: 0...(driver.size + 1), using: &random))
    }

    @Test(arguments: [1, 4, 16] as [UInt16])
    func randomRings(size: UInt16) throws {
        var random = SeededGenerator(seed: UInt64(size))
        // Memory that must stay as it is: the page above what descriptors may name has a guard of known bytes.
        let memory = try GuestMemory([
            MemoryRange(address: 0, size: 0x30000), MemoryRange(address: 0x100000, size: 0x1000),
        ])
        try memory.write([UInt8](repeating: 0xA5, count: 0x1000), at: 0x100000)
        var taken = 0
        var refused = 0
        for round in 0..<1500 {
            let driver = try FakeDriver(memory, size: size, base: Place.rings)
            try scribble(driver, &random)
            let features = round % 3 == 0 ? 0 : Place.indirect | (round % 2 == 0 ? Place.eventIndex : 0)
            var queue = try makeQueue(driver, features: features)
            do throws(VirtioError) {
                while let chain = try queue.pop() {
                    taken += 1
                    let within = chain.readableCount + chain.writableCount <= Int(size)
                    #expect(within)
                    use(chain)
                    queue.push(head: chain.head, written: chain.writableBytes)
                    _ = queue.needsInterrupt()
                    if taken % 7 == 0 { _ = queue.requestNotifications() }
                    // The chain may have written over the available index, so a round has an end of its own.
                    if taken % 64 == 0 { break }
                }
            } catch {
                refused += 1
            }
        }
        #expect(taken > 100 && refused > 200, "the rounds were too tame or too wild: \(taken) and \(refused)")
        #expect(try memory.bytes(at: 0x100000, count: 0x1000).allSatisfy { $0 == 0xA5 || $0 == 0x5A })
    }

    /// Reads what can be read and writes the ends of what can be written, as a device does.
    private func use(_ chain: borrowing DescriptorChain) {
        var bytes = [UInt8](repeating: 0, count: 64)
        var span = bytes.mutableSpan
        let got = chain.read(at: max(0, chain.readableBytes - 32), into: &span)
        #expect(got <= 32)
        let room = chain.writableBytes
        let written = chain.write(([0x5A, 0x5A] as [UInt8]).span, at: room - 2)
        #expect(written <= 2)
        let vectors = chain.writable(from: 0, count: .max)
        #expect(vectors.byteCount == room)
    }
}
