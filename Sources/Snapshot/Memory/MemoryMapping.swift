import Host

/// A piece of a snapshot's memory: where it is in a file and where in the guest.
package struct MemoryPiece: Equatable, Sendable {
    /// Whose file it is in: an index into `SnapshotChain.layers`.
    package let layer: Int
    /// Where in the memory's file, in bytes.
    package let fileOffset: UInt64
    /// Which region of the guest's it is of, and where in it, in bytes.
    package let region: Int, offset: Int
    /// Its length in bytes.
    package let count: Int
}

extension SnapshotChain {
    /// The most pieces that are mapped; the kernel has a limit for all mappings of a process (vm.max_map_count, 65530).
    package static let mappedPieces = 4096

    /// Zeroes that are at least so long, in bytes, are left as they are in the machine's memory: a page of a file's hole
    /// that is written costs two pages, and is never a part of a huge one.
    private static let longZeroes = 32 << 20

    /// What to map for the guest to have the snapshot's memory, in this order: each region from the full snapshot but for
    /// long stretches of zeroes, and above it what the diffs changed, each page from the latest.
    ///
    /// The bytes of the memory are not looked at, so a plan takes hardly longer for a larger memory.
    package func mappingPlan() -> [MemoryPiece] {
        var pieces = regions.indices.flatMap(wholePieces)
        guard layers.count > 1 else { return pieces }
        var changed: Set<Int> = []
        for layer in layers.dropLast() { changed.formUnion(layer.map.records.map { Int($0.chunk) }) }
        for index in changed.sorted() { append(top.geometry.chunk(index), to: &pieces) }
        return pieces
    }

    /// What to map of a region from the full snapshot.
    private func wholePieces(_ region: Int) -> [MemoryPiece] {
        let full = layers.count - 1
        let (start, size) = (regions[region].fileOffset, Int(regions[region].size))
        var pieces: [MemoryPiece] = []
        func append(_ bytes: Range<Int>) {
            guard !bytes.isEmpty else { return }
            pieces.append(
                MemoryPiece(
                    layer: full, fileOffset: start + UInt64(bytes.lowerBound), region: region, offset: bytes.lowerBound,
                    count: bytes.count))
        }
        // Where the piece begins that is open, and where the last chunk with data ends.
        var (first, end) = (0, 0)
        for record in layers[full].map.records {
            let chunk = top.geometry.chunk(Int(record.chunk))
            guard chunk.region == region else { continue }
            if chunk.offset - end >= Self.longZeroes {
                append(first..<end)
                first = chunk.offset
            }
            end = chunk.offset + chunk.count
        }
        append(first..<(size - end >= Self.longZeroes ? end : size))
        return pieces
    }

    /// Appends what diffs have of a chunk; what goes on behind the last piece makes that one longer.
    private func append(_ chunk: MemoryGeometry.Chunk, to pieces: inout [MemoryPiece]) {
        var left = chunk.allPages
        var found: [MemoryPiece] = []
        for (index, layer) in layers.dropLast().enumerated() {
            let visible = layer.pages(of: chunk).present & left
            if visible.isEmpty { continue }
            left = left.without(visible)
            for run in visible.runs {
                let start = run.lowerBound * HostRange.pageSize
                found.append(
                    MemoryPiece(
                        layer: index, fileOffset: chunk.fileOffset + UInt64(start), region: chunk.region,
                        offset: chunk.offset + start, count: run.count * HostRange.pageSize))
            }
            if left.isEmpty { break }
        }
        for piece in found.sorted(by: { $0.offset < $1.offset }) {
            if let last = pieces.last, last.layer == piece.layer, last.layer < layers.count - 1,
                last.region == piece.region, last.offset + last.count == piece.offset
            {
                pieces[pieces.count - 1] = MemoryPiece(
                    layer: last.layer, fileOffset: last.fileOffset, region: last.region, offset: last.offset,
                    count: last.count + piece.count)
            } else {
                pieces.append(piece)
            }
        }
    }

    /// Has a machine's memory show the snapshot's, copied on write: pages are read when they are first touched, and shared
    /// with other VMs from the same snapshot until they are written.
    ///
    /// Only lengths and tables are checked, as they were when the chain was opened; a bit that the disk has lost in the
    /// memory shows itself to the guest. Where diffs are so scattered that there are more than `mappedPieces`, the
    /// shortest are copied.
    ///
    /// - Parameters:
    ///   - regions: the machine's, which have to be the snapshot's: private memory that holds zeroes.
    ///   - limit: the most pieces that are mapped.
    /// - Throws: ``SnapshotError`` where the regions are others or the kernel refuses.
    package func mapMemory(
        into regions: [MemoryRegion], limit: Int = SnapshotChain.mappedPieces
    ) throws(SnapshotError) {
        try check(regions)
        let plan = mappingPlan()
        var mapped = Set(plan.indices)
        if plan.count > limit {
            mapped = Set(plan.indices.sorted { plan[$0].count > plan[$1].count }.prefix(limit))
        }
        for (index, piece) in plan.enumerated() {
            let layer = layers[piece.layer]
            let target = regions[piece.region].host.part(piece.offset..<piece.offset + piece.count)
            do throws(Errno) {
                if mapped.contains(index) {
                    try layer.memory.descriptor.mapPrivately(target, offset: piece.fileOffset)
                } else if try layer.memory.descriptor.readAll(into: target, at: piece.fileOffset) != piece.count {
                    throw .inputOutput
                }
            } catch {
                throw SnapshotError(
                    .host(error), file: layer.memoryPath, field: "offset \(piece.fileOffset)",
                    "cannot map \(piece.count) bytes: \(error)")
            }
        }
    }
}
