import Memory
import TestSupport
import Testing
import Virtio

/// Rings of a driver that breaks the rules (virtio 1.2 section 2.7): each is refused with its reason, and nothing else
/// happens.
struct VirtqueueHostileTests {
    private func expectRefusal(
        _ reason: String, features: UInt64 = Place.indirect, size: UInt16 = 8, _ prepare: (FakeDriver) throws -> Void,
        location: SourceLocation = #_sourceLocation
    ) throws {
        let driver = try makeDriver(size: size)
        try prepare(driver)
        let error = try popError(driver, features: features)
        #expect(error == "the guest's driver broke a rule of virtio: \(reason)", sourceLocation: location)
        #expect(try driver.usedIndex == 0, sourceLocation: location)
    }

    @Test func descriptorsThatLoop() throws {
        try expectRefusal("a chain has more than 8 descriptors") { driver in
            try driver.describe(0, Place.buffers, 16, flags: FakeDriver.next, next: 1)
            try driver.describe(1, Place.buffers, 16, flags: FakeDriver.next, next: 0)
            try driver.offer(0)
        }
        try expectRefusal("a chain loops or has more than 8 descriptors") { driver in
            try driver.describe(3, Place.buffers, 0, flags: FakeDriver.next, next: 3)
            try driver.offer(3)
        }
    }

    @Test func headBeyondTheTable() throws {
        try expectRefusal("descriptor 8 is beyond the table's 8 entries") { try $0.offer(8) }
        try expectRefusal("descriptor 65535 is beyond the table's 8 entries") { try $0.offer(65535) }
    }

    @Test func nextBeyondTheTable() throws {
        try expectRefusal("descriptor 9 is beyond the table's 8 entries") { driver in
            try driver.describe(0, Place.buffers, 16, flags: FakeDriver.next, next: 9)
            try driver.offer(0)
        }
    }

    @Test(arguments: [
        (0x40000 as UInt64, 1 as UInt32), (0x3FFFF, 2), (0x3FFFF, .max), (.max, 1), (.max - 15, 16), (.max - 15, 17),
        (0, 0x40001), (1 << 63, 4096),
    ])
    func buffersOutsideMemory(address: UInt64, length: UInt32) throws {
        for flags in [0, FakeDriver.write] {
            let place = String(address, radix: 16)
            try expectRefusal("\(length) bytes at 0x\(place) are not all in one range of RAM") { driver in
                try driver.describe(0, address, length, flags: flags)
                try driver.offer(0)
            }
        }
    }

