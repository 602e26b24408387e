import Host
import Memory
import Synchronization
import Virtio

/// The driver's side of one split virtqueue in guest memory (virtio 1.2 section 2.7), well behaved or not.
///
/// The rings lie one behind the other from `base` on. The free descriptors are used in turn, so a test has at most
/// `size` of them under way.
package final class FakeDriver {
    /// One buffer of a chain.
    package struct Buffer: Sendable {
        /// Where it begins and its bytes.
        package var address: UInt64, length: UInt32
        /// Whether the device writes it.
        package var isWritable: Bool

        package init(address: UInt64, length: UInt32, isWritable: Bool) {
            (self.address, self.length, self.isWritable) = (address, length, isWritable)
        }

        /// Bytes for the device to read.
        package static func readable(_ address: UInt64, _ length: UInt32) -> Buffer {
            Buffer(address: address, length: length, isWritable: false)
        }

        /// Room for the device to write.
        package static func writable(_ address: UInt64, _ length: UInt32) -> Buffer {
            Buffer(address: address, length: length, isWritable: true)
        }
    }

    /// Flags of a descriptor.
    package static let next: UInt16 = 1, write: UInt16 = 2, indirect: UInt16 = 4

    /// The guest's RAM.
    package let memory: GuestMemory
    /// Descriptors of the queue.
    package let size: UInt16
    /// Guest-physical addresses of the three parts.
    package let table: UInt64, available: UInt64, used: UInt64
    /// Signalled by ``kick()``; the device waits on it.
    package let event: EventFD
    /// Counts what the device raised.
    package let interrupt = RecordingInterrupt()
    private var freeDescriptor: UInt16 = 0
    /// The index behind the newest entry of the available ring.
    package private(set) var availableIndex: UInt16
    /// The used index up to which the driver has looked.
    package private(set) var seen: UInt16

    /// Makes empty rings; `start` is where both indices begin.
    package init(_ memory: GuestMemory, size: UInt16, base: UInt64, start: UInt16 = 0) throws {
        self.memory = memory
        self.size = size
        table = base
        available = base + 16 * UInt64(size)
        used = (available + 6 + 2 * UInt64(size) + 3) & ~3
        event = try EventFD()
        (availableIndex, seen) = (start, start)
        try memory.zero(at: base, count: used + 6 + 8 * UInt64(size) - base)
        try memory.write(start, at: available + 2)
        try memory.write(start, at: used + 2)
    }

    /// The first address behind the rings.
    package var end: UInt64 { used + 6 + 8 * UInt64(size) }

    /// What the device gets of the queue.
    package func resources(index: Int = 0) -> QueueResources {
        var config = QueueConfig(size: size)
        config.enabled = true
        (config.descriptorTable, config.availableRing, config.usedRing) = (table, available, used)
        return QueueResources(
            index: index, config: config, progress: QueueProgress(nextAvailable: seen, nextUsed: seen), kick: event,
            interrupt: interrupt)
    }

    /// Writes a descriptor of the queue's table, or of another one.
    package func describe(
        _ index: UInt16, _ address: UInt64, _ length: UInt32, flags: UInt16 = 0, next: UInt16 = 0,
        in table: UInt64? = nil
    ) throws {
        let place = (table ?? self.table) + 16 * UInt64(index)
        try memory.write(address, at: place)
        try memory.write(length, at: place + 8)
        try memory.write(flags, at: place + 12)
        try memory.write(next, at: place + 14)
    }

    /// Puts a head into the available ring and shows it to the device.
    package func offer(_ head: UInt16) throws {
        try memory.write(head, at: available + 4 + 2 * UInt64(availableIndex % size))
        try showAvailable(availableIndex &+ 1)
    }

    /// Writes the available index, whatever is behind it.
    package func showAvailable(_ index: UInt16) throws {
        availableIndex = index
        try memory.write(index, at: available + 2)
    }

    /// Describes a chain with the next free descriptors and offers it; returns its head.
    @discardableResult package func send(_ buffers: [Buffer]) throws -> UInt16 {
        let head = freeDescriptor
        for (position, buffer) in buffers.enumerated() {
            let index = freeDescriptor
            freeDescriptor = (freeDescriptor + 1) % size
            let isLast = position == buffers.count - 1
            let flags = (buffer.isWritable ? Self.write : 0) | (isLast ? 0 : Self.next)
            try describe(index, buffer.address, buffer.length, flags: flags, next: isLast ? 0 : freeDescriptor)
        }
        try offer(head)
        return head
    }

    /// Describes a chain in an indirect table at an address and offers it.
    @discardableResult package func sendIndirect(_ buffers: [Buffer], table place: UInt64) throws -> UInt16 {
        for (position, buffer) in buffers.enumerated() {
            let isLast = position == buffers.count - 1
            let flags = (buffer.isWritable ? Self.write : 0) | (isLast ? 0 : Self.next)
            try describe(
                UInt16(position), buffer.address, buffer.length, flags: flags, next: UInt16(position + 1), in: place)
        }
        let head = freeDescriptor
        freeDescriptor = (freeDescriptor + 1) % size
        try describe(head, place, UInt32(16 * buffers.count), flags: Self.indirect)
        try offer(head)
        return head
    }

    /// Tells the device that chains wait.
    package func kick() { event.signal() }

    /// The device's index in the used ring.
    package var usedIndex: UInt16 { get throws { try memory.read(at: used + 2) } }

    /// The used ring's flags: 1 when the device wants no notifications.
    package var usedFlags: UInt16 { get throws { try memory.read(at: used) } }

    /// The available index at which the device wants to be notified (EVENT_IDX).
    package var availableEvent: UInt16 { get throws { try memory.read(at: used + 4 + 8 * UInt64(size)) } }

    /// Sets the available ring's flags: 1 when the driver wants no interrupts.
    package func setAvailableFlags(_ flags: UInt16) throws { try memory.write(flags, at: available) }

    /// Sets the used index at which the driver wants an interrupt (EVENT_IDX).
    package func setUsedEvent(_ index: UInt16) throws {
        try memory.write(index, at: available + 4 + 2 * UInt64(size))
    }

    /// A used entry by its index, counted on over the ring's end.
    package func usedEntry(_ index: UInt16) throws -> (head: UInt32, length: UInt32) {
        let place = used + 4 + 8 * UInt64(index % size)
        return (try memory.read(at: place), try memory.read(at: place + 4))
    }

    /// Waits until the device has used another chain and takes it.
    package func waitUsed(by deadline: Deadline = .seconds(10)) throws -> (head: UInt32, length: UInt32) {
        guard try deadline.wait(until: { try usedIndex != seen }) else {
            throw FakeDriverError(description: "the device used no chain in time; the used index is still \(seen)")
        }
        defer { seen &+= 1 }
        return try usedEntry(seen)
    }

    /// Offers a chain, kicks, waits until it is used and returns the used length.
    package func exchange(_ buffers: [Buffer], by deadline: Deadline = .seconds(10)) throws -> UInt32 {
        let head = try send(buffers)
        kick()
        let entry = try waitUsed(by: deadline)
        guard entry.head == UInt32(head) else {
            throw FakeDriverError(description: "the device used chain \(entry.head), but \(head) was offered")
        }
        return entry.length
    }
}

/// What a fake driver did not get from its device.
package struct FakeDriverError: Error, CustomStringConvertible {
    /// What happened.
    package let description: String

    package init(description: String) { self.description = description }
}

/// An interrupt that is only counted.
package final class RecordingInterrupt: InterruptSource {
    private let raised = Atomic<Int>(0)
    package init() {}
    package func signal() { raised.wrappingAdd(1, ordering: .sequentiallyConsistent) }
    /// How often it was raised.
    package var count: Int { raised.load(ordering: .sequentiallyConsistent) }
}

/// A transport that remembers what its device told it.
package final class RecordingTransport: VirtioTransport {
    private let told = Mutex<(changes: Int, reasons: [String])>((0, []))
    package init() {}
    package func configurationChanged() { told.withLock { $0.changes += 1 } }
    package func needsReset(_ reason: String) { told.withLock { $0.reasons.append(reason) } }
    /// How often the configuration changed.
    package var changes: Int { told.withLock { $0.changes } }
    /// Why a reset was asked for.
    package var reasons: [String] { told.withLock { $0.reasons } }
}

/// Repeatable random numbers (xorshift64*), so that a failing round can be run again.
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// Any seed.
    package init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    package mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
}
