import Host
import Synchronization

/// One bit for each page of guest memory that a device wrote; KVM's own log does not see those writes.
///
/// Any thread sets bits; one thread takes them. The bits take no memory until they are first set.
@safe
package final class DirtyBitmap: Sendable {
    private let tracking = Atomic<Bool>(false)
    private let bits: Mapping
    private let wordCount: Int

    /// Makes a clear bitmap, with tracking off.
    init(pages: Int) throws(HostError) {
        wordCount = (pages + 63) / 64
        bits = try Mapping(length: max(wordCount, 1) * 8)
    }

    /// Whether device writes are recorded. A device asks behind its writes.
    ///
    /// Ordering: relaxed; whoever reads off, because it asked too early, has its writes seen by what `setTracking` does.
    package var isTracking: Bool { tracking.load(ordering: .relaxed) }

    /// Clears the bitmap and starts recording, or stops it. The devices may be at work: what they wrote without
    /// recording it can be read when this returns.
    package func setTracking(_ on: Bool) {
        if on { _ = take() }
        tracking.store(on, ordering: .sequentiallyConsistent)
        if on { HostBarrier.allThreads() }
    }

    /// SAFETY: `index` is below `wordCount`, the mapping is page-aligned, zero-filled and lives as long as this object.
    private func word(_ index: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        unsafe (bits.base + index * 8).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    func set(_ pages: ClosedRange<Int>) {
        for page in pages where page / 64 < wordCount {
            // Ordering: releasing, so that whoever takes the bit sees the bytes written before it.
            _ = unsafe word(page / 64).pointee.bitwiseOr(1 << UInt64(page % 64), ordering: .releasing)
        }
    }

    /// Takes and clears the bits: 64 pages a word, in the order of the regions.
    package func take() -> [UInt64] {
        (0..<wordCount).map { unsafe word($0).pointee.exchange(0, ordering: .acquiringAndReleasing) }
    }
}
