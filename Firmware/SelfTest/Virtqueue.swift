// A split virtqueue (virtio 1.2, 2.7), with one chain in flight at a time.

/// A buffer of a chain: `isWritten` by the device, or read.
struct Buffer {
    let address: UInt64
    let length: UInt32
    let isWritten: Bool

    static func read(_ address: UInt64, _ length: UInt32) -> Buffer {
        Buffer(address: address, length: length, isWritten: false)
    }
    static func written(_ address: UInt64, _ length: UInt32) -> Buffer {
        Buffer(address: address, length: length, isWritten: true)
    }
}

struct Virtqueue {
    static let largest: UInt16 = 8
    let index: UInt16
    let size: UInt16
    /// Where a write of the index wakes the device.
    let doorbell: UInt64
    /// The queue's interrupt.
    let vector: UInt32
    /// One page: descriptors, then the available ring, then the used ring.
    let descriptors: UInt64
    var available: UInt64 { descriptors + 512 }
    var used: UInt64 { descriptors + 1024 }
    private(set) var submitted: UInt16 = 0
    private(set) var seen: UInt16 = 0
    private var nextDescriptor: UInt16 = 0
    private var kicked: UInt16 = 0
    /// Whether both sides say when they want to hear of progress (VIRTIO_F_EVENT_IDX).
    private let hasEventIndex: Bool
    /// Whether chains are put into tables of their own (VIRTIO_F_INDIRECT_DESC has to be negotiated).
    var usesIndirect = false

    init(index: UInt16, size: UInt16, doorbell: UInt64, vector: UInt32, features: UInt64) {
        hasEventIndex = features & VirtioFeatures.eventIndex != 0
        self.index = index
        self.size = size
        self.doorbell = doorbell
        self.vector = vector
        descriptors = DMA.pages()
    }

    /// Offers a chain of up to three buffers. Descriptors are taken in turn: the queue is larger than what is in
    /// flight.
    @inline(never)
    mutating func offer(_ first: Buffer, _ second: Buffer? = nil, _ third: Buffer? = nil) {
        let head = nextDescriptor % size
        let count: UInt16 = third != nil ? 3 : second != nil ? 2 : 1
        if usesIndirect, count > 1 {
            // A table of its own for each descriptor, in the page's second half.
            let table = descriptors + 2048 + UInt64(head) * 64
            describe(table, first, 0, count)
            if let second { describe(table, second, 1, count) }
            if let third { describe(table, third, 2, count) }
            write(descriptors + UInt64(head) * 16, .read(table, UInt32(count) * 16), flags: 4, next: 0)
            nextDescriptor &+= 1
        } else {
            describe(descriptors, first, head, head &+ count)
            if let second { describe(descriptors, second, head &+ 1, head &+ count) }
            if let third { describe(descriptors, third, head &+ 2, head &+ count) }
            nextDescriptor &+= count
        }
        memoryWrite16(available + 4 + UInt64(submitted % size) * 2, head)
        memoryFence()
        submitted &+= 1
        memoryWrite16(available + 2, submitted)
    }

    /// Writes the descriptor with the number `index`, modulo the queue's size, of a chain that ends before `end`.
    private func describe(_ table: UInt64, _ buffer: Buffer, _ index: UInt16, _ end: UInt16) {
        let next = index &+ 1
        write(table + UInt64(index % size) * 16, buffer, flags: next == end ? 0 : 1, next: next % size)
    }

    private func write(_ entry: UInt64, _ buffer: Buffer, flags: UInt16, next: UInt16) {
        memoryWrite64(entry, buffer.address)
        memoryWrite32(entry + 8, buffer.length)
        memoryWrite16(entry + 12, flags | (buffer.isWritten ? 2 : 0))
        memoryWrite16(entry + 14, next)
    }

    /// The address of the first buffer of the chain at `head`.
    func buffer(of head: UInt32) -> UInt64 { memoryRead64(descriptors + UInt64(head % UInt32(size)) * 16) }

    /// Wakes the device; where it says from which chain on it wants to be woken (2.7.10), only then.
    mutating func kick() {
        memoryFence()
        let wanted = memoryRead16(used + 4 + UInt64(size) * 8)
        let needed = !hasEventIndex || submitted &- wanted &- 1 < submitted &- kicked
        kicked = submitted
        if needed { memoryWrite16(doorbell, index) }
    }

    /// Waits for the next used element; interrupts are let in meanwhile.
    /// - Returns: the head's descriptor and the number of bytes that the device says it wrote, or nil after the
    ///   deadline.
    @inline(never)
    mutating func take(milliseconds: UInt64 = 2000) -> (head: UInt32, written: UInt32)? {
        // The interrupt is wanted for the next element (2.7.8).
        if hasEventIndex {
            memoryWrite16(available + 4 + UInt64(size) * 2, seen)
            memoryFence()
        }
        let ready = Clock.wait(milliseconds: milliseconds) { [used, seen] in
            interruptWindow()
            return memoryRead16(used + 2) != seen
        }
        guard ready else { return nil }
        memoryFence()
        let element = used + 4 + UInt64(seen % size) * 8
        seen &+= 1
        return (memoryRead32(element), memoryRead32(element + 4))
    }

    /// One request from offer to completion.
    /// - Returns: the bytes written, or nil when the device did not answer.
    @inline(never)
    mutating func perform(_ first: Buffer, _ second: Buffer? = nil, _ third: Buffer? = nil) -> UInt32? {
        offer(first, second, third)
        kick()
        return take()?.written
    }

    /// Lets in the interrupt of what has been taken, if it is still on its way.
    func hasInterrupted(since before: UInt32) -> Bool { Interrupts.wait(vector, after: before) }
}
