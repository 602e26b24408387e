import Host
import Synchronization

/// What differs between two snapshots.
package struct SnapshotComparison: Codable, Equatable, Sendable {
    /// A range of guest-physical addresses.
    package struct Range: Codable, Equatable, Sendable {
        /// The first address.
        package let guestAddress: UInt64
        /// Its length in bytes.
        package let bytes: UInt64

        enum CodingKeys: String, CodingKey {
            case guestAddress = "guest_address"
            case bytes
        }
    }

    /// Whether nothing differs.
    package var isSame: Bool { memory.isEmpty && !layoutDiffers && config.isEmpty && state.isEmpty && needs.isEmpty }
    /// Whether the memory has other regions, so that its bytes were not compared.
    package let layoutDiffers: Bool
    /// The ranges whose bytes differ, whole pages, ascending.
    package let memory: [Range]
    /// The places in `config.json` that differ.
    package let config: [String]
    /// The places in `state.json` that differ: devices that only one has, and fields.
    package let state: [String]
    /// What only one of them needs from the host.
    package let needs: [String]

    enum CodingKeys: String, CodingKey {
        case layoutDiffers = "layout_differs"
        case memory, config, state, needs
    }

    /// Bytes of memory that differ.
    package var memoryBytes: UInt64 { memory.reduce(0) { $0 + $1.bytes } }
}

extension SnapshotChain {
    /// Compares the content of two snapshots, whatever they build upon. All memory that is read is checked.
    package func compare(with other: SnapshotChain, workers: Int? = nil) throws(SnapshotError) -> SnapshotComparison {
        func tree(_ chain: SnapshotChain, _ name: String, _ bytes: [UInt8]) throws(SnapshotError) -> JSONTree {
            try JSONTree.parse(bytes, file: "\(chain.top.path)/\(name)")
        }
        let sameLayout = top.geometry == other.top.geometry
        let config = JSONTree.differences(
            try tree(self, SnapshotFile.config, top.config), try tree(other, SnapshotFile.config, other.top.config), "")
        let state = JSONTree.differences(
            try tree(self, SnapshotFile.state, top.stateBytes)["devices"],
            try tree(other, SnapshotFile.state, other.top.stateBytes)["devices"], "")
        let (ours, theirs) = (Set(manifest.needs.words), Set(other.manifest.needs.words))
        return SnapshotComparison(
            layoutDiffers: !sameLayout, memory: sameLayout ? try differingMemory(other, workers) : [], config: config,
            state: state, needs: ours.symmetricDifference(theirs).sorted())
    }

    private func differingMemory(
        _ other: SnapshotChain, _ workers: Int?
    ) throws(SnapshotError) -> [SnapshotComparison.Range] {
        let geometry = top.geometry
        let found = Mutex<[Int: PageSet]>([:])
        try WorkerPool.run(geometry.chunkCount, workers: workers) { index, scratch throws(SnapshotError) in
            let chunk = geometry.chunk(index)
            if self.origin(of: chunk) == other.origin(of: chunk) { return }
            scratch.first.clear()
            scratch.second.clear()
            try self.read(chunk, to: scratch.first, scratch.third)
            try other.read(chunk, to: scratch.second, scratch.third)
            let pages = scratch.first.pages(of: chunk.allPages, differingFrom: scratch.second)
            if !pages.isEmpty { found.withLock { $0[index] = pages } }
        }
        var ranges: [SnapshotComparison.Range] = []
        for (index, pages) in found.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
            let chunk = geometry.chunk(index)
            let base = geometry.regions[chunk.region].guestAddress + UInt64(chunk.offset)
            for run in pages.runs {
                let address = base + UInt64(run.lowerBound * HostRange.pageSize)
                let bytes = UInt64(run.count * HostRange.pageSize)
                if let last = ranges.last, last.guestAddress + last.bytes == address {
                    ranges[ranges.count - 1] = .init(guestAddress: last.guestAddress, bytes: last.bytes + bytes)
                } else {
                    ranges.append(.init(guestAddress: address, bytes: bytes))
                }
            }
        }
        return ranges
    }

    private struct Origin: Equatable {
        let id: String
        let isDiff: Bool
        let visible: PageSet, data: PageSet
    }

    /// What a chunk's bytes are made of; equal origins are equal bytes.
    private func origin(of chunk: MemoryGeometry.Chunk) -> [Origin] {
        parts(of: chunk).filter { !$0.data.isEmpty }
            .map {
                Origin(id: $0.layer.manifest.id, isDiff: $0.layer.map.isDiff, visible: $0.visible, data: $0.data)
            }
    }
}
