import KVM
import Memory
import Snapshot
import Synchronization

/// The pages that were written since a snapshot, for the next one to have them alone.
final class WrittenPages: Sendable {
    private struct State {
        let parent: SnapshotContents.Parent
        /// As `DirtyBitmap.take` has them.
        var words: [UInt64] = []
        /// How the guest got its memory, where nobody notes what is written since it was restored.
        var restored: RestoredMemory?
    }

    private let state = Mutex<State?>(nil)

    /// The snapshot that a diff may build upon; nil where there is none.
    var parent: SnapshotContents.Parent? { state.withLock { $0?.parent } }

    /// Whether writes are noted.
    var isNoting: Bool { state.withLock { $0.map { $0.restored == nil } ?? false } }

    /// How the guest got the parent's memory, where what it wrote since is to be found by comparing.
    var restored: RestoredMemory? { state.withLock { $0?.restored } }

    /// All of them so far.
    var words: [UInt64] { state.withLock { $0?.words ?? [] } }

    /// Forgets all that was written before a snapshot.
    func begin(after parent: SnapshotContents.Parent) { state.withLock { $0 = State(parent: parent) } }

    /// The guest goes on from a snapshot. Nothing is noted, which would cost every guest that is restored its huge pages:
    /// a diff compares instead.
    func begin(restored memory: RestoredMemory, from parent: SnapshotContents.Parent) {
        state.withLock { $0 = State(parent: parent, restored: memory) }
    }

    /// The guest's memory is mapped from elsewhere now: nothing tells any more which pages are as they were restored.
    func compareAll() { state.withLock { if $0?.restored != nil { $0?.restored = .shared } } }

    /// Notes pages, if any are to be noted.
    func add(_ words: [UInt64]) {
        state.withLock { state in
            if state?.restored == nil { state?.words.unite(words) }
        }
    }
}

/// KVM's dirty log with the devices' own writes beside it, on the control thread. The meter and the snapshots share it.
extension MachineInstance {
    /// Whether writes are logged.
    var isLoggingWrites: Bool { dirtyMeter.reading != nil || writtenPages.isNoting || leavingPages.isNoting }

    /// Turns the dirty log on, or takes what it has and notes it; or turns it off.
    func measureDirtying(_ on: Bool) throws(KVMError) {
        if on {
            // While a migration goes on its sender clears what is found, and each page counts once between two clearings.
            let pages = try takeLog(isReadLater: leavingPages.isNoting)
            if dirtyMeter.reading == nil { dirtyMeter.begin() } else { dirtyMeter.add(pages: pages) }
        } else if dirtyMeter.reading != nil {
            dirtyMeter.end()
            if !isLoggingWrites { try logWrites(false) }
        }
    }

    /// Notes from now on what is written, for a diff to a snapshot that was just taken; the machine stands still.
    func noteWrites(since parent: SnapshotContents.Parent) throws(KVMError) {
        dirtyMeter.add(pages: try takeLog())
        writtenPages.begin(after: parent)
    }

    /// The pages that were written since the snapshot that a diff builds upon, for each region of the RAM. They stay noted
    /// until the next `noteWrites`.
    ///
    /// - Parameter parent: that snapshot.
    func pagesWrittenSinceSnapshot(_ parent: SnapshotChain) throws -> [[UInt64]] {
        if let restored = writtenPages.restored {
            return try parent.changedPages(of: memory.snapshotRegions, restored)
        }
        // What is found now stays noted, and is cleared when a snapshot is there: the machine stands still until then, and if
        // there is none, the pages are in the next one, whoever writes them.
        dirtyMeter.add(pages: try takeLog(isReadLater: true))
        return memory.bitmapsByRegion(writtenPages.words)
    }

    /// Takes what was written since the last time, for whoever notes it; or begins.
    ///
    /// - Parameter isReadLater: whether whoever reads the pages has the log cleared of them first (`DirtyLog.clear`), all
    ///   of them where it begins.
    /// - Returns: the number of pages.
    func takeLog(isReadLater: Bool = false) throws(KVMError) -> UInt64 {
        guard isLoggingWrites else {
            try logWrites(true, allFound: isReadLater)
            return 0
        }
        let logs = try dirtyLog.take()
        var written = memory.dirty.take()
        var first = 0
        for (log, range) in zip(logs, memory.ranges) {
            for (word, bits) in log.enumerated() where bits != 0 {
                // The slots' pages lie behind one another in the devices' log, and need not begin at a word there.
                Self.merge(bits, at: first + word * 64, into: &written)
            }
            first += Int(range.size / GuestMemory.pageSize)
        }
        writtenPages.add(written)
        leavingPages.add(written)
        if !isReadLater { try dirtyLog.clear() }
        return written.reduce(0) { $0 + UInt64($1.nonzeroBitCount) }
    }

    /// Sets bits of a word from some bit of the words on.
    static func merge(_ word: UInt64, at bit: Int, into words: inout [UInt64]) {
        let (index, shift) = (bit / 64, bit % 64)
        if index < words.count { words[index] |= word << UInt64(shift) }
        if shift > 0, index + 1 < words.count { words[index + 1] |= word >> UInt64(64 - shift) }
    }

    func logWrites(_ on: Bool, allFound: Bool = false) throws(KVMError) {
        memory.dirty.setTracking(on)
        if on { try dirtyLog.begin(allFound: allFound) } else { try dirtyLog.end() }
    }
}
