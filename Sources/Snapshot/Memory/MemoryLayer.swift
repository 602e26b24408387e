import Host

extension SnapshotDirectory {
    /// The pages of a chunk that this snapshot has, and those of them that are in its file.
    func pages(of chunk: MemoryGeometry.Chunk) -> (present: PageSet, data: PageSet) {
        guard let record = map.record(of: chunk.index) else {
            return (map.isDiff ? PageSet() : chunk.allPages, PageSet())
        }
        return (record.present, record.data)
    }

    /// Reads pages of a chunk to their places in it, and checks all that the file has of the chunk.
    ///
    /// - Parameters:
    ///   - pages: some of those that are in the file.
    ///   - target: the chunk's memory. It is written only where `pages` are.
    ///   - scratch: memory as long as a chunk.
    func read(
        _ pages: PageSet, of chunk: MemoryGeometry.Chunk, to target: HostRange, _ scratch: HostRange
    ) throws(SnapshotError) {
        guard let record = map.record(of: chunk.index), !record.data.isEmpty else { return }
        // The checksum is of all the pages: those that a later snapshot has too are read beside the target.
        let isAll = pages == record.data
        let place = isAll ? target : scratch
        for run in record.data.runs {
            let bytes = run.lowerBound * HostRange.pageSize..<run.upperBound * HostRange.pageSize
            try fill(place.part(bytes), at: chunk.fileOffset + UInt64(bytes.lowerBound), chunk)
        }
        let sum = place.checksum(of: record.data)
        guard sum == record.checksum else {
            throw .checksum(memoryPath, field: Self.name(chunk), found: sum, expected: record.checksum)
        }
        if isAll { return }
        for run in (pages & record.data).runs {
            let bytes = run.lowerBound * HostRange.pageSize..<run.upperBound * HostRange.pageSize
            target.part(bytes).copy(from: scratch.part(bytes))
        }
    }

    /// Checks that what the file has of a chunk beside its data is zero: holes as a rule, which cost nothing to look at,
    /// or zeroes in a copy made without holes.
    func checkZeroes(
        _ pages: PageSet, of chunk: MemoryGeometry.Chunk, _ scratch: HostRange
    ) throws(SnapshotError) {
        let end = chunk.fileOffset + UInt64(chunk.count)
        var next = chunk.fileOffset
        while next < end, let data = try nextData(next, chunk), data.lowerBound < end {
            let first = Int(data.lowerBound - chunk.fileOffset) / HostRange.pageSize
            let last = (Int(min(data.upperBound, end) - chunk.fileOffset) + HostRange.pageSize - 1) / HostRange.pageSize
            let inData = PageSet(lowest: last).without(PageSet(lowest: first)) & pages
            for run in inData.runs {
                let bytes = run.lowerBound * HostRange.pageSize..<run.upperBound * HostRange.pageSize
                try fill(scratch.part(bytes), at: chunk.fileOffset + UInt64(bytes.lowerBound), chunk)
            }
            let wrong = scratch.nonzeroPages(of: inData)
            guard wrong.isEmpty else {
                let page = chunk.fileOffset + UInt64((wrong.runs.first?.lowerBound ?? 0) * HostRange.pageSize)
                throw SnapshotError(
                    .checksum, file: memoryPath, field: Self.name(chunk),
                    "the page at offset \(page) was zero when it was written and is not now; restore the file from where "
                        + "it came, or take another snapshot")
            }
            next = data.upperBound
        }
    }

    private func nextData(
        _ offset: UInt64, _ chunk: MemoryGeometry.Chunk
    ) throws(SnapshotError) -> Range<UInt64>? {
        do throws(Errno) {
            return try memory.descriptor.nextData(from: offset)
        } catch {
            throw SnapshotError(
                .host(error), file: memoryPath, field: Self.name(chunk), "cannot look for holes: \(error)")
        }
    }

    private func fill(
        _ range: HostRange, at offset: UInt64, _ chunk: MemoryGeometry.Chunk
    ) throws(SnapshotError) {
        let count: Int
        do throws(Errno) { count = try memory.descriptor.readAll(into: range, at: offset) } catch {
            throw SnapshotError(
                .host(error), file: memoryPath, field: Self.name(chunk),
                "cannot read \(range.count) bytes at offset \(offset): \(error)")
        }
        guard count == range.count else {
            throw SnapshotError(
                .length, file: memoryPath, field: Self.name(chunk),
                "the file ended at offset \(offset + UInt64(count)) while it was read; is it being changed?")
        }
    }

    /// A chunk's name in errors.
    static func name(_ chunk: MemoryGeometry.Chunk) -> String {
        "chunk \(chunk.index) (offset \(chunk.fileOffset), \(chunk.count) bytes)"
    }
}
