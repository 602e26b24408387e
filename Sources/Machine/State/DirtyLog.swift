import KVM
import Memory
import Synchronization

/// KVM's log of the pages that the guest writes, which is looked at and cleared apart where KVM can do that
/// (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, api.rst 7.18).
///
/// A page that was found in the log is in it until it is cleared; only then KVM protects it and notes the next write. So a
/// page is cleared before it is read, and as late as that: what the guest writes between the look and the clearing is read
/// with the page, and does not make it count again. To clear takes the lock that all of the guest's page faults wait for,
/// so it is done in pieces.
///
/// Where KVM cannot do that a look clears, and there is nothing left to clear here. So it is where the vCPUs have rings for
/// the pages that they write, in place of the log.
final class DirtyLog: Sendable {
    /// Pages that are cleared at once, 64 MiB. Each time costs an exit of all vCPUs, whose TLBs KVM flushes.
    static let piece = 16_384

    private let machine: VMHandle
    private let memory: GuestMemory
    /// The pages of each slot that were found and are not cleared yet; none where a look clears, or while the log is off.
    private let found = Mutex<[[UInt64]]>([])

    private let features: DirtyLogFeatures
    private let rings: DirtyRings?
    /// Held while the slots' logs are turned on or off.
    private let slots = Mutex(())

    /// - Parameters:
    ///   - rings: the vCPUs', where they have some.
    ///   - features: those that are used where KVM has them, and no rings.
    init(
        _ machine: VMHandle, _ memory: GuestMemory, rings: DirtyRings? = nil,
        features: DirtyLogFeatures = [.manualProtection, .initiallySet]
    ) {
        (self.machine, self.memory, self.rings) = (machine, memory, rings)
        self.features = rings == nil ? features.intersection(machine.dirtyLogFeatures) : []
    }

    /// Whether the vCPUs note what they write in rings.
    var hasRings: Bool { rings != nil }

    private static func pages(_ range: MemoryRange) -> Int { Int(range.size / GuestMemory.pageSize) }

    /// Turns it on.
    ///
    /// - Parameter allFound: whether to begin as if all pages had just been found, which spares KVM the walk through the
    ///   guest's page tables that protects them. Whoever reads them clears them first. KVM may not know this; none are found
    ///   then.
    func begin(allFound: Bool) throws(KVMError) {
        let isManual = features.contains(.manualProtection)
        let isFull = allFound && isManual && features.contains(.initiallySet)
        if isManual { try machine.setDirtyLogs(isFull ? [.manualProtection, .initiallySet] : .manualProtection) }
        try rings?.begin(memory.ranges.map(Self.pages))
        do throws(KVMError) {
            try set(true)
        } catch {
            try? set(false)
            throw error
        }
        let ranges = isManual ? memory.ranges : []
        found.withLock { $0 = ranges.map { Self.words(Self.pages($0), areSet: isFull) } }
    }

    /// Turns it off, and forgets what was found.
    func end() throws(KVMError) {
        found.withLock { $0 = [] }
        try set(false)
        try rings?.begin([])
    }

    private static func words(_ pages: Int, areSet: Bool) -> [UInt64] {
        var words = [UInt64](repeating: areSet ? .max : 0, count: (pages + 63) / 64)
        if areSet, pages % 64 > 0 { words[pages / 64] = (1 << UInt64(pages % 64)) - 1 }
        return words
    }

    private func set(_ on: Bool) throws(KVMError) {
        try slots.withLock { _ throws(KVMError) in
            if on, rings?.isLost == true { throw .lostWrites }
            for (slot, range) in memory.ranges.enumerated() {
                try machine.setMemory(
                    slot: UInt32(slot), address: range.address, size: range.size,
                    hostAddress: memory.hostAddress(ofRegion: slot), logDirty: on)
            }
        }
    }

    /// The pages of each slot that were written, and were not found before or were cleared since.
    func take() throws(KVMError) -> [[UInt64]] {
        if let rings { return try reading { () throws(KVMError) in try rings.take() } }
        return try found.withLock { found throws(KVMError) in
            var logs: [[UInt64]] = []
            for (slot, range) in memory.ranges.enumerated() {
                logs.append(try machine.dirtyLog(slot: UInt32(slot), pages: Self.pages(range)))
            }
            for slot in found.indices {
                for word in found[slot].indices {
                    logs[slot][word] &= ~found[slot][word]
                    found[slot][word] |= logs[slot][word]
                }
            }
            return logs
        }
    }

    /// Makes room in the ring of a vCPU that does not go on without it; on its thread.
    ///
    /// - Throws: when KVM does not empty it. Where pages were lost the vCPU goes on, and whoever looks is told.
    func makeRoom() throws(KVMError) {
        do throws(KVMError) {
            try reading { () throws(KVMError) in try rings?.harvest() }
        } catch .lostWrites {}
    }

    /// Reads the rings. Once one has lost pages nothing is noted any more: its vCPU would wait for room that nobody makes.
    private func reading<Result>(_ body: () throws(KVMError) -> Result) throws(KVMError) -> Result {
        do throws(KVMError) {
            return try body()
        } catch {
            if error == .lostWrites { try set(false) }
            throw error
        }
    }

    /// Clears all pages that were found.
    func clear() throws(KVMError) {
        for (slot, range) in memory.ranges.enumerated() {
            for first in stride(from: 0, to: Self.pages(range), by: Self.piece) {
                try clear(slot, first..<min(first + Self.piece, Self.pages(range)))
            }
        }
    }

    /// Clears the pages of a slot that were found, if any of these was, and with them those of the pieces around; from any
    /// thread. What the guest writes from here on is in the next look.
    func clear(_ slot: Int, _ pages: Range<Int>) throws(KVMError) {
        // The lock is held in KVM as well: whoever is to read the next pages of the piece waits for the same.
        try found.withLock { found throws(KVMError) in
            guard slot < found.count, !pages.isEmpty else { return }
            let wanted = pages.lowerBound / 64..<min((pages.upperBound + 63) / 64, found[slot].count)
            guard found[slot][wanted].contains(where: { $0 != 0 }) else { return }
            let end = Self.pages(memory.ranges[slot])
            var first = pages.lowerBound / Self.piece * Self.piece
            while first < min(pages.upperBound, end) {
                let piece = first..<min(first + Self.piece, end)
                try machine.clearDirtyLog(slot: UInt32(slot), found[slot], pages: piece)
                for word in piece.lowerBound / 64..<(piece.upperBound + 63) / 64 { found[slot][word] = 0 }
                first = piece.upperBound
            }
        }
    }
}
