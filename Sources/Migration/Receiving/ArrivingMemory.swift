import Host
import Snapshot
import Synchronization

/// The memory of a machine that arrives: takes pages, each once a round, and nothing that lies outside.
package final class ArrivingMemory: Sendable {
    let regions: [MemoryRegion]
    /// Where each region's first chunk is in the list of all, and how many there are.
    private let firstChunks: [Int]
    private struct Seen {
        var round: UInt64 = 1
        var pages: [PageSet]
    }
    /// The pages that came in the round at hand, a set for each chunk.
    private let seen: Mutex<Seen>

    init(_ regions: [MemoryRegion]) {
        self.regions = regions
        var (first, firsts): (Int, [Int]) = (0, [])
        for region in regions {
            firsts.append(first)
            first += (region.host.count + PagesHead.chunkSize - 1) / PagesHead.chunkSize
        }
        firstChunks = firsts
        seen = Mutex(Seen(pages: Array(repeating: PageSet(), count: first)))
    }

    /// Begins a round: each page may come again.
    func begin(round: UInt64) {
        seen.withLock { seen in
            seen.round = round
            for index in seen.pages.indices { seen.pages[index] = PageSet() }
        }
    }

    /// Where pages belong: the bytes of their chunk.
    ///
    /// - Parameter dataBytes: how many bytes come with them.
    /// - Throws: where they lie outside of the memory, came before in this round, or are not as many as the head says.
    func place(_ head: PagesHead, dataBytes: Int) throws(MigrationError) -> HostRange {
        try head.check(dataBytes: dataBytes)
        let pages = head.present | head.zero
        let place = try ChunkPlace(head.address, holding: pages, in: regions)
        let number = firstChunks[place.region] + place.chunk
        let (isOfRound, isTwice) = seen.withLock { seen in
            guard seen.round == head.round else { return (false, false) }
            let isTwice = !(seen.pages[number] & pages).isEmpty
            seen.pages[number] |= pages
            return (true, isTwice)
        }
        guard isOfRound else { throw .violation("pages of round \(head.round) came in another one") }
        guard !isTwice else {
            throw .violation("a page of 0x\(String(head.address, radix: 16)) came twice in round \(head.round)")
        }
        return place.host
    }
}

extension HostRange {
    /// The bytes of some of a chunk's pages, which have to be in it.
    func pages(_ run: Range<Int>) -> HostRange {
        part(run.lowerBound * Self.pageSize..<run.upperBound * Self.pageSize)
    }

    /// Puts pages into a chunk.
    ///
    /// - Parameter data: their bytes, packed.
    func put(_ data: HostRange, at set: PageSet) {
        var next = 0
        for run in set.runs {
            let target = pages(run)
            target.copy(from: data.part(next..<next + target.count))
            next += target.count
        }
    }
}
