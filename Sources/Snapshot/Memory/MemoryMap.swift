import Host

/// What `memory.map` holds: for each chunk of 2 MiB, which of its pages the snapshot has, which of these are in the file
/// (the others are zero), and the checksum of those.
///
/// All numbers are little-endian. A header of 32 bytes: `SWLTMMAP`, the version (32 bits), flags (32 bits; bit 0: of a
/// diff), the number of chunks of the memory's file, the number of records (64 bits each). Then the records, ascending.
struct MemoryMap: Equatable, Sendable {
    private static let magic = Array("SWLTMMAP".utf8)
    private static let version: UInt32 = 1

    private struct Header: BitwiseCopyable {
        var magic: UInt64
        var version: UInt32
        var flags: UInt32
        var chunks: UInt64
        var records: UInt64
    }

    /// What is known of one chunk: 136 bytes, as in the file.
    struct Record: BitwiseCopyable, Sendable {
        /// The chunk's number.
        var chunk: UInt32
        /// The CRC-32C of the CRC-32Cs of the pages in `data`.
        var checksum: UInt32
        private var presentWords: InlineArray<8, UInt64>
        private var dataWords: InlineArray<8, UInt64>

        init(chunk: UInt32, checksum: UInt32, present: PageSet, data: PageSet) {
            self.chunk = chunk
            self.checksum = checksum
            presentWords = InlineArray { present[$0] }
            dataWords = InlineArray { data[$0] }
        }

        /// The pages that the snapshot has.
        var present: PageSet { PageSet(presentWords) }
        /// Those of them that are in the file; the others are zero.
        var data: PageSet { PageSet(dataWords) }
    }

    /// Whether it is of a diff, which has no page of a chunk without a record. A full snapshot's are zero there.
    let isDiff: Bool
    /// The chunks of the memory's file.
    let chunkCount: Int
    /// The records in ascending order of their chunks.
    let records: [Record]

    init(isDiff: Bool, chunkCount: Int, records: [Record]) {
        self.isDiff = isDiff
        self.chunkCount = chunkCount
        self.records = records.sorted { $0.chunk < $1.chunk }
    }

    /// The file's bytes.
    var encoded: [UInt8] {
        let header = Header(
            magic: ValueBytes.value(of: Self.magic) ?? 0, version: Self.version, flags: isDiff ? 1 : 0,
            chunks: UInt64(chunkCount), records: UInt64(records.count))
        return ValueBytes.of(header) + ValueBytes.of(all: records)
    }

    /// The pages in the file.
    var dataPages: Int { records.reduce(0) { $0 + $1.data.pageCount } }

    /// Reads the file's bytes and checks each record.
    ///
    /// - Parameters:
    ///   - manifest: checked.
    ///   - file: the path for errors.
    init(_ bytes: [UInt8], _ manifest: Manifest, file: String) throws(SnapshotError) {
        let geometry = MemoryGeometry(manifest.memory.regions)
        func bad(_ field: String, _ words: String) -> SnapshotError {
            SnapshotError(.malformed, file: file, field: field, "\(words); the file is damaged or was changed")
        }
        let size = MemoryLayout<Header>.size
        guard let header = ValueBytes.value(of: Array(bytes.prefix(size)), as: Header.self),
            bytes.starts(with: Self.magic)
        else { throw bad("magic", "the file does not begin with SWLTMMAP and a header of \(size) bytes") }
        guard header.version == Self.version else {
            throw .unknownFormat(Int(header.version), newest: Int(Self.version), file)
        }
        guard header.flags == (manifest.isDiff ? 1 : 0) else {
            throw bad("flags", "\(header.flags) is not what a \(manifest.isDiff ? "diff" : "full") snapshot has")
        }
        guard header.chunks == UInt64(geometry.chunkCount) else {
            throw bad("chunks", "\(header.chunks) chunks are not the memory's \(geometry.chunkCount)")
        }
        guard let records = ValueBytes.values(of: bytes.dropFirst(size), as: Record.self),
            UInt64(records.count) == header.records
        else { throw bad("records", "\(header.records) records are not \(bytes.count - size) bytes") }
        isDiff = manifest.isDiff
        chunkCount = geometry.chunkCount
        self.records = records
        if let (field, words) = mistake(geometry) { throw bad(field, words) }
        guard UInt64(dataPages * HostRange.pageSize) == manifest.memory.dataBytes else {
            throw bad("records", "\(dataPages) pages are not the manifest's \(manifest.memory.dataBytes) data_bytes")
        }
    }

    /// What is wrong with the records, and where.
    private func mistake(_ geometry: MemoryGeometry) -> (String, String)? {
        var next = 0
        for (index, record) in records.enumerated() {
            let place = "records[\(index)]"
            let chunk = Int(record.chunk)
            guard chunk >= next, chunk < chunkCount else {
                return ("\(place).chunk", "\(chunk) is no chunk from \(next) to \(chunkCount - 1)")
            }
            let all = geometry.chunk(chunk).allPages
            let present = record.present
            guard present.without(all).isEmpty, isDiff ? !present.isEmpty : present == all else {
                return ("\(place).present", "these are not the pages of chunk \(chunk) that such a snapshot has")
            }
            guard record.data.without(present).isEmpty, isDiff || !record.data.isEmpty else {
                return ("\(place).data", "chunk \(chunk) has data in pages that are not there")
            }
            next = chunk + 1
        }
        return nil
    }

    /// The record of a chunk, if it has one.
    func record(of chunk: Int) -> Record? {
        var (low, high) = (0, records.count)
        while low < high {
            let middle = (low + high) / 2
            if Int(records[middle].chunk) < chunk { low = middle + 1 } else { high = middle }
        }
        guard low < records.count, Int(records[low].chunk) == chunk else { return nil }
        return records[low]
    }

    static func == (one: MemoryMap, other: MemoryMap) -> Bool { one.encoded == other.encoded }
}

extension PageSet {
    fileprivate init(_ words: InlineArray<8, UInt64>) {
        self.init()
        for word in 0..<8 { self[word] = words[word] }
    }
}
