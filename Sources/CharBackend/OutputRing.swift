/// The last output of a guest's character device: what its backend has still to take, and behind it, as far as the
/// space goes, what is only kept for those who come later.
///
/// Positions count all bytes since the device was made; the space is taken with the first byte.
struct OutputRing: Sendable {
    /// Bytes kept, a power of two.
    static let capacity = 64 << 10

    private var bytes: [UInt8] = []
    /// The position behind the last byte.
    private(set) var end: UInt64 = 0
    /// How many of the last bytes the backend has still to take.
    private(set) var pending = 0
    /// The oldest byte's position.
    var begin: UInt64 { end > UInt64(Self.capacity) ? end - UInt64(Self.capacity) : 0 }

    private static func slot(_ position: UInt64) -> Int { Int(truncatingIfNeeded: position) & (capacity - 1) }

    /// Appends a byte for a backend; false when it has too much to take already.
    mutating func append(_ byte: UInt8) -> Bool {
        guard pending < Self.capacity else { return false }
        pending += 1
        keep(byte)
        return true
    }

    /// Appends a byte that no backend takes.
    mutating func keep(_ byte: UInt8) {
        if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: Self.capacity) }
        bytes[Self.slot(end)] = byte
        end &+= 1
    }

    /// Appends as many bytes as the backend has room for; how many.
    mutating func append(_ span: Span<UInt8>) -> Int {
        let taken = min(span.count, Self.capacity - pending)
        keep(span.extracting(0..<taken))
        pending += taken
        return taken
    }

    /// Appends bytes that no backend takes.
    mutating func keep(_ span: Span<UInt8>) {
        guard !span.isEmpty else { return }
        if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: Self.capacity) }
        // Of more than the ring holds only the last bytes are worth copying.
        let first = max(0, span.count - Self.capacity)
        var slot = Self.slot(end &+ UInt64(first))
        for index in first..<span.count {
            bytes[slot] = span[index]
            slot = (slot + 1) & (Self.capacity - 1)
        }
        end &+= UInt64(span.count)
    }

    /// A copy of the oldest bytes that the backend has still to take.
    func oldestPending(limit: Int) -> [UInt8] { copy(from: end - UInt64(pending), limit: min(limit, pending)) }

    /// The backend took some of the oldest bytes, or they were thrown away.
    mutating func consume(_ count: Int) { pending -= min(max(count, 0), pending) }

    /// A copy of what follows a position, which is moved up to the oldest byte where that is gone already.
    ///
    /// - Returns: how many bytes were gone, and the bytes.
    func read(from position: UInt64, limit: Int) -> (skipped: UInt64, bytes: [UInt8]) {
        let start = min(max(position, begin), end)
        return (start - min(position, start), copy(from: start, limit: min(limit, Int(end - start))))
    }

    private func copy(from position: UInt64, limit: Int) -> [UInt8] {
        guard limit > 0 else { return [] }
        let slot = Self.slot(position)
        let first = min(limit, Self.capacity - slot)
        return first == limit
            ? Array(bytes[slot..<slot + limit]) : Array(bytes[slot...]) + Array(bytes[..<(limit - first)])
    }
}
