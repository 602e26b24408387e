import Host

/// What a copy of the image needs that is made while the guest writes to it. One thread at a time.
extension DiskImage {
    /// Bytes of the blocks that writes are noted by.
    package static let mirrorBlockSize = WrittenBlocks.blockSize

    /// Notes from now on which blocks are written. What was written before is brought to stable storage first, so that
    /// little is left for `letGo`, when the guest stands still.
    package func beginNoting() throws(Errno) {
        if !options.readOnly { try flush() }
        written.begin(size: size)
    }

    /// Notes no more.
    package func endNoting() { written.end() }

    /// The blocks that were written since the last time, and forgets them: block i in bit i % 64 of word i / 64.
    package func takeWritten() -> [UInt64] { written.take() }

    /// Reads the image's bytes.
    ///
    /// - Parameters:
    ///   - range: to fill; page-aligned, and as long as whole logical blocks.
    ///   - offset: a multiple of the blocks that writes are noted by.
    /// - Throws: the kernel's reason; `EIO` where the image ended before.
    package func read(into range: HostRange, at offset: UInt64) throws(Errno) {
        guard try file.readAll(into: range, at: offset) == range.count else { throw .inputOutput }
    }

    /// The first bytes at or behind an offset that are no hole, up to where a hole or the end follows; nil when there are
    /// none.
    package func nextData(from offset: UInt64) throws(Errno) -> Range<UInt64>? {
        let size = size
        guard offset < size else { return nil }
        do throws(Errno) {
            guard let data = try file.nextData(from: offset), data.lowerBound < size else { return nil }
            return data.lowerBound..<min(data.upperBound, size)
        } catch {
            // A block device, and some file systems, have no holes that anybody could look for.
            guard error == .invalid || error == .notSupported else { throw error }
            return offset..<size
        }
    }

    /// What the guest was told of the sizes of its blocks, in bytes.
    package var blockSizes: (logical: UInt32, physical: UInt32) {
        (geometry.logicalBlockSize, geometry.physicalBlockSize)
    }
}
