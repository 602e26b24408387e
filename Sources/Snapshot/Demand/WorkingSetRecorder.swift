import Host
import Synchronization

/// Notes which pages a guest touches in its first seconds, and in which order, and leaves them beside the snapshot.
///
/// A thread of its own looks at the process's page table (`PageMap`) at growing intervals, so that the guest pays
/// nothing. Of several VMs that run from one snapshot at once, one records: it holds a lock on the directory.
final class WorkingSetRecorder: Sendable {
    private let work: Work
    private let thread: Thread

    /// The time to the second look, in ns; each one later comes twice as late.
    fileprivate static let firstInterval: UInt64 = 2_000_000
    /// How long it goes on, in ns.
    fileprivate static let span: UInt64 = 10_000_000_000

    fileprivate final class Work: Sendable {
        let chain: SnapshotChain
        let regions: [MemoryRegion]
        /// What the run before has left, by chunks.
        let before: [Int: PageSet]
        /// The snapshot's directory, locked, and its path without links.
        let directory: OwnedFile, path: String
        let tell: PagingNotes
        /// The guest goes on, or nobody is to look any more.
        let isRunning = Atomic<Bool>(false), isStopping = Atomic<Bool>(false)
        let event: EventFD
        let pages = Atomic<UInt64>(0)

        init(
            _ chain: SnapshotChain, _ regions: [MemoryRegion], _ before: WorkingSet?, in path: String,
            _ directory: OwnedFile, _ tell: @escaping PagingNotes
        ) throws(HostError) {
            self.path = path
            event = try EventFD()
            self.before = Dictionary(before?.pieces.map { ($0.chunk, $0.pages) } ?? []) { $0 | $1 }
            (self.chain, self.regions, self.directory, self.tell) = (chain, regions, directory, tell)
        }
    }

    /// Begins to wait for the guest; nil where another VM records.
    ///
    /// - Parameters:
    ///   - regions: show the snapshot's memory, and stay mapped until it is stopped.
    ///   - before: what the run before has left, if it has.
    /// - Throws: where nothing can be left beside the snapshot.
    init?(
        _ regions: [MemoryRegion], of chain: SnapshotChain, after before: WorkingSet?, _ tell: @escaping PagingNotes
    ) throws(HostError) {
        guard WorkingSet.canHold(chain.top.geometry) else { return nil }
        let path = try Directory.resolved(chain.top.path)
        try Directory.checkWritable(path)
        let directory = OwnedFile(try Directory.open(path))
        guard try directory.descriptor.tryLock(path: path) else { return nil }
        let work = try Work(chain, regions, before, in: path, directory, tell)
        self.work = work
        thread = try Thread("working-set") { work.run() }
    }

    deinit { stop() }

    /// The pages that were noted so far.
    var pages: UInt64 { work.pages.load(ordering: .relaxed) }

    /// The guest goes on.
    func guestRuns() {
        // Ordering: the event that follows makes the thread look.
        if !work.isRunning.exchange(true, ordering: .sequentiallyConsistent) { work.event.signal() }
    }

    /// Has it look a last time and write, if the guest has run and it has not written yet, and waits for that.
    func stop() {
        work.isStopping.store(true, ordering: .sequentiallyConsistent)
        work.event.signal()
        thread.join()
    }
}

extension WorkingSetRecorder.Work {
    func run() {
        yieldPrecedence(steps: 10)
        while !isRunning.load(ordering: .sequentiallyConsistent) {
            if isStopping.load(ordering: .sequentiallyConsistent) { return }
            wait(-1)
        }
        do throws(HostError) {
            let map = try PageMap()
            var (set, seen) = (WorkingSet(), [PageSet](repeating: PageSet(), count: chain.top.geometry.chunkCount))
            let begin = HostClock.monotonic
            var interval = WorkingSetRecorder.firstInterval
            var isLast = false
            while !isLast {
                isLast =
                    isStopping.load(ordering: .sequentiallyConsistent)
                    || HostClock.monotonic - begin >= WorkingSetRecorder.span
                let start = HostClock.monotonic
                look(map, &set, &seen)
                pages.store(UInt64(set.pageCount), ordering: .relaxed)
                // Looking takes at most a twentieth of the time.
                interval = max(min(interval * 2, 2_000_000_000), (HostClock.monotonic - start) * 20)
                if !isLast { wait(Int32(clamping: interval / 1_000_000)) }
            }
            // Where the directory was renamed or replaced meanwhile, what is there now is not ours to write to.
            guard directory.descriptor.isAt(path) else { return }
            try Directory.replaceFile(
                "\(path)/\(SnapshotFile.workingSet)", with: set.encoded(for: chain.manifest))
            tell(.debug, "the working set is recorded: \(set.pageCount) pages in \(set.runs.count) runs")
        } catch {
            tell(.warning, "no working set is recorded: \(error)")
        }
    }

    private func wait(_ timeout: Int32) {
        // While the guest is waited for, whoever lets it go or stops this thread signals; later only the latter does.
        var entries = [PollEntry(event.raw, forReading: true)]
        PollEntry.wait(&entries, timeout: timeout)
        event.drain()
    }

    /// Notes the pages that came to be at hand since the last time, those of zeroes left out: nothing of them is read.
    private func look(_ map: borrowing PageMap, _ set: inout WorkingSet, _ seen: inout [PageSet]) {
        for index in seen.indices {
            let chunk = chain.top.geometry.chunk(index)
            let host = regions[chunk.region].host.part(chunk.offset..<chunk.offset + chunk.count)
            guard let new = map.presentPages(host)?.without(seen[index]), !new.isEmpty else { continue }
            seen[index] |= new
            // A chunk that came whole is a large page of the page cache, whatever the guest wanted of it. A run that began
            // with a cold cache has seen more precisely.
            let known = new.pageCount == MemoryGeometry.chunkPages ? before[index] : nil
            set.append((known ?? new) & chain.dataPages(of: chunk), of: chunk)
        }
    }
}
