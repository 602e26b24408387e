import KVM
import Memory
import Synchronization

/// The vCPUs' rings of pages that they wrote, emptied into a bit for each page.
///
/// A ring that is full keeps its vCPU out of the guest until someone has emptied it: its own thread does, and so does
/// whoever looks. Pages that the processor has noted and not told KVM yet come with the vCPU's next exit: a look at a guest
/// that runs may have them late, and one at a guest that stands still has all.
///
/// KVM has that vCPU leave the guest a while before its ring's last entry, which the processor's own notes fit into. One that
/// emulates the guest's instructions, many at a time, may not notice, and writes over what is in the ring. A ring without a
/// free entry is the sign of that: from then on nothing that the rings say can be believed.
final class DirtyRings: Sendable {
    /// Entries of each ring, 256 KiB: a vCPU may write 64 MiB of pages before it has to empty it.
    static let entries = 16_384

    private let machine: VMHandle
    private let rings: [DirtyRing]

    private struct State {
        /// What was in the rings, a bit for each page of each slot; none while nobody wants to know.
        var written: [[UInt64]] = []
        /// Whether a ring had no free entry, once.
        var isLost = false
    }
    private let state = Mutex(State())

    /// Gives the vCPUs rings that are made from now on.
    static func enable(_ machine: VMHandle) throws {
        guard machine.dirtyRingLimit > 0 else { throw FieldErrors.dirtyRings }
        try machine.enableDirtyRings(entries: entries)
    }

    /// - Returns: nil where the vCPUs have no rings.
    init?(_ machine: VMHandle, _ vcpus: [VCPUHandle]) {
        let rings = vcpus.compactMap(\.dirtyRing)
        guard !rings.isEmpty else { return nil }
        (self.machine, self.rings) = (machine, rings)
    }

    /// Whether pages were lost.
    var isLost: Bool { state.withLock { $0.isLost } }

    /// Makes room for slots of so many pages each, or for none: what is in the rings is forgotten then.
    func begin(_ pages: [Int]) throws(KVMError) {
        try state.withLock { state throws(KVMError) in
            try harvest(&state)
            state.written = pages.map { [UInt64](repeating: 0, count: ($0 + 63) / 64) }
        }
    }

    /// Empties the rings; from any thread.
    ///
    /// - Throws: `lostWrites` besides, from the first time on that a ring had no free entry.
    func harvest() throws(KVMError) {
        try state.withLock { state throws(KVMError) in
            try harvest(&state)
            if state.isLost { throw .lostWrites }
        }
    }

    private func harvest(_ state: inout State) throws(KVMError) {
        var count = 0
        for ring in rings {
            let found = ring.harvest { slot, page in
                let slot = Int(slot)
                guard slot < state.written.count, page / 64 < UInt64(state.written[slot].count) else { return }
                state.written[slot][Int(page / 64)] |= 1 << (page % 64)
            }
            if found == ring.count { state.isLost = true }
            count += found
        }
        if count > 0 { try machine.resetDirtyRings() }
    }

    /// The pages of each slot that were written since the last time.
    ///
    /// - Throws: as `harvest`.
    func take() throws(KVMError) -> [[UInt64]] {
        try state.withLock { state throws(KVMError) in
            try harvest(&state)
            if state.isLost { throw .lostWrites }
            let taken = state.written
            state.written = taken.map { [UInt64](repeating: 0, count: $0.count) }
            return taken
        }
    }
}
