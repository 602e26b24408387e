import Host
import Synchronization

/// Reads a disk's image, but for holes, on several threads: to write what is not zero to another file, and to sum it.
struct ImagePump: Sendable {
    /// The image, open for reading, and its name for errors.
    let source: OwnedFile, path: String
    /// Its length in bytes.
    let size: UInt64
    /// Writes bytes at an offset; they are the calling thread's own.
    let write: (@Sendable (HostRange, UInt64) throws(SnapshotError) -> Void)?

    /// What was found of a chunk that is not all zeroes.
    private struct Record {
        let chunk: Int
        let pages: PageSet
        let checksum: UInt32

        /// As it is summed, little-endian: the chunk's number, its pages, their checksum.
        var bytes: [UInt8] {
            ValueBytes.of(UInt64(chunk)) + ValueBytes.of(pages) + ValueBytes.of(checksum)
        }
    }

    /// Reads all of it.
    ///
    /// - Returns: the CRC-32C over the chunks that are not all zeroes: holes and zeroes sum up to the same.
    func run(workers: Int? = nil) throws(SnapshotError) -> UInt32 {
        let chunks = try chunksWithData()
        let records = Mutex<[Record]>([])
        try WorkerPool.run(chunks.count, workers: workers) { index, scratch throws(SnapshotError) in
            guard let record = try self.read(chunks[index], scratch.first) else { return }
            records.withLock { $0.append(record) }
        }
        let sorted = records.withLock { $0 }.sorted { $0.chunk < $1.chunk }
        return Checksum.crc32c(sorted.flatMap(\.bytes))
    }

    private func read(_ chunk: Int, _ scratch: HostRange) throws(SnapshotError) -> Record? {
        let offset = UInt64(chunk) * UInt64(MemoryGeometry.chunkSize)
        let count = Int(min(UInt64(MemoryGeometry.chunkSize), size - offset))
        let got: Int
        do throws(Errno) { got = try source.descriptor.readAll(into: scratch.part(0..<count), at: offset) } catch {
            throw failure(error, "cannot read \(count) bytes at offset \(offset)")
        }
        guard got == count else {
            throw SnapshotError(
                .length, file: path, "the image ended at \(offset + UInt64(got)) of \(size) bytes while it was read")
        }
        let page = HostRange.pageSize
        let pageCount = (count + page - 1) / page
        // An image need not end with a page.
        scratch.part(count..<pageCount * page).clear()
        let data = scratch.nonzeroPages(of: PageSet(lowest: pageCount))
        if data.isEmpty { return nil }
        if let write {
            for run in data.runs {
                let bytes = run.lowerBound * page..<min(run.upperBound * page, count)
                try write(scratch.part(bytes), offset + UInt64(bytes.lowerBound))
            }
        }
        return Record(chunk: chunk, pages: data, checksum: scratch.checksum(of: data))
    }

    /// The numbers of the chunks that are not all hole.
    private func chunksWithData() throws(SnapshotError) -> [Int] {
        let chunkSize = UInt64(MemoryGeometry.chunkSize)
        let end = (size + chunkSize - 1) / chunkSize
        var chunks: [Int] = []
        var next: UInt64 = 0
        do throws(Errno) {
            while next < end, let data = try source.descriptor.nextData(from: next * chunkSize) {
                let last = min(end, (data.upperBound + chunkSize - 1) / chunkSize)
                for chunk in max(next, data.lowerBound / chunkSize)..<max(next, last) { chunks.append(Int(chunk)) }
                next = max(next + 1, last)
            }
        } catch {
            // A block device has no holes that anybody could look for.
            guard error == .invalid else { throw failure(error, "cannot look for holes") }
            return (0..<Int(end)).map { $0 }
        }
        return chunks
    }

    private func failure(_ errno: Errno, _ words: String) -> SnapshotError {
        SnapshotError(.host(errno), file: path, "\(words): \(errno)")
    }
}
