import Host
import Virtio

/// Bytes from the guest that the host's socket has not taken yet, oldest first.
struct ByteRing: Sendable {
    /// The most it holds, in bytes; the memory is taken when the first byte has to wait.
    let capacity: Int
    private(set) var count = 0
    private var storage: [UInt8] = []
    private var start = 0

    init(capacity: Int) { self.capacity = capacity }

    var isEmpty: Bool { count == 0 }

    /// Appends readable bytes of a chain, as many as there is room for.
    mutating func append(_ chain: borrowing DescriptorChain, at offset: Int, count wanted: Int) {
        if storage.isEmpty { storage = [UInt8](repeating: 0, count: capacity) }
        var left = min(wanted, capacity - count)
        var offset = offset
        // At most twice: up to the storage's end, and on from its start.
        while left > 0 {
            let end = (start + count) % capacity
            let part = min(left, capacity - end)
            let copied = chain.read(at: offset, count: part, into: &storage, at: end)
            count += copied
            offset += copied
            left -= copied
            if copied < part { return }
        }
    }

    /// Writes what the descriptor takes in one go and forgets it: how many bytes that were.
    mutating func drain(to file: borrowing FileDescriptor) throws(Errno) -> Int {
        guard count > 0 else { return 0 }
        let part = min(count, capacity - start)
        let written = try file.write(storage.span.extracting(start..<start + part))
        start = (start + written) % capacity
        count -= written
        return written
    }

    /// Forgets everything and gives the memory back: how many bytes that were.
    mutating func discard() -> Int {
        defer { (count, start, storage) = (0, 0, []) }
        return count
    }
}
