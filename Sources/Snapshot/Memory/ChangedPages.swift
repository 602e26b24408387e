import Host
import Synchronization

/// How a machine that was restored has got its memory.
package enum RestoredMemory: Sendable {
    /// Private memory that the snapshot's was copied into.
    case copied
    /// Private mappings of the snapshot's files.
    case mapped
    /// Memory of which the kernel does not tell what became of it: others may write to it, or it was mapped anew.
    case shared
}

extension SnapshotChain {
    /// Which pages of a restored machine's memory are no longer the snapshot's: what a diff to it has to have, where nobody
    /// noted what was written. All that is read of the snapshot is checked.
    ///
    /// Of private memory, pages that this process has no copy of are not looked at: to do so would read all of the
    /// snapshot's file.
    ///
    /// - Parameters:
    ///   - regions: the machine's, which have to be the snapshot's; nobody writes to them meanwhile.
    ///   - workers: how many threads; nil for as many as there are processors.
    /// - Returns: for each region, page i in bit i % 64 of word i / 64.
    package func changedPages(
        of regions: [MemoryRegion], _ memory: RestoredMemory, workers: Int? = nil
    ) throws(SnapshotError) -> [[UInt64]] {
        try check(regions)
        let geometry = top.geometry
        let pageMap = memory == .shared ? nil : SharedPageMap()
        let found = Mutex<[[UInt64]]>(
            regions.map {
                // A chunk has eight words, and the last chunk of a region may be shorter.
                [UInt64](repeating: 0, count: ($0.host.count / HostRange.pageSize + 511) / 512 * 8)
            })
        try WorkerPool.run(geometry.chunkCount, workers: workers) { index, scratch throws(SnapshotError) in
            let chunk = geometry.chunk(index)
            let live = regions[chunk.region].host.part(chunk.offset..<chunk.offset + chunk.count)
            let data = self.dataPages(of: chunk)
            var candidates = chunk.allPages
            if let own = pageMap?.value.ownPages(live) { candidates = memory == .mapped ? own : own | data }
            if candidates.isEmpty { return }
            // What the snapshot does not have is zero.
            var changed = live.nonzeroPages(of: candidates.without(data))
            let shared = candidates & data
            if !shared.isEmpty {
                try self.read(chunk, to: scratch.first, scratch.second)
                changed |= live.pages(of: shared, differingFrom: scratch.first)
            }
            if changed.isEmpty { return }
            let first = chunk.offset / MemoryGeometry.chunkSize * 8
            found.withLock { for word in 0..<8 { $0[chunk.region][first + word] = changed[word] } }
        }
        return found.withLock { $0 }
    }
}

/// The page map, for several threads; nil where the kernel has none.
private final class SharedPageMap: Sendable {
    let value: PageMap

    init?() {
        guard let value = try? PageMap() else { return nil }
        self.value = value
    }
}
