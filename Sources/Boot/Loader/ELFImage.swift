import Memory

/// An x86-64 ELF executable that says by a note where PVH enters it (Xen's `docs/misc/pvh.pandoc`).
struct ELFImage {
    struct Segment: Equatable {
        let offset: UInt64, virtualAddress: UInt64, address: UInt64, fileSize: UInt64, memorySize: UInt64

        /// Whether both have a byte of guest memory.
        func overlaps(_ other: Segment) -> Bool {
            address < other.address &+ other.memorySize && other.address < address &+ memorySize
        }

        /// The parts of its bytes in the file, from its begin on, that hold something: all but whole pages of sections
        /// without bytes, which are zero where a linker had to fill them up for the sake of what follows.
        func parts(without empty: [Range<UInt64>]) -> [Range<UInt64>] {
            var parts: [Range<UInt64>] = []
            var start: UInt64 = 0
            let page = GuestMemory.pageSize
            for section in empty {
                guard section.lowerBound >= virtualAddress, section.lowerBound - virtualAddress < fileSize else {
                    continue
                }
                let first = (section.lowerBound - virtualAddress + page - 1) / page * page
                let end = min(section.upperBound - virtualAddress, fileSize) / page * page
                guard first >= start, end > first else { continue }
                parts.append(start..<first)
                start = end
            }
            return (parts + [start..<fileSize]).filter { !$0.isEmpty }
        }
    }

    let segments: [Segment]
    /// The virtual addresses of the sections that have memory and no bytes in the file, in ascending order.
    let empty: [Range<UInt64>]
    let entry: UInt32
    let source: PayloadSource

    static let magic: [UInt8] = [0x7F, 0x45, 0x4C, 0x46]
    private static let loadable: UInt32 = 1
    private static let note: UInt32 = 4
    private static let noteLimit: UInt64 = 1 << 20

    init(_ source: PayloadSource) throws(BootError) {
        let head = ByteReader(bytes: try source.read(0, 64, "ELF header"))
        guard head.bytes[4] == 2, head.bytes[5] == 1 else {
            throw source.error(
                "is an ELF file, but not a 64-bit little-endian one", remedy: "use a kernel built for x86_64")
        }
        guard head.u16(18) == 62 else {
            throw source.error(
                "is an ELF file for machine \(head.u16(18)), not x86_64 (62)", remedy: "use a kernel built for x86_64")
        }
        let (tableOffset, entrySize, count) = (head.u64(32), head.u16(54), head.u16(56))
        guard entrySize == 56, count > 0 else {
            throw source.error("has \(count) program headers of \(entrySize) bytes; a kernel has some, of 56 bytes")
        }
        let table = ByteReader(bytes: try source.read(tableOffset, 56 * Int(count), "program header table"))
        var segments: [Segment] = []
        var entry: UInt32?
        for index in 0..<Int(count) {
            let base = 56 * index
            let segment = Segment(
                offset: table.u64(base + 8), virtualAddress: table.u64(base + 16), address: table.u64(base + 24),
                fileSize: table.u64(base + 32), memorySize: table.u64(base + 40))
            switch table.u32(base) {
            case Self.loadable:
                guard segment.memorySize > 0 else { continue }
                guard segment.fileSize <= segment.memorySize else {
                    throw source.error("has a segment that is larger in the file than in memory: it is damaged")
                }
                segments.append(segment)
            case Self.note:
                let size = min(segment.fileSize, Self.noteLimit)
                let bytes = try source.read(segment.offset, Int(size), "note segment")
                if let found = Self.pvhEntry(bytes, alignment: table.u64(base + 48)) { entry = found }
            default: break
            }
        }
        guard !segments.isEmpty else { throw source.error("has nothing to load: no loadable segment") }
        guard let entry else {
            throw source.error(
                "is an ELF file without a PVH entry point (note XEN_ELFNOTE_PHYS32_ENTRY)",
                remedy: "build the kernel with CONFIG_PVH=y, or use its bzImage")
        }
        guard segments.contains(where: { $0.address <= UInt64(entry) && UInt64(entry) - $0.address < $0.memorySize })
        else { throw source.error("has its PVH entry point \(hex(UInt64(entry))) outside all its segments") }
        self.source = source
        self.segments = segments
        self.entry = entry
        empty = Self.emptySections(source, head)
    }

