import Host
import KVM
import Memory
import Synchronization

/// How much memory the guest and its devices write, measured between two looks at KVM's dirty log.
///
/// While KVM logs, it maps the guest's memory in small pages and takes a fault at the first write to each page after a
/// look, so it logs only while somebody asks.
final class DirtyMeter: Sendable {
    /// What was measured.
    struct Reading: Equatable, Sendable {
        /// Bytes of the pages that were written, each counted once a look.
        var bytes: UInt64 = 0
        /// The same a second, between the last two looks; nil before the second one.
        var bytesPerSecond: UInt64?
    }

    private struct State {
        var reading = Reading()
        var lookedAt: UInt64
    }

    private let state = Mutex<State?>(nil)

    /// What was measured; nil while nothing is.
    var reading: Reading? { state.withLock { $0?.reading } }

    /// Notes the start.
    func begin() { state.withLock { $0 = State(lookedAt: HostClock.monotonic) } }
    /// Forgets what was measured.
    func end() { state.withLock { $0 = nil } }

    /// Notes the pages that were written since the look before.
    func add(pages: UInt64) {
        state.withLock { state in
            guard var next = state else { return }
            let now = HostClock.monotonic
            let bytes = pages &* GuestMemory.pageSize
            let passed = max(now &- next.lookedAt, 1)
            next.lookedAt = now
            next.reading.bytes &+= bytes
            next.reading.bytesPerSecond = UInt64(Double(bytes) * 1e9 / Double(passed))
            state = next
        }
    }
}

extension MachineInstance {
    /// Turns the dirty log on, or takes what it has and notes it; or turns it off. On the control thread.
    func measureDirtying(_ on: Bool) throws(KVMError) {
        guard on else {
            guard dirtyMeter.reading != nil else { return }
            dirtyMeter.end()
            return try logDirty(false)
        }
        guard dirtyMeter.reading != nil else {
            try logDirty(true)
            return dirtyMeter.begin()
        }
        var written = memory.dirty.take()
        var first = 0
        for (slot, range) in memory.ranges.enumerated() {
            let pages = Int(range.size / GuestMemory.pageSize)
            let log = try machine.dirtyLog(slot: UInt32(slot), pages: pages)
            for page in 0..<log.count {
                // The slots' pages lie behind one another in the devices' log, and need not begin at a word there.
                Self.merge(log[page], at: first + page * 64, into: &written)
            }
            first += pages
        }
        dirtyMeter.add(pages: written.reduce(0) { $0 + UInt64($1.nonzeroBitCount) })
    }

    /// Sets bits of a word from some bit of the words on.
    static func merge(_ word: UInt64, at bit: Int, into words: inout [UInt64]) {
        let (index, shift) = (bit / 64, bit % 64)
        if index < words.count { words[index] |= word << UInt64(shift) }
        if shift > 0, index + 1 < words.count { words[index + 1] |= word >> UInt64(64 - shift) }
    }

    private func logDirty(_ on: Bool) throws(KVMError) {
        memory.dirty.setTracking(on)
        for (slot, range) in memory.ranges.enumerated() {
            try machine.setMemory(
                slot: UInt32(slot), address: range.address, size: range.size,
                hostAddress: memory.hostAddress(ofRegion: slot), logDirty: on)
        }
    }
}
