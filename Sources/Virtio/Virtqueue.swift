import CLinux
import Host
import Memory
import Synchronization

/// The device's side of a split virtqueue (virtio 1.2 section 2.7).
///
/// The rings' host addresses are found once; a chain's segments are gathered in storage that the queue owns, so taking
/// and completing a chain allocates nothing. One chain is valid at a time: until the next `pop`.
///
/// The driver is not trusted: each index, address and length is read once and checked.
@safe
package struct Virtqueue: ~Copyable, @unchecked Sendable {
    // Sendable: a queue is owned by one worker thread at a time and moves between threads whole.

    /// SAFETY of the pointers: they lie in `memory`, which is kept alive here, and each ring's full length was checked.
    let descriptors: UnsafeMutableRawPointer
    let available: UnsafeMutableRawPointer
    let used: UnsafeMutableRawPointer
    /// SAFETY: `segmentLimit` elements, freed in deinit; `scratch` is as long.
    let segments: UnsafeMutablePointer<iovec>
    let scratch: UnsafeMutablePointer<iovec>
    let segmentLimit: Int

    let memory: GuestMemory
    let usedAddress: UInt64
    /// Descriptors, a power of two.
    package let size: UInt16
    let eventIndex: Bool
    let indirect: Bool

    /// How far the queue has been worked through.
    package private(set) var progress: QueueProgress
    /// The used index at which the driver was last told.
    private var signalledUsed: UInt16
    /// Which segments are those that the device writes of the chain that was popped last.
    private var writable = 0..<0

    /// Resolves the rings.
    ///
    /// - Throws: `badQueue` when a ring is misaligned or not in guest RAM.
    package init(_ resources: QueueResources, memory: GuestMemory, features: UInt64) throws(VirtioError) {
        let config = resources.config
        let count = UInt64(config.size)
        guard count > 0, count & (count - 1) == 0, count <= 32768 else {
            throw .badQueue("queue \(resources.index) has \(count) entries, not a power of two up to 32768")
        }
        let table = unsafe try Self.ring(
            config.descriptorTable, 16 * count, alignment: 16, "descriptor table", resources, memory)
        let driver = unsafe try Self.ring(
            config.availableRing, 6 + 2 * count, alignment: 2, "available ring", resources, memory)
        let device = unsafe try Self.ring(
            config.usedRing, 6 + 8 * count, alignment: 4, "used ring", resources, memory)
        unsafe (descriptors, available, used) = unsafe (table, driver, device)
        segmentLimit = Int(count)
        unsafe segments = .allocate(capacity: segmentLimit)
        unsafe scratch = .allocate(capacity: segmentLimit)
        self.memory = memory
        usedAddress = config.usedRing
        size = config.size
        eventIndex = features & VirtioFeatures.eventIndex.rawValue != 0
        indirect = features & VirtioFeatures.indirectDescriptors.rawValue != 0
        progress = resources.progress
        signalledUsed = resources.progress.nextUsed
    }

    deinit {
        unsafe segments.deallocate()
        unsafe scratch.deallocate()
    }

    private static func ring(
        _ address: UInt64, _ length: UInt64, alignment: UInt64, _ what: String, _ resources: QueueResources,
        _ memory: GuestMemory
    ) throws(VirtioError) -> UnsafeMutableRawPointer {
        guard address % alignment == 0 else {
            throw .badQueue("queue \(resources.index): the \(what) is not aligned to \(alignment) bytes")
        }
        guard let pointer = unsafe memory.hostPointer(address, length) else {
            throw .badQueue("queue \(resources.index): the \(what) at 0x\(String(address, radix: 16)) is not in RAM")
        }
        return unsafe pointer
    }

    // MARK: The rings' shared words. SAFETY of all: offsets stay inside the lengths checked in `init`; the two-byte
    // indices are aligned because the rings are.

    @inline(__always)
    private func shared16(_ base: UnsafeMutableRawPointer, _ offset: Int) -> UnsafeMutablePointer<Atomic<UInt16>> {
        unsafe (base + offset).assumingMemoryBound(to: Atomic<UInt16>.self)
    }

    /// The index behind the driver's newest entry. Ordering: acquiring, so that the entries are read after it.
    @inline(__always)
    private var availableIndex: UInt16 { unsafe shared16(available, 2).pointee.load(ordering: .acquiring) }

    /// How many chains wait.
    ///
    /// - Throws: `badChain` when the driver claims more than the ring holds.
    @inline(__always)
    package func waiting() throws(VirtioError) -> UInt16 {
        let count = availableIndex &- progress.nextAvailable
        guard count <= size else {
            throw .badChain("the available index moved \(count) entries ahead in a ring of \(size)")
        }
        return count
    }

    /// Takes the next chain, or nil when none waits.
    ///
    /// - Throws: `badChain` when a descriptor or index breaks the specification; the queue is then unusable.
    package mutating func pop() throws(VirtioError) -> DescriptorChain? {
        guard try waiting() > 0 else { return nil }
        let slot = Int(progress.nextAvailable & (size &- 1))
        let head = unsafe (available + 4 + 2 * slot).loadUnaligned(as: UInt16.self)
        let chain = try gather(head)
        writable = chain.readableCount..<chain.readableCount + chain.writableCount
        progress.nextAvailable &+= 1
        return chain
    }

    /// Puts the last chain taken back, to be popped again; nothing of it was used.
    package mutating func undoPop() { progress.nextAvailable &-= 1 }

    /// Takes chains again that were taken before and put back.
    package mutating func skip(_ count: UInt16) { progress.nextAvailable &+= count }

    private struct Descriptor: BitwiseCopyable {
        var address: UInt64 = 0
        var length: UInt32 = 0
        var flags: UInt16 = 0
        var next: UInt16 = 0
        static let hasNext: UInt16 = 1
        static let isWrite: UInt16 = 2
        static let isIndirect: UInt16 = 4
    }

    /// Collects a chain's segments: first those that the device reads, then those that it writes (2.7.4.2).
    private func gather(_ head: UInt16) throws(VirtioError) -> DescriptorChain {
        var chain = unsafe DescriptorChain(head: head, segments: segments, scratch: scratch, memory: memory)
        var table = unsafe descriptors
        var limit = size
        var index = head
        var inside = false
        var seen = 0
        while true {
            guard index < limit else { throw .badChain("descriptor \(index) is beyond the table's \(limit) entries") }
            seen += 1
            guard seen <= Int(size) + 1 else { throw .badChain("a chain loops or has more than \(size) descriptors") }
            let entry = unsafe (table + 16 * Int(index)).loadUnaligned(as: Descriptor.self)
            if entry.flags & Descriptor.isIndirect != 0 {
                guard indirect else { throw .badChain("an indirect descriptor was not negotiated") }
                guard !inside else { throw .badChain("an indirect table holds an indirect descriptor") }
                guard entry.flags & Descriptor.hasNext == 0 else {
                    throw .badChain("an indirect descriptor has a next one")
                }
                guard entry.length > 0, entry.length % 16 == 0, entry.length / 16 <= 65_535 else {
                    throw .badChain("an indirect table has \(entry.length) bytes, no multiple of 16 up to 1 MiB")
                }
                guard let place = unsafe memory.hostPointer(entry.address, UInt64(entry.length)) else {
                    throw .badChain("an indirect table at 0x\(String(entry.address, radix: 16)) is not in RAM")
                }
                unsafe table = place
                limit = UInt16(entry.length / 16)
                index = 0
                inside = true
                continue
            }
            try append(entry, to: &chain)
            guard entry.flags & Descriptor.hasNext != 0 else { return chain }
            index = entry.next
        }
    }

    @inline(__always)
    private func append(_ entry: Descriptor, to chain: inout DescriptorChain) throws(VirtioError) {
        // A segment without bytes is pointless but harmless.
        guard entry.length > 0 else { return }
        let count = chain.readableCount + chain.writableCount
        guard count < segmentLimit else { throw .badChain("a chain has more than \(segmentLimit) descriptors") }
        guard let pointer = unsafe memory.hostPointer(entry.address, UInt64(entry.length)) else {
            throw .badChain(
                "\(entry.length) bytes at 0x\(String(entry.address, radix: 16)) are not all in one range of RAM")
        }
        unsafe segments[count] = iovec(iov_base: pointer, iov_len: Int(entry.length))
        if entry.flags & Descriptor.isWrite != 0 {
            chain.writableCount += 1
            chain.writableBytes += Int(entry.length)
        } else {
            guard chain.writableCount == 0 else {
                throw .badChain("a descriptor to be read follows one to be written")
            }
            chain.readableCount += 1
            chain.readableBytes += Int(entry.length)
        }
    }

    /// Gives a chain back to the driver (2.7.8).
    ///
    /// - Parameter written: bytes that the device wrote, from the start of the writable segments.
    package mutating func push(_ chain: consuming DescriptorChain, written: Int) {
        push(head: chain.head, written: written)
    }

    /// Gives the chain of a head back, when the chain itself is no longer at hand.
    package mutating func push(head: UInt16, written: Int) {
        write(head: head, written: written, ahead: 0)
        publish(1)
    }

    /// Notes the pages of the last chain's writable segments, now that they have all their bytes: whoever takes a note
    /// copies the page at once, and what came later would be missing there.
    @inline(__always)
    private func noteWrites() {
        guard memory.dirty.isTracking else { return }
        for index in writable {
            // SAFETY: the segments of the chain that was popped last stay in the storage until the next pop.
            unsafe memory.markDirty(hostRange: segments[index])
        }
    }

    /// Fills an entry of the used ring that the driver does not see before `publish`, for the chain that was popped last,
    /// which has all that the device writes.
    ///
    /// - Parameter ahead: how many unpublished entries lie before it.
    package func write(head: UInt16, written: Int, ahead: UInt16) {
        noteWrites()
        let slot = Int((progress.nextUsed &+ ahead) & (size &- 1))
        unsafe (used + 4 + 8 * slot).storeBytes(of: UInt32(head), as: UInt32.self)
        unsafe (used + 8 + 8 * slot).storeBytes(of: UInt32(clamping: written), as: UInt32.self)
        memory.markDirty(usedAddress &+ 4 &+ 8 &* UInt64(slot), 8)
    }

    /// Shows the driver the next `count` entries of the used ring.
    package mutating func publish(_ count: UInt16) {
        // A chain that was filled before may have been popped again, for a word more.
        if count != 1 { noteWrites() }
        progress.nextUsed &+= count
        // Ordering: releasing, so that the entries and the buffers are written before the driver can see the index.
        unsafe shared16(used, 2).pointee.store(progress.nextUsed, ordering: .releasing)
        memory.markDirty(usedAddress, 4)
    }

    /// Whether the driver wants an interrupt for what was pushed since the last time (2.7.7).
    package mutating func needsInterrupt() -> Bool {
        let now = progress.nextUsed
        guard now != signalledUsed else { return false }
        // Ordering: the index just stored and the driver's wish are a store and a load of different words that both
        // sides do crosswise; only a full fence keeps one of them from missing the other.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        defer { signalledUsed = now }
        if eventIndex {
            let wish = unsafe shared16(available, 4 + 2 * Int(size)).pointee.load(ordering: .relaxed)
            return now &- wish &- 1 < now &- signalledUsed
        }
        return unsafe shared16(available, 0).pointee.load(ordering: .relaxed) & 1 == 0
    }

    /// Asks the driver not to notify while the worker polls the ring anyway.
    package mutating func suppressNotifications() {
        if !eventIndex { setUsedFlags(1) }
    }

    /// Asks the driver to notify of the next chain; answers whether one came in the meantime, which must then be taken
    /// without waiting.
    package mutating func requestNotifications() -> Bool {
        if eventIndex {
            unsafe shared16(used, 4 + 8 * Int(size)).pointee.store(progress.nextAvailable, ordering: .relaxed)
            memory.markDirty(usedAddress &+ 4 &+ 8 &* UInt64(size), 2)
        } else {
            setUsedFlags(0)
        }
        // Ordering: crosswise store and load again, see `needsInterrupt`.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return availableIndex != progress.nextAvailable
    }

    private func setUsedFlags(_ flags: UInt16) {
        unsafe shared16(used, 0).pointee.store(flags, ordering: .relaxed)
        memory.markDirty(usedAddress, 2)
    }
}
