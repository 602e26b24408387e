import KVM
import Memory
import Synchronization

/// The pages that were written since a migration last looked.
final class LeavingPages: Sendable {
    /// As `DirtyBitmap.take` has them; nil while nobody looks.
    private let words = Mutex<[UInt64]?>(nil)

    var isNoting: Bool { words.withLock { $0 != nil } }

    func begin() { words.withLock { $0 = [] } }
    func end() { words.withLock { $0 = nil } }

    /// Notes pages, if any are to be noted.
    func add(_ more: [UInt64]) {
        words.withLock { words in
            _ = words?.unite(more)
        }
    }

    /// Takes those that were noted.
    func take() -> [UInt64] {
        words.withLock { words in
            guard let all = words else { return [] }
            words = []
            return all
        }
    }
}

/// The dirty log for a migration, on the control thread.
extension MachineInstance {
    /// Notes from now on what is written, beside whoever else wants to know. As with `pagesWrittenWhileLeaving`, the log has
    /// to be cleared of each page before it is read (`DirtyLog.clear`): here of all.
    func beginLeaving() throws(KVMError) {
        dirtyMeter.add(pages: try takeLog(isReadLater: true))
        leavingPages.begin()
    }

    /// The pages that were written since the last time, or since the log was cleared of them, for each region of the RAM.
    func pagesWrittenWhileLeaving() throws(KVMError) -> [[UInt64]] {
        dirtyMeter.add(pages: try takeLog(isReadLater: true))
        return memory.bitmapsByRegion(leavingPages.take())
    }

    /// Notes no more.
    func endLeaving() throws(KVMError) {
        guard leavingPages.isNoting else { return }
        leavingPages.end()
        if isLoggingWrites { try dirtyLog.clear() } else { try logWrites(false) }
    }
}
