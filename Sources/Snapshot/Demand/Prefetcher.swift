import Host
import Synchronization

/// Reads ahead what a working set names: a thread of its own has the kernel read the pages of the snapshot's files into the
/// page cache, in the order in which the guest before touched them.
///
/// Other VMs from the same snapshot share what it has read, and no memory becomes this process's own: mapping the pages too
/// (MADV_POPULATE_READ) would give each clone page tables, and was not faster to the guest's first touch.
final class Prefetcher: Sendable {
    private let work: Work
    private let thread: Thread

    private final class Work: Sendable {
        let chain: SnapshotChain
        let set: WorkingSet
        let tell: PagingNotes
        let isStopping = Atomic<Bool>(false)
        let bytes = Atomic<UInt64>(0)

        init(_ chain: SnapshotChain, _ set: WorkingSet, _ tell: @escaping PagingNotes) {
            (self.chain, self.set, self.tell) = (chain, set, tell)
        }

        func run() {
            yieldPrecedence(steps: 19)
            let begin = HostClock.monotonic
            for (index, wanted) in set.pieces {
                let chunk = chain.top.geometry.chunk(index)
                for part in chain.parts(of: chunk) {
                    for run in (part.data & wanted).runs {
                        // Ordering: the flag orders nothing else.
                        if isStopping.load(ordering: .relaxed) { return }
                        let count = run.count * HostRange.pageSize
                        part.layer.memory.descriptor.readAhead(
                            at: chunk.fileOffset + UInt64(run.lowerBound * HostRange.pageSize), count: count)
                        // Ordering: a number for people.
                        bytes.wrappingAdd(UInt64(count), ordering: .relaxed)
                    }
                }
            }
            let milliseconds = (HostClock.monotonic - begin) / 1_000_000
            tell(.info, "the working set was read ahead: \(bytes.load(ordering: .relaxed)) bytes in \(milliseconds) ms")
        }
    }

    /// Begins to read.
    init(_ set: WorkingSet, of chain: SnapshotChain, _ tell: @escaping PagingNotes) throws(HostError) {
        let work = Work(chain, set, tell)
        self.work = work
        thread = try Thread("prefetch") { work.run() }
    }

    deinit { stop() }

    /// The bytes that were asked for so far.
    var bytes: UInt64 { work.bytes.load(ordering: .relaxed) }

    /// Ends it, and waits for that.
    func stop() {
        work.isStopping.store(true, ordering: .relaxed)
        thread.join()
    }
}
