import Host

/// How regions of guest RAM lie in the memory's file, and its chunks.
///
/// Each region begins at a multiple of the chunk size, so that a chunk holds pages of one region and a mapping of the file
/// may use huge pages.
struct MemoryGeometry: Equatable, Sendable {
    /// Bytes of a chunk: what one checksum is of.
    static let chunkSize = 2 << 20
    /// Pages of a whole chunk.
    static let chunkPages = chunkSize / HostRange.pageSize

    let regions: [Manifest.Region]

    /// What chunks there are: each region's first, and the number of all.
    let chunkCount: Int

    /// - Parameter regions: of a manifest that was checked.
    init(_ regions: [Manifest.Region]) {
        self.regions = regions
        let end = regions.last.map { $0.fileOffset + $0.size } ?? 0
        chunkCount = Int(Self.alignedUp(end) / UInt64(Self.chunkSize))
    }

    /// The geometry of regions that are yet to have a file, given by addresses and sizes in bytes.
    init(addressesAndSizes: [(UInt64, UInt64)]) {
        var offset: UInt64 = 0
        self.init(
            addressesAndSizes.map { address, size in
                let start = Self.alignedUp(offset)
                offset = start &+ size
                return Manifest.Region(guestAddress: address, size: size, fileOffset: start)
            })
    }

    /// The length of the file in bytes.
    var fileLength: UInt64 { regions.last.map { $0.fileOffset + $0.size } ?? 0 }

    /// The next multiple of the chunk size.
    static func alignedUp(_ offset: UInt64) -> UInt64 {
        let size = UInt64(chunkSize)
        return (offset &+ size &- 1) / size * size
    }

    /// A part of one region, at most 2 MiB.
    struct Chunk: Equatable, Sendable {
        /// Its number: the offset in the file in chunks.
        let index: Int
        /// Which region it is of.
        let region: Int
        /// Where it begins in the region, in bytes.
        let offset: Int
        /// Its length in bytes, whole pages.
        let count: Int

        /// Where it begins in the memory's file.
        var fileOffset: UInt64 { UInt64(index) * UInt64(MemoryGeometry.chunkSize) }
        /// It with what lies in the file up to the next one.
        var withGap: Chunk {
            Chunk(index: index, region: region, offset: offset, count: MemoryGeometry.chunkSize)
        }
        /// All its pages.
        var allPages: PageSet { PageSet(lowest: count / HostRange.pageSize) }
    }

    /// A chunk by its number, which is below `chunkCount`.
    func chunk(_ index: Int) -> Chunk {
        let start = UInt64(index) * UInt64(Self.chunkSize)
        // The last region that begins at or before the chunk; few VMs have more than two.
        let region = (regions.lastIndex { $0.fileOffset <= start }) ?? 0
        let offset = start - regions[region].fileOffset
        let count = min(UInt64(Self.chunkSize), regions[region].size - offset)
        return Chunk(index: index, region: region, offset: Int(offset), count: Int(count))
    }
}

extension PageSet {
    /// The first `count` pages, at most 512.
    package init(lowest count: Int) {
        self.init()
        for word in 0..<8 {
            let bits = Swift.min(64, Swift.max(0, count - word * 64))
            self[word] = bits == 64 ? .max : (1 << UInt64(bits)) - 1
        }
    }

    /// Whether no page is in it.
    package var isEmpty: Bool { self == PageSet() }

    /// The number of pages in the set.
    package var pageCount: Int { indices.reduce(0) { $0 + self[$1].nonzeroBitCount } }

    func contains(_ page: Int) -> Bool { self[page / 64] >> UInt64(page % 64) & 1 == 1 }

    /// The pages of this set that are not in the other one.
    func without(_ other: PageSet) -> PageSet { self & ~other }

    /// Runs of neighbouring pages, ascending.
    package var runs: [Range<Int>] {
        var runs: [Range<Int>] = []
        var page = 0
        while let start = next(from: page, in: true) {
            let end = next(from: start, in: false) ?? 512
            runs.append(start..<end)
            page = end
        }
        return runs
    }

    /// The first page at or behind one that is in the set, or is not.
    private func next(from page: Int, in isIn: Bool) -> Int? {
        var word = page / 64
        var skipped = UInt64(page % 64)
        while word < 8 {
            let bits = (isIn ? self[word] : ~self[word]) & (.max << skipped)
            if bits != 0 { return word * 64 + bits.trailingZeroBitCount }
            word += 1
            skipped = 0
        }
        return nil
    }
}
