import Host

/// A region of guest RAM that is mapped here.
package struct MemoryRegion: Sendable {
    /// The first guest-physical address.
    package let guestAddress: UInt64
    /// Its bytes, whole pages.
    package let host: HostRange
    private let owner: (any AnyObject & Sendable)?

    /// - Parameter owner: what keeps the bytes mapped, to be kept as long as the region is in use; nil where the caller
    ///   keeps it.
    package init(guestAddress: UInt64, host: HostRange, owner: (any AnyObject & Sendable)? = nil) {
        self.guestAddress = guestAddress
        self.host = host
        self.owner = owner
    }
}

/// Where the memory of a snapshot that is written comes from.
protocol MemorySource: Sendable {
    /// How its regions lie in the file.
    var geometry: MemoryGeometry { get }
    /// The pages of a chunk that the snapshot is to have.
    func pages(of chunk: MemoryGeometry.Chunk) -> PageSet
    /// The bytes of a chunk, of which those pages are right.
    ///
    /// - Parameter scratch: to put bytes into that lie nowhere yet.
    func bytes(of chunk: MemoryGeometry.Chunk, _ scratch: ChunkScratch) throws(SnapshotError) -> HostRange
}

/// The RAM of a VM that stands still.
package struct LiveMemory: MemorySource {
    let geometry: MemoryGeometry
    private let regions: [MemoryRegion]
    private let dirty: [[UInt64]]?

    /// Whether it is of the pages that were written since a parent.
    var isDiff: Bool { dirty != nil }

    /// All of the memory, or the pages of it that were written since the parent.
    ///
    /// - Parameters:
    ///   - regions: ascending and disjoint. Nobody writes to them until the snapshot's memory is written.
    ///   - dirty: for each region, a bit for each page that was written since the parent, page i in bit i % 64 of word
    ///     i / 64; nil for all pages.
    /// - Throws: ``SnapshotError`` of kind `usage` where the regions or the bitmaps are not so.
    package init(_ regions: [MemoryRegion], dirty: [[UInt64]]? = nil) throws(SnapshotError) {
        func bad(_ words: String) -> SnapshotError { SnapshotError(.usage, field: "memory", words) }
        guard 1...ManifestCheck.regionLimit ~= regions.count else {
            throw bad("a snapshot has 1 to \(ManifestCheck.regionLimit) regions of memory")
        }
        var end: UInt64 = 0
        for region in regions {
            let size = UInt64(region.host.count)
            let page = UInt64(HostRange.pageSize)
            guard region.guestAddress >= end, size > 0, size % page == 0, region.guestAddress % page == 0,
                size <= ManifestCheck.addressLimit, region.guestAddress <= ManifestCheck.addressLimit - size
            else {
                throw bad("region 0x\(String(region.guestAddress, radix: 16)) is no place for \(size) bytes of RAM")
            }
            end = region.guestAddress + size
        }
        if let dirty {
            guard dirty.count == regions.count else {
                throw bad("\(dirty.count) bitmaps of written pages for \(regions.count) regions")
            }
            for (bits, region) in zip(dirty, regions) where bits.count * 64 < region.host.count / HostRange.pageSize {
                throw bad("a bitmap of \(bits.count * 64) pages for a region of \(region.host.count) bytes")
            }
        }
        self.regions = regions
        self.dirty = dirty
        geometry = MemoryGeometry(addressesAndSizes: regions.map { ($0.guestAddress, UInt64($0.host.count)) })
    }

    func pages(of chunk: MemoryGeometry.Chunk) -> PageSet {
        guard let dirty else { return chunk.allPages }
        let bits = dirty[chunk.region]
        let first = chunk.offset / MemoryGeometry.chunkSize * 8
        var pages = PageSet()
        for word in 0..<8 where first + word < bits.count { pages[word] = bits[first + word] }
        return pages & chunk.allPages
    }

    func bytes(of chunk: MemoryGeometry.Chunk, _ scratch: ChunkScratch) -> HostRange {
        regions[chunk.region].host.part(chunk.offset..<chunk.offset + chunk.count)
    }
}
