import Host
import Memory
import TestSupport
import Virtio

/// Where the rings of these tests lie, and memory for buffers behind them.
enum Place {
    static let rings: UInt64 = 0x1000
    static let buffers: UInt64 = 0x10000
    static let memorySize: UInt64 = 0x40000
    static let indirect = VirtioFeatures.indirectDescriptors.rawValue
    static let eventIndex = VirtioFeatures.eventIndex.rawValue
}

func makeMemory() throws -> GuestMemory { try GuestMemory([MemoryRange(address: 0, size: Place.memorySize)]) }

func makeDriver(size: UInt16 = 8, start: UInt16 = 0) throws -> FakeDriver {
    try FakeDriver(makeMemory(), size: size, base: Place.rings, start: start)
}

func makeQueue(_ driver: FakeDriver, features: UInt64 = Place.indirect) throws(VirtioError) -> Virtqueue {
    try Virtqueue(driver.resources(), memory: driver.memory, features: features)
}

/// What a chain was made of, copied out of the value that expectations cannot hold.
struct ChainShape: Equatable {
    var head: UInt16
    var readable: Int, writable: Int
    var readableBytes: Int, writableBytes: Int
}

extension Virtqueue {
    /// Pops and describes a chain.
    mutating func popShape() throws(VirtioError) -> ChainShape? {
        guard let chain = try pop() else { return nil }
        return ChainShape(
            head: chain.head, readable: chain.readableCount, writable: chain.writableCount,
            readableBytes: chain.readableBytes, writableBytes: chain.writableBytes)
    }
}

/// The error of a queue's first pop, or nil when it took the chain.
func popError(_ driver: FakeDriver, features: UInt64 = Place.indirect) throws -> String? {
    do throws(VirtioError) {
        var queue = try makeQueue(driver, features: features)
        _ = try queue.popShape()
        return nil
    } catch {
        return "\(error)"
    }
}
