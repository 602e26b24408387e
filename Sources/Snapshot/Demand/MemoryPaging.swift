import Host

/// How much whoever reads the log has to know of something.
package enum PagingNote: Sendable { case debug, info, warning }

/// Takes what happens beside a guest whose memory comes on demand, from any thread.
package typealias PagingNotes = @Sendable (PagingNote, String) -> Void

/// What goes on beside a guest whose memory comes on demand: giving it its pages where they are not mapped, reading ahead
/// what it will need, and noting what it touches for the next one.
///
/// It holds the regions, and is stopped before they are let go.
package final class MemoryPaging: Sendable {
    private let prefetcher: Prefetcher?
    private let recorder: WorkingSetRecorder?
    private let pager: DemandPager?
    /// Notes what the pager's guest had to wait for, when it stops; nil where nothing is to be noted.
    private let note: (@Sendable (DemandPager) -> Void)?
    /// The files that are mapped, with the paths and lengths that they had, and whether a page of them was lost.
    private let mapped: [SnapshotMemoryFile]
    private let isLost: @Sendable () -> Bool

    /// Maps the snapshot's memory into a machine's, copied on write (`SnapshotChain.mapMemory`), and begins to read ahead.
    ///
    /// What goes wrong beside the mapping goes to the log: the guest runs without it.
    ///
    /// - Parameters:
    ///   - regions: the machine's: private memory that holds zeroes.
    ///   - prefetch: whether the working set is read ahead, and noted anew.
    ///   - isLost: tells whether somebody has touched a page that a file has lost.
    /// - Throws: ``SnapshotError`` where the memory cannot be mapped.
    package init(
        mapping chain: SnapshotChain, into regions: [MemoryRegion], prefetch: Bool, _ tell: @escaping PagingNotes,
        isLost: @escaping @Sendable () -> Bool = { false }
    ) throws(SnapshotError) {
        try chain.mapMemory(into: regions)
        mapped = chain.layers.map(SnapshotMemoryFile.init)
        self.isLost = isLost
        (pager, note) = (nil, nil)
        guard prefetch else {
            (prefetcher, recorder) = (nil, nil)
            return
        }
        let set = Self.attempt(tell) { () throws(any Error) in try chain.workingSet() }
        prefetcher = Self.attempt(tell) { () throws(any Error) in
            try set.map { (set) throws(HostError) in try Prefetcher(set, of: chain, tell) }
        }
        recorder = Self.attempt(tell) { () throws(any Error) in
            try WorkingSetRecorder(regions, of: chain, after: set, tell)
        }
    }

    /// Gives a machine the snapshot's memory by a ``DemandPager``, the working set first. Everything is checked as it is
    /// read.
    ///
    /// - Parameters:
    ///   - prefetch: whether the working set comes first, and is noted where there is none.
    ///   - ended: see there.
    /// - Throws: ``SnapshotError`` where the regions are others, or the host refuses.
    package init(
        paging chain: SnapshotChain, into target: DemandPager.Target, prefetch: Bool, _ tell: @escaping PagingNotes,
        ended: @escaping @Sendable (DemandPager.End) -> Void
    ) throws(SnapshotError) {
        try chain.check(target.regions)
        (mapped, isLost) = ([], { false })
        let set = prefetch ? Self.attempt(tell) { () throws(any Error) in try chain.workingSet() } : nil
        (prefetcher, recorder) = (nil, nil)
        let leave: @Sendable (DemandPager) -> Void = { MemoryPaging.leave($0.touched, of: chain, tell) }
        note = prefetch && set == nil ? leave : nil
        let begin = HostClock.monotonic
        let first = set?.pieces.map(\.chunk) ?? []
        pager = try DemandPager(target, from: ChainPages(chain: chain), first: first) { end in
            if end == .complete {
                tell(.info, "all the guest's memory is there, after \((HostClock.monotonic - begin) / 1_000_000) ms")
            }
            ended(end)
        }
    }

    /// Leaves a working set of whole chunks beside the snapshot.
    private static func leave(_ chunks: [Int], of chain: SnapshotChain, _ tell: PagingNotes) {
        guard !chunks.isEmpty, WorkingSet.canHold(chain.top.geometry) else { return }
        _ = attempt(tell) { () throws(any Error) -> Void? in
            let directory = try Directory.resolved(chain.top.path)
            try Directory.checkWritable(directory)
            var set = WorkingSet()
            for index in chunks {
                let chunk = chain.top.geometry.chunk(index)
                set.append(chain.dataPages(of: chunk), of: chunk)
            }
            try Directory.replaceFile("\(directory)/\(SnapshotFile.workingSet)", with: set.encoded(for: chain.manifest))
            return ()
        }
    }

    /// What the guest can do without.
    private static func attempt<Result>(_ tell: PagingNotes, _ body: () throws -> Result?) -> Result? {
        do { return try body() } catch {
            let errno = (error as? HostError)?.errno
            let isUsual = errno == .readOnly || errno == .accessDenied
            tell(isUsual ? .debug : .warning, "the working set is left alone: \(error)")
            return nil
        }
    }

    /// What was done so far.
    package struct Reading: Equatable, Sendable {
        /// Bytes of the snapshot's files that were asked for ahead of the guest.
        package var prefetchedBytes: UInt64 = 0
        /// Pages that were seen to be touched.
        package var touchedPages: UInt64 = 0
        /// Accesses that waited for a page, and bytes that were given: of memory that is not mapped.
        package var faults: UInt64 = 0, pagedBytes: UInt64 = 0

        package init() {}

        init(prefetchedBytes: UInt64, touchedPages: UInt64, faults: UInt64, pagedBytes: UInt64) {
            (self.prefetchedBytes, self.touchedPages) = (prefetchedBytes, touchedPages)
            (self.faults, self.pagedBytes) = (faults, pagedBytes)
        }
    }

    /// What was done so far.
    package var reading: Reading {
        let given = pager?.reading
        return Reading(
            prefetchedBytes: prefetcher?.bytes ?? 0, touchedPages: recorder?.pages ?? 0, faults: given?.faults ?? 0,
            pagedBytes: given?.bytes ?? 0)
    }

    /// Why pages of the memory cannot be had; nil as long as they can.
    package var failure: SnapshotError? {
        if let pager { return pager.failure }
        for file in mapped {
            if let problem = file.problem { return problem }
        }
        guard isLost() else { return nil }
        return SnapshotError(
            .host(.inputOutput), file: mapped.first?.path,
            "a page of the memory that is mapped from here, or from what this snapshot builds upon, could not be read: the "
                + "disk has failed, or a file was changed under the guest")
    }

    /// Waits until all the memory is there, for whoever reads all of it.
    ///
    /// - Throws: ``SnapshotError`` where it cannot be had.
    package func finish() throws(SnapshotError) { try pager?.finish() }

    /// Lets who waits for a page go on, without it; the guest was told to stop.
    package func release() { pager?.stop() }

    /// The guest goes on: from now on its touches count.
    package func guestRuns() { recorder?.guestRuns() }

    /// Ends all of it, when the guest has stopped, and waits for that.
    package func stop() {
        release()
        if let pager, pager.failure == nil { note?(pager) }
        prefetcher?.stop()
        recorder?.stop()
    }
}
