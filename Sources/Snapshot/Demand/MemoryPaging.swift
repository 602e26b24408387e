import Host

/// How much whoever reads the log has to know of something.
package enum PagingNote: Sendable { case debug, info, warning }

/// Takes what happens beside a guest whose memory comes on demand, from any thread.
package typealias PagingNotes = @Sendable (PagingNote, String) -> Void

/// What goes on beside a guest whose memory comes on demand: reading ahead what it will need, and noting what it touches
/// for the next one.
///
/// It holds the regions, and is stopped before they are let go.
package final class MemoryPaging: Sendable {
    private let prefetcher: Prefetcher?
    private let recorder: WorkingSetRecorder?

    /// Maps the snapshot's memory into a machine's, copied on write (`SnapshotChain.mapMemory`), and begins to read ahead.
    ///
    /// What goes wrong beside the mapping goes to the log: the guest runs without it.
    ///
    /// - Parameters:
    ///   - regions: the machine's: private memory that holds zeroes.
    ///   - prefetch: whether the working set is read ahead, and noted anew.
    /// - Throws: ``SnapshotError`` where the memory cannot be mapped.
    package init(
        mapping chain: SnapshotChain, into regions: [MemoryRegion], prefetch: Bool, _ tell: @escaping PagingNotes
    ) throws(SnapshotError) {
        try chain.mapMemory(into: regions)
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
    }

    /// What was done so far.
    package var reading: Reading {
        Reading(prefetchedBytes: prefetcher?.bytes ?? 0, touchedPages: recorder?.pages ?? 0)
    }

    /// The guest goes on: from now on its touches count.
    package func guestRuns() { recorder?.guestRuns() }

    /// Ends all of it, when the guest has stopped, and waits for that.
    package func stop() {
        prefetcher?.stop()
        recorder?.stop()
    }
}
