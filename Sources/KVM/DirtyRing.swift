import CLinux
import Host
import Synchronization

/// The pages that one vCPU wrote, in a ring that KVM fills (KVM_CAP_DIRTY_LOG_RING, api.rst 8.29).
@safe
package final class DirtyRing: Sendable {
    private let entries: Mapping
    /// How many there are, a power of 2.
    package let count: UInt32
    /// The entry to look at next, counted on beyond the ring's end; held by whoever looks.
    private let next = Mutex<UInt32>(0)

    /// Bytes of an entry.
    static let entrySize = MemoryLayout<kvm_dirty_gfn>.stride

    /// - Parameter vcpu: the descriptor of a vCPU that has a ring of so many entries.
    init(of vcpu: borrowing FileDescriptor, entries count: Int) throws(HostError) {
        let offset = Int64(KVM_DIRTY_LOG_PAGE_OFFSET) * Int64(HostRange.pageSize)
        entries = try Mapping(length: count * Self.entrySize, .shared(descriptor: vcpu.raw, offset: offset))
        self.count = UInt32(count)
    }

    /// Takes the pages that are in it, in their order. Before they are read `VMHandle.resetDirtyRings` comes, without which
    /// KVM notes no further write to them; until then the ring has no room for others either. From any thread.
    ///
    /// - Parameter page: hears each page: its slot, and its number in that.
    /// - Returns: how many there were.
    package func harvest(_ page: (_ slot: UInt32, _ number: UInt64) -> Void) -> Int {
        next.withLock { next in
            let first = next
            while next &- first < count {
                // SAFETY: the place is below `count` entries, which are mapped as long as this object lives; the structure
                // begins with its flags, and KVM writes the others only while they are 0.
                let entry = unsafe (entries.base + Int(next & (count - 1)) * Self.entrySize)
                    .assumingMemoryBound(to: kvm_dirty_gfn.self)
                let flags = unsafe UnsafeMutableRawPointer(entry).assumingMemoryBound(to: Atomic<UInt32>.self)
                // Ordering: acquiring, so that what KVM wrote before the flag is there; releasing, so that KVM writes the
                // entry anew only after it was read.
                guard unsafe flags.pointee.load(ordering: .acquiring) & UInt32(Self.isDirty) != 0 else { break }
                unsafe page(entry.pointee.slot, entry.pointee.offset)
                unsafe flags.pointee.store(UInt32(Self.isTaken), ordering: .releasing)
                next &+= 1
            }
            return Int(next &- first)
        }
    }

    /// KVM_DIRTY_GFN_F_DIRTY and KVM_DIRTY_GFN_F_RESET.
    private static let isDirty = 1, isTaken = 2
}

extension VMHandle {
    /// The most entries that a dirty ring can have here; 0 where KVM has none. It tells the largest size in bytes.
    package var dirtyRingLimit: Int { value(of: .dirtyRing) / DirtyRing.entrySize }

    /// Gives each vCPU that is made from now on a ring for the pages that it writes, in place of the dirty logs, for good
    /// (KVM_ENABLE_CAP of KVM_CAP_DIRTY_LOG_RING, api.rst 8.29). It comes before the first vCPU.
    ///
    /// - Parameter entries: of each ring, a power of 2; no more than KVM allows are made.
    package func enableDirtyRings(entries: Int) throws(KVMError) {
        let entries = min(entries, dirtyRingLimit)
        try enable(.dirtyRing, UInt64(entries * DirtyRing.entrySize))
        // Ordering: relaxed; the vCPUs are made by whoever called this.
        ringEntries.store(entries, ordering: .relaxed)
    }

    /// Has KVM note the next write to each page that was taken out of the rings, and makes room for others
    /// (KVM_RESET_DIRTY_RINGS, api.rst 8.29). It comes before the pages are read.
    package func resetDirtyRings() throws(KVMError) {
        let result = cl_ioctl_value(descriptor, CL_KVM_RESET_DIRTY_RINGS, 0)
        guard result >= 0 else { throw .request("reset the dirty rings", Errno(-result)) }
    }
}