    @Test func zeroLengthsAreSkippedWhereverTheyPoint() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        try driver.send([
            .readable(.max, 0), .readable(Place.buffers, 4), .writable(1 << 40, 0), .writable(Place.buffers, 6),
        ])
        let shape = try queue.popShape()
        #expect(shape == ChainShape(head: 0, readable: 1, writable: 1, readableBytes: 4, writableBytes: 6))
    }

    @Test func lengthsThatTogetherPass4GiB() throws {
        let memory = try GuestMemory([MemoryRange(address: 0, size: 4 << 30)])
        let driver = try FakeDriver(memory, size: 8, base: Place.rings)
        var queue = try makeQueue(driver)
        try driver.send(Array(repeating: .writable(0, .max), count: 8))
        let shape = try queue.popShape()
        #expect(shape?.writableBytes == 8 * 0xFFFF_FFFF)
        // What the used ring cannot say is said as its largest number.
        queue.push(head: 0, written: 8 * 0xFFFF_FFFF)
        #expect(try driver.usedEntry(0).length == .max)
    }

    @Test func readableAfterWritable() throws {
        try expectRefusal("a descriptor to be read follows one to be written") { driver in
            try driver.send([.writable(Place.buffers, 4), .readable(Place.buffers, 4)])
        }
    }

    @Test(arguments: [9, 10, 100, 65535] as [UInt16])
    func indexBeyondTheRing(ahead: UInt16) throws {
        try expectRefusal("the available index moved \(ahead) entries ahead in a ring of 8") {
            try $0.showAvailable(ahead)
        }
    }

    @Test func indexThatMovesBack() throws {
        let driver = try makeDriver(start: 100)
        try driver.showAvailable(99)
        let error = try popError(driver)
        #expect(error?.hasSuffix("the available index moved 65535 entries ahead in a ring of 8") == true)
    }

    @Test func indirectNotNegotiated() throws {
        try expectRefusal("an indirect descriptor was not negotiated", features: 0) { driver in
            try driver.sendIndirect([.readable(Place.buffers, 4)], table: 0x8000)
        }
    }

    @Test func indirectInsideIndirect() throws {
        try expectRefusal("an indirect table holds an indirect descriptor") { driver in
            try driver.describe(0, 0x8000, 16, flags: FakeDriver.indirect, in: 0x8000)
            try driver.describe(0, 0x8000, 16, flags: FakeDriver.indirect)
            try driver.offer(0)
        }
    }

    @Test func indirectWithNext() throws {
        try expectRefusal("an indirect descriptor has a next one") { driver in
            try driver.describe(0, 0x8000, 16, flags: FakeDriver.indirect | FakeDriver.next, next: 1)
            try driver.offer(0)
        }
    }

    @Test(arguments: [0, 1, 15, 17, 0x10_0000, .max] as [UInt32])
    func indirectTableLengths(length: UInt32) throws {
        try expectRefusal("an indirect table has \(length) bytes, no multiple of 16 up to 1 MiB") { driver in
            try driver.describe(0, 0x8000, length, flags: FakeDriver.indirect)
            try driver.offer(0)
        }
    }

    @Test(arguments: [0x40000, 0x3FFF8, .max, .max - 15] as [UInt64])
    func indirectTableOutsideMemory(address: UInt64) throws {
        try expectRefusal("an indirect table at 0x\(String(address, radix: 16)) is not in RAM") { driver in
            try driver.describe(0, address, 16, flags: FakeDriver.indirect)
            try driver.offer(0)
        }
    }

    @Test func indirectNextBeyondItsTable() throws {
        try expectRefusal("descriptor 2 is beyond the table's 2 entries") { driver in
            try driver.describe(0, Place.buffers, 4, flags: FakeDriver.next, next: 1, in: 0x8000)
            try driver.describe(1, Place.buffers, 4, flags: FakeDriver.next, next: 2, in: 0x8000)
            try driver.describe(0, 0x8000, 32, flags: FakeDriver.indirect)
            try driver.offer(0)
        }
    }

    @Test func indirectLongerThanTheQueue() throws {
        try expectRefusal("a chain loops or has more than 4 descriptors", size: 4) { driver in
            try driver.sendIndirect(Array(repeating: .readable(Place.buffers, 1), count: 5), table: 0x8000)
        }
    }

    @Test func indirectLoopOfEmptyDescriptors() throws {
        try expectRefusal("a chain loops or has more than 4 descriptors", size: 4) { driver in
            try driver.describe(0, 0, 0, flags: FakeDriver.next, next: 0, in: 0x8000)
            try driver.describe(0, 0x8000, 16, flags: FakeDriver.indirect)
            try driver.offer(0)
        }
    }

    @Test func indirectBehindDirectDescriptors() throws {
        // Allowed: the device must handle it (2.7.5.3.2).
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        try driver.describe(0, Place.buffers, 4, flags: FakeDriver.next, next: 1)
        try driver.describe(1, 0x8000, 16, flags: FakeDriver.indirect)
        try driver.describe(0, Place.buffers, 8, flags: FakeDriver.write, in: 0x8000)
        try driver.offer(0)
        let shape = try queue.popShape()
        #expect(shape == ChainShape(head: 0, readable: 1, writable: 1, readableBytes: 4, writableBytes: 8))
    }

    @Test func longestChainsAreTaken() throws {
        let driver = try makeDriver(size: 4)
        var queue = try makeQueue(driver)
        try driver.send(Array(repeating: .readable(Place.buffers, 1), count: 4))
        let direct = try queue.popShape()
        #expect(direct?.readable == 4)
        queue.push(head: 0, written: 0)
        try driver.sendIndirect(Array(repeating: .writable(Place.buffers, 1), count: 4), table: 0x8000)
        let indirect = try queue.popShape()
        #expect(indirect?.writable == 4)
    }

    @Test func badRings() throws {
        let memory = try makeMemory()
        func check(
            _ expected: String?, location: SourceLocation = #_sourceLocation, _ change: (inout QueueConfig) -> Void
        ) throws {
            let driver = try FakeDriver(memory, size: 8, base: Place.rings)
            let good = driver.resources(index: 3)
            var config = good.config
            change(&config)
            let resources = QueueResources(
                index: 3, config: config, progress: good.progress, kick: good.kick, interrupt: good.interrupt)
            var reason: String?
            do throws(VirtioError) {
                _ = try Virtqueue(resources, memory: memory, features: 0)
            } catch {
                reason = "\(error)"
            }
            #expect(
                reason == expected.map { "the guest's driver broke a rule of virtio: \($0)" }, sourceLocation: location)
        }
        try check(nil) { _ in }
        for size in [0, 3, 33, 32769, 65535] as [UInt16] {
            try check("queue 3 has \(size) entries, not a power of two up to 32768") { $0.size = size }
        }
        try check("queue 3: the descriptor table is not aligned to 16 bytes") { $0.descriptorTable = 8 }
        try check("queue 3: the available ring is not aligned to 2 bytes") { $0.availableRing = 1 }
        try check("queue 3: the used ring is not aligned to 4 bytes") { $0.usedRing = 2 }
        try check("queue 3: the descriptor table at 0x3ff90 is not in RAM") { $0.descriptorTable = 0x3FF90 }
        try check("queue 3: the available ring at 0x3fff0 is not in RAM") { $0.availableRing = 0x3FFF0 }
        try check("queue 3: the used ring at 0xfffffffffffffffc is not in RAM") { $0.usedRing = .max - 3 }
        try check(nil) { $0.descriptorTable = 0x3FF80 }
    }
}