    /// The sections of type SHT_NOBITS that have memory, and none per thread. A file that does not say its sections well has
    /// none.
    private static func emptySections(_ source: PayloadSource, _ head: ByteReader) -> [Range<UInt64>] {
        let (offset, entrySize, count) = (head.u64(40), head.u16(58), Int(head.u16(60)))
        guard entrySize == 64, 1...1024 ~= count,
            let bytes = try? source.read(offset, 64 * count, "section header table")
        else { return [] }
        let table = ByteReader(bytes: bytes)
        let sections = (0..<count).compactMap { index -> Range<UInt64>? in
            let (flags, start) = (table.u64(64 * index + 8), table.u64(64 * index + 16))
            let (end, overflow) = start.addingReportingOverflow(table.u64(64 * index + 32))
            guard table.u32(64 * index + 4) == 8, flags & 0x402 == 2, !overflow, end > start else { return nil }
            return start..<end
        }
        return sections.sorted { $0.lowerBound < $1.lowerBound }
    }

    /// The entry that a `Xen` note of type 18 names: 4 or 8 bytes.
    private static func pvhEntry(_ bytes: [UInt8], alignment: UInt64) -> UInt32? {
        let reader = ByteReader(bytes: bytes)
        let align = alignment == 8 ? 8 : 4
        var at = 0
        while at <= bytes.count - 12 {
            let (nameSize, size, type) = (Int(reader.u32(at)), Int(reader.u32(at + 4)), reader.u32(at + 8))
            let nameStart = at + 12
            let start = (nameStart + nameSize + align - 1) & ~(align - 1)
            guard nameSize <= bytes.count, size <= bytes.count, start + size <= bytes.count else { return nil }
            if type == 18, nameSize == 4, Array(bytes[nameStart..<nameStart + 4]) == [0x58, 0x65, 0x6E, 0] {
                if size == 4 { return reader.u32(start) }
                if size == 8 { return UInt32(exactly: reader.u64(start)) }
            }
            at = (start + size + align - 1) & ~(align - 1)
        }
        return nil
    }

    /// Copies the segments into fresh guest memory. Of a kernel, a third and more are zeroes: they are there already,
    /// and touching them would make the host allocate them. Segments that lie over one another are an exception. Of sections
    /// without bytes it is known without a look.
    ///
    /// - Returns: the range from the lowest to the highest byte.
    func load(into memory: GuestMemory, below limit: UInt64) throws(BootError) -> Range<UInt64> {
        var lowest = UInt64.max
        var highest: UInt64 = 0
        for segment in segments {
            let (end, overflow) = segment.address.addingReportingOverflow(segment.memorySize)
            guard !overflow, segment.address >= MachineLayout.highRAMStart, end <= limit else {
                throw source.error(
                    "wants \(humanSize(segment.memorySize)) at \(hex(segment.address)), and RAM for kernels is "
                        + "\(hex(MachineLayout.highRAMStart))..<\(hex(limit))", remedy: "raise memory.size")
            }
            let alone = !segments.contains { $0 != segment && $0.overlaps(segment) }
            try source.check(segment.offset, segment.fileSize, "segment")
            for part in alone ? segment.parts(without: empty) : [0..<segment.fileSize] {
                let address = segment.address + part.lowerBound
                try source.load(
                    segment.offset + part.lowerBound, UInt64(part.count), to: address, memory, "segment", zeroed: alone)
            }
            let rest = segment.memorySize - segment.fileSize
            if rest > 0, !alone {
                do throws(GuestMemoryError) {
                    try memory.zero(at: segment.address + segment.fileSize, count: rest)
                } catch {
                    throw source.error("\(error)")
                }
            }
            lowest = min(lowest, segment.address)
            highest = max(highest, end)
        }
        return lowest..<highest
    }
}
