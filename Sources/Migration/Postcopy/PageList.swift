import Host
import Snapshot

/// Pages of a guest's memory: for each region, page i in bit i % 64 of word i / 64, as a source's `takeWritten` has them;
/// over the line as a list of chunks.
struct PageList: Equatable, Sendable {
    /// Bytes of a chunk in a list: its guest-physical address, and its pages.
    static let entrySize = 72

    private(set) var words: [[UInt64]]
    /// How many pages there are.
    private(set) var count: Int

    init(_ words: [[UInt64]]) {
        self.words = words
        count = Bitmaps.count(words)
    }

    /// No pages.
    init(empty regions: [MemoryRegion]) {
        words = regions.map { Array(repeating: 0, count: ($0.host.count / HostRange.pageSize + 63) / 64) }
        count = 0
    }

    /// Bytes of the pages.
    var size: UInt64 { UInt64(count) * UInt64(HostRange.pageSize) }

    /// The pages of a chunk.
    subscript(region: Int, chunk: Int) -> PageSet {
        get {
            var set = PageSet()
            for word in 0..<8 where chunk * 8 + word < words[region].count {
                set[word] = words[region][chunk * 8 + word]
            }
            return set
        }
        set {
            for word in 0..<8 where chunk * 8 + word < words[region].count {
                let place = chunk * 8 + word
                count += newValue[word].nonzeroBitCount - words[region][place].nonzeroBitCount
                words[region][place] = newValue[word]
            }
        }
    }

    /// Takes pages of a chunk out.
    mutating func remove(_ pages: PageSet, region: Int, chunk: Int) { self[region, chunk] &= ~pages }

    // MARK: Over the line

    /// The list's bytes: those chunks alone that have pages in it.
    func bytes(_ regions: [MemoryRegion]) -> [UInt8] {
        var bytes: [UInt8] = []
        for region in regions.indices {
            for chunk in 0..<(words[region].count + 7) / 8 {
                let pages = self[region, chunk]
                guard !pages.isEmpty else { continue }
                Self.append(ChunkPlace(region: region, chunk: chunk, of: regions).address, pages, to: &bytes)
            }
        }
        return bytes
    }

    static func append(_ address: UInt64, _ pages: PageSet, to bytes: inout [UInt8]) {
        LittleEndian.append(address, 8, to: &bytes)
        LittleEndian.append(pages, to: &bytes)
    }

    /// Reads a list.
    ///
    /// - Throws: where it names pages outside of the memory, or is no list.
    init(_ bytes: [UInt8], _ regions: [MemoryRegion]) throws(MigrationError) {
        self.init(empty: regions)
        for start in stride(from: 0, to: bytes.count, by: Self.entrySize) {
            let (place, pages) = try Self.entry(bytes, at: start, regions)
            self[place.region, place.chunk] |= pages
        }
    }

    /// Reads a chunk of a list.
    static func entry(
        _ bytes: [UInt8], at start: Int, _ regions: [MemoryRegion]
    ) throws(MigrationError) -> (ChunkPlace, PageSet) {
        guard bytes.count - start >= entrySize else { throw .violation("a list of pages ends inside of a chunk") }
        let pages = LittleEndian.pages(bytes, start + 8)
        return (try ChunkPlace(LittleEndian.number(bytes, start, 8), holding: pages, in: regions), pages)
    }
}

/// Where a chunk of a guest's memory is.
struct ChunkPlace: Sendable {
    /// The region, and the number of the chunk in it.
    let region: Int, chunk: Int
    /// Guest-physical.
    let address: UInt64
    /// Its bytes.
    let host: HostRange

    init(region: Int, chunk: Int, of regions: [MemoryRegion]) {
        (self.region, self.chunk) = (region, chunk)
        let offset = chunk * PagesHead.chunkSize
        address = regions[region].guestAddress + UInt64(offset)
        let whole = regions[region].host
        host = whole.part(offset..<min(offset + PagesHead.chunkSize, whole.count))
    }

    /// All the pages that it has.
    var pages: PageSet { PageSet(lowest: host.count / HostRange.pageSize) }

    /// The chunk that begins at an address.
    ///
    /// - Throws: where none does, or where it has not all of the pages.
    init(_ address: UInt64, holding pages: PageSet, in regions: [MemoryRegion]) throws(MigrationError) {
        let hex = String(address, radix: 16)
        let found = regions.firstIndex { region in
            address >= region.guestAddress && address - region.guestAddress < UInt64(region.host.count)
        }
        guard let index = found else {
            throw .violation("pages at 0x\(hex) are named, where the machine has no memory")
        }
        let offset = Int(address - regions[index].guestAddress)
        guard offset % PagesHead.chunkSize == 0 else {
            throw .violation("pages at 0x\(hex) are named, where no chunk of the machine's memory begins")
        }
        self.init(region: index, chunk: offset / PagesHead.chunkSize, of: regions)
        guard (pages & ~self.pages).isEmpty else {
            throw .violation("pages at 0x\(hex) are named behind the end of the machine's memory")
        }
    }

    /// The chunk of a host address, and the page in it; nil where it is none of the memory's.
    init?(host address: UInt, in regions: [MemoryRegion], page: inout Int) {
        guard let index = regions.firstIndex(where: { address &- $0.host.address < UInt($0.host.count) }) else {
            return nil
        }
        let offset = Int(address - regions[index].host.address)
        self.init(region: index, chunk: offset / PagesHead.chunkSize, of: regions)
        page = offset % PagesHead.chunkSize / HostRange.pageSize
    }
}

/// How far a destination is that its source has found again: bytes of its pages, and the pages that it lacks.
struct Standing: Equatable {
    let pageSize: Int
    let missing: PageList

    init(pageSize: Int, missing: PageList) { (self.pageSize, self.missing) = (pageSize, missing) }

    func bytes(_ regions: [MemoryRegion]) -> [UInt8] {
        var bytes: [UInt8] = []
        LittleEndian.append(UInt64(pageSize), 8, to: &bytes)
        return bytes + missing.bytes(regions)
    }

    /// Reads what came.
    init(_ bytes: [UInt8], _ regions: [MemoryRegion]) throws(MigrationError) {
        guard bytes.count >= 8 else { throw .violation("the peer does not say how far it is") }
        pageSize = try Self.pageSize(LittleEndian.number(bytes, 0, 8))
        missing = try PageList(Array(bytes[8...]), regions)
    }

    /// Bytes of a page, if there are such pages.
    static func pageSize(_ number: UInt64) throws(MigrationError) -> Int {
        guard number == HostRange.pageSize || number == PagesHead.chunkSize else {
            throw .violation("the peer's memory is of pages of \(number) bytes")
        }
        return Int(number)
    }
}
