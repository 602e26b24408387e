import Host

/// How pages are compressed on their way.
enum PagePacking {
    /// What a hello says of it.
    static let name = "Zstd"
}

/// Compresses the pages of a stream's frames. One thread at a time uses it.
final class PagePacker: Sendable {
    private let zstd: ZstdCompressor
    /// Room for a frame of compressed pages, with its header.
    let room: ScratchMemory

    /// - Throws: where there is no memory, or no libzstd.
    init() throws(MigrationError) {
        do throws(HostError) {
            zstd = try ZstdCompressor()
            room = try ScratchMemory(count: PagesHead.dataStart + PagesHead.chunkSize)
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }

    /// Compresses pages that nobody writes meanwhile into their place in the frame.
    ///
    /// - Returns: how many bytes they are then; nil where they are not fewer.
    func pack(_ pages: HostRange) -> Int? {
        let target = room.range.part(PagesHead.dataStart..<PagesHead.dataStart + pages.count - 1)
        return zstd.compress(pages, into: target)
    }
}

/// Gets back the pages of a stream's frames. One thread at a time uses it.
final class PageUnpacker: Sendable {
    private let zstd: ZstdDecompressor
    /// Room for compressed pages.
    let room: ScratchMemory

    /// - Throws: where there is no memory, or no libzstd.
    init() throws(MigrationError) {
        do throws(HostError) {
            zstd = try ZstdDecompressor()
            room = try ScratchMemory(count: PagesHead.chunkSize)
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }

    /// - Returns: whether compressed bytes are as many as the target has, which holds them then.
    func unpack(_ packed: HostRange, into target: HostRange) -> Bool { zstd.decompress(packed, into: target) }
}
