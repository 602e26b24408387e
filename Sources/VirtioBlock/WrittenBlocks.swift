import Synchronization

/// Which blocks of an image were written since somebody last asked, for as long as somebody wants to know.
///
/// Workers note what they wrote; one other thread begins, takes and ends.
final class WrittenBlocks: Sendable {
    /// Bytes of a block.
    static let blockSize: UInt64 = 64 << 10

    private let isNoting = Atomic<Bool>(false)
    /// Block i in bit i % 64 of word i / 64.
    private let words = Mutex<[UInt64]>([])

    /// Notes from now on, from nothing.
    ///
    /// - Parameter size: of the image, in bytes.
    func begin(size: UInt64) {
        let clear = [UInt64](repeating: 0, count: Self.wordCount(size))
        words.withLock { $0 = clear }
        isNoting.store(true, ordering: .sequentiallyConsistent)
    }

    /// Notes no more.
    func end() {
        isNoting.store(false, ordering: .sequentiallyConsistent)
        words.withLock { $0 = [] }
    }

    /// Takes the blocks that were noted.
    func take() -> [UInt64] {
        // Made before the workers have to wait.
        let count = words.withLock { $0.count }
        var other = [UInt64](repeating: 0, count: count)
        words.withLock { if $0.count == count { swap(&$0, &other) } }
        return other
    }

    /// Notes a range that was written, or may have been in part. It is called behind the write: whoever takes the blocks
    /// before reads them again, and whoever takes them then reads what was written.
    @inline(__always)
    func add(_ offset: UInt64, _ count: UInt64) {
        // Ordering: a write that found this off has gone into the file before noting began, and is read with the rest.
        // The kernel's own locks are between the write and this look.
        if isNoting.load(ordering: .sequentiallyConsistent) { note(offset, count) }
    }

    private func note(_ offset: UInt64, _ count: UInt64) {
        guard count > 0 else { return }
        let (end, wraps) = offset.addingReportingOverflow(count - 1)
        let last = Int((wraps ? .max : end) / Self.blockSize)
        words.withLock { words in
            var block = Int(offset / Self.blockSize)
            while block <= last, block / 64 < words.count {
                // All blocks of a word at once.
                let upper = min(last, block | 63)
                let ones: UInt64 = upper - block == 63 ? .max : (1 << UInt64(upper - block + 1)) - 1
                words[block / 64] |= ones << UInt64(block % 64)
                block = upper + 1
            }
        }
    }

    private static func wordCount(_ size: UInt64) -> Int {
        let blocks = size / blockSize + (size % blockSize == 0 ? 0 : 1)
        return Int((blocks + 63) / 64)
    }
}
