import Host

/// The pages that a guest from a snapshot touched, in the order in which it first did: the file `working-set`.
///
/// The file is beside the snapshot's own and none of them: it comes from a run, another run replaces it, and whoever has no
/// use for it removes it. All numbers are little-endian. A header of 40 bytes: `SWLTWSET`, the version and the CRC-32C of
/// all the bytes, taken with zero for itself (32 bits each), the snapshot's id (two halves of 64 bits, the one with its
/// first digits first), the number of runs (64 bits). Then the runs, of 8 bytes.
struct WorkingSet: Equatable, Sendable {
    private static let magic = Array("SWLTWSET".utf8)
    private static let version: UInt32 = 1

    private struct Header: BitwiseCopyable {
        var magic: UInt64
        var version: UInt32
        var checksum: UInt32
        var idHigh: UInt64
        var idLow: UInt64
        var runs: UInt64
    }

    /// Neighbouring pages.
    struct Run: BitwiseCopyable, Equatable, Sendable {
        /// The first one: its offset in the memory's file, in pages.
        var page: UInt32
        /// How many there are.
        var count: UInt32
    }

    /// The runs in the order of their first touch.
    private(set) var runs: [Run] = []

    /// The pages of all runs.
    var pageCount: Int { runs.reduce(0) { $0 + Int($1.count) } }

    /// Whether pages of a memory can be written in a run.
    static func canHold(_ geometry: MemoryGeometry) -> Bool {
        geometry.fileLength / UInt64(HostRange.pageSize) <= UInt64(UInt32.max)
    }

    /// Adds pages of a chunk, of a memory that can be held, behind those that are there.
    mutating func append(_ pages: PageSet, of chunk: MemoryGeometry.Chunk) {
        let first = UInt32(truncatingIfNeeded: chunk.index * MemoryGeometry.chunkPages)
        for run in pages.runs {
            let page = first + UInt32(run.lowerBound)
            if let last = runs.last, last.page + last.count == page {
                runs[runs.count - 1].count += UInt32(run.count)
            } else {
                runs.append(Run(page: page, count: UInt32(run.count)))
            }
        }
    }

    /// The runs chunk by chunk: a chunk's number and pages of it.
    var pieces: [(chunk: Int, pages: PageSet)] {
        var pieces: [(chunk: Int, pages: PageSet)] = []
        for run in runs {
            var (page, end) = (Int(run.page), Int(run.page) + Int(run.count))
            while page < end {
                let chunk = page / MemoryGeometry.chunkPages
                let start = chunk * MemoryGeometry.chunkPages
                let last = min(end, start + MemoryGeometry.chunkPages)
                let pages = PageSet(lowest: last - start).without(PageSet(lowest: page - start))
                if pieces.last?.chunk == chunk {
                    pieces[pieces.count - 1].pages |= pages
                } else {
                    pieces.append((chunk, pages))
                }
                page = last
            }
            end = page
        }
        return pieces
    }

    /// The file's bytes for a snapshot.
    func encoded(for manifest: Manifest) -> [UInt8] {
        let id = Self.halves(manifest.id)
        var header = Header(
            magic: ValueBytes.value(of: Self.magic) ?? 0, version: Self.version, checksum: 0, idHigh: id.0, idLow: id.1,
            runs: UInt64(runs.count))
        let body = ValueBytes.of(all: runs)
        header.checksum = Checksum.crc32c(ValueBytes.of(header) + body)
        return ValueBytes.of(header) + body
    }

    init() {}

    /// Reads the file's bytes and checks each run.
    ///
    /// - Throws: ``SnapshotError`` where they are damaged, or of another snapshot.
    init(_ bytes: [UInt8], _ manifest: Manifest, file: String) throws(SnapshotError) {
        func bad(_ field: String, _ words: String) -> SnapshotError {
            SnapshotError(.malformed, file: file, field: field, "\(words); the file is damaged or was changed")
        }
        let size = MemoryLayout<Header>.size
        guard var header = ValueBytes.value(of: Array(bytes.prefix(size)), as: Header.self),
            bytes.starts(with: Self.magic)
        else { throw bad("magic", "the file does not begin with SWLTWSET and a header of \(size) bytes") }
        guard header.version == Self.version else {
            throw .unknownFormat(Int(header.version), newest: Int(Self.version), file)
        }
        let (sum, body) = (header.checksum, bytes.dropFirst(size))
        header.checksum = 0
        let found = Checksum.crc32c(ValueBytes.of(header) + body)
        guard found == sum else { throw .checksum(file, found: found, expected: sum) }
        guard (header.idHigh, header.idLow) == Self.halves(manifest.id) else {
            throw SnapshotError(.notTheParent, file: file, field: "id", "it is of another snapshot")
        }
        guard let runs = ValueBytes.values(of: body, as: Run.self), UInt64(runs.count) == header.runs else {
            throw bad("runs", "\(header.runs) runs are not \(body.count) bytes")
        }
        let regions = manifest.memory.regions.map { region in
            let first = region.fileOffset / UInt64(HostRange.pageSize)
            return first..<first + region.size / UInt64(HostRange.pageSize)
        }
        var left = regions.reduce(0) { $0 + UInt64($1.count) }
        for (index, run) in runs.enumerated() {
            let pages = UInt64(run.page)..<UInt64(run.page) + UInt64(run.count)
            guard !pages.isEmpty, pages.count <= left, regions.contains(where: { $0.contains(pages) }) else {
                throw bad("runs[\(index)]", "pages \(pages) are none of the memory's, or more than it has")
            }
            left -= UInt64(pages.count)
        }
        self.runs = runs
    }

    /// An id's 32 digits; a checked manifest's has them.
    private static func halves(_ id: String) -> (UInt64, UInt64) {
        let digits = id.filter { $0 != "-" }
        return (UInt64(digits.prefix(16), radix: 16) ?? 0, UInt64(digits.dropFirst(16), radix: 16) ?? 0)
    }
}

extension SnapshotChain {
    /// The path of the working set's file.
    var workingSetPath: String { "\(top.path)/\(SnapshotFile.workingSet)" }

    /// The working set that the last run has left, if it has left one.
    ///
    /// - Throws: ``SnapshotError`` where it is damaged or cannot be read; the snapshot is as good without it.
    func workingSet() throws(SnapshotError) -> WorkingSet? {
        let pages = manifest.memory.regions.reduce(0) { $0 + $1.size } / UInt64(HostRange.pageSize)
        let limit = Int(clamping: min(pages, 1 << 28) * 8 + 4096)
        let bytes: [UInt8]
        do throws(SnapshotError) {
            bytes = try SnapshotDirectory.read(workingSetPath, limit: limit)
        } catch {
            if error.kind == .missing { return nil }
            throw error
        }
        return try WorkingSet(bytes, manifest, file: workingSetPath)
    }

    /// Those of a chunk's pages that are in a file of the chain.
    func dataPages(of chunk: MemoryGeometry.Chunk) -> PageSet {
        parts(of: chunk).reduce(PageSet()) { $0 | $1.data }
    }
}
