import Host
import Synchronization

/// Gives a guest the pages of its memory as it touches them, and the rest in the background, by userfaultfd(2): for memory
/// that cannot be a private mapping of a file, since other processes share it or it is made of huge pages.
///
/// Two threads give pages: one to who waits for them, one to nobody yet. When all that is not zero is there, the kernel
/// gives the rest as it always does, and the pager is through. Whoever owns the pager stops it before the memory goes.
package final class DemandPager: Sendable {
    /// The memory that is given pages.
    package struct Target: Sendable {
        /// Ascending and disjoint; empty, with nothing that anybody needs in it.
        package let regions: [MemoryRegion]
        /// Whether they are mappings of a file in memory.
        package let isShared: Bool
        /// Bytes of the pages that they are made of: 4096, or 2 MiB.
        package let pageSize: Int

        package init(_ regions: [MemoryRegion], isShared: Bool, pageSize: Int = HostRange.pageSize) {
            (self.regions, self.isShared, self.pageSize) = (regions, isShared, pageSize)
        }
    }

    /// How it ends.
    package enum End: Equatable, Sendable {
        /// All is there.
        case complete
        /// Pages are missing and cannot be had. Who waits for one is let go when the one who is told of this returns, and
        /// finds zeroes: the guest must not run on, and nothing of its memory must be believed.
        case failed(SnapshotError)
    }

    private let work: PagerWork
    private let threads: [Thread]

    /// Begins.
    ///
    /// - Parameters:
    ///   - first: chunks that the background is to begin with, in this order.
    ///   - ended: is told once how it ended, on one of the pager's threads; not when it is stopped before.
    /// - Throws: ``SnapshotError`` where the host refuses: of kind `host(.notPermitted)` where this user may not have
    ///   userfaultfd.
    package init(
        _ target: Target, from source: any PageSource, first: [Int] = [], ended: @escaping @Sendable (End) -> Void
    ) throws(SnapshotError) {
        do throws(HostError) {
            let work = try PagerWork(target, source, ended)
            self.work = work
            let server = try Thread("pager") { work.serve() }
            do throws(HostError) {
                threads = [server, try Thread("pager-fill") { work.fillAll(first) }]
            } catch {
                work.release(.stopped)
                throw error
            }
        } catch {
            throw SnapshotError(.host(error.errno), "\(error)\(Self.advice(error.errno))")
        }
    }

    deinit { stop() }

    private static func advice(_ errno: Errno) -> String {
        switch errno {
        case .notPermitted:
            "; allow it (sysctl vm.unprivileged_userfaultfd=1, access to /dev/userfaultfd, or run as root), or use the "
                + "memory_restore_mode Copy"
        default: "; use the memory_restore_mode Copy"
        }
    }

    /// Why the pages that are missing cannot be had; nil as long as they can.
    package var failure: SnapshotError? { work.failure }

    /// Waits until all is there, which lets nobody wait for a page any more.
    ///
    /// - Throws: ``SnapshotError`` where it cannot be had.
    package func finish() throws(SnapshotError) {
        // Nobody drains the event, so it wakes all who wait.
        var entries = [PollEntry(work.over.raw, forReading: true)]
        while !entries[0].isReadable { PollEntry.wait(&entries) }
        if let failure { throw failure }
    }

    /// What was done so far.
    package struct Reading: Equatable, Sendable {
        /// Accesses that had to wait for a page, and bytes that were given.
        package var faults: UInt64 = 0, bytes: UInt64 = 0
    }

    /// What was done so far.
    package var reading: Reading {
        Reading(faults: work.faults.load(ordering: .relaxed), bytes: work.bytes.load(ordering: .relaxed))
    }

    /// The chunks that somebody had to wait for, in this order.
    var touched: [Int] { work.state.withLock { $0.touched } }

    /// Gives up what is not there yet, and waits for the threads. Who waits for a page goes on at once, and finds zeroes.
    package func stop() {
        work.release(.stopped)
        for thread in threads { thread.join() }
    }
}
