import CLinux
import Host
import Synchronization

/// One vCPU of KVM and its run area.
///
/// Its own thread runs it; its state is read and written by others only while that thread stands still, which the
/// owner of the threads upholds. Stopping it is possible at any time.
@safe
package final class VCPUHandle: @unchecked Sendable {
    // Sendable: `run` and the access data belong to the vCPU's thread, the state requests to whoever has paused it.

    let file: FileDescriptor
    private let area: Mapping
    /// The APIC id.
    package let id: UInt32
    /// The frequency of the host's time stamp counter in kHz where the guest's was given another, else 0. Ordering:
    /// relaxed; it is set before the vCPU first runs.
    let hostKilohertz = Atomic<UInt32>(0)

    private let leaves = Mutex<[CPUIDEntry]>([])

    /// The pages that it writes; nil where the VM has dirty logs in place of rings.
    package let dirtyRing: DirtyRing?

    init(_ file: consuming FileDescriptor, id: UInt32, runAreaSize: Int, ringEntries: Int) throws(KVMError) {
        do {
            area = try Mapping(length: runAreaSize, .shared(descriptor: file.raw, offset: 0))
            dirtyRing = ringEntries > 0 ? try DirtyRing(of: file, entries: ringEntries) : nil
        } catch {
            throw .request("map the run area of vCPU \(id)", error.errno)
        }
        self.file = file
        self.id = id
    }

    /// The CPUID leaves that the guest was given last.
    package internal(set) var cpuid: [CPUIDEntry] {
        get { leaves.withLock { $0 } }
        set { leaves.withLock { $0 = newValue } }
    }

    /// SAFETY: the area is larger than `kvm_run` (checked when `/dev/kvm` was opened) and lives as long as this object.
    private var run: UnsafeMutablePointer<kvm_run> { unsafe area.base.assumingMemoryBound(to: kvm_run.self) }

    /// Makes the next or current KVM_RUN return at once, together with a kick of its thread (api.rst 5, immediate_exit).
    package func setImmediateExit(_ on: Bool) {
        // Ordering: the kick's signal orders this store before the kernel's look at it; the atomic keeps it whole.
        guard let flag = unsafe cl_kvm_immediate_exit(run) else { return }
        unsafe UnsafeMutableRawPointer(flag).assumingMemoryBound(to: Atomic<UInt8>.self)
            .pointee.store(on ? 1 : 0, ordering: .releasing)
    }

    /// Runs the guest until it exits (KVM_RUN, api.rst 4.10).
    package func runOnce() throws(KVMError) -> VMExit {
        let result = cl_ioctl_value(file.raw, CL_KVM_RUN, 0)
        guard result >= 0 else {
            if result == -EINTR || result == -EAGAIN { return .interrupted }
            throw .request("run vCPU \(id)", Errno(-result))
        }
        switch unsafe Int32(run.pointee.exit_reason) {
        case KVM_EXIT_IO:
            let io = unsafe run.pointee.io
            return .port(
                VMExit.PortAccess(
                    port: io.port, size: io.size, isWrite: Int32(io.direction) == KVM_EXIT_IO_OUT, count: io.count,
                    offset: io.data_offset))
        case KVM_EXIT_MMIO:
            let mmio = unsafe run.pointee.mmio
            let value = unsafe withUnsafeBytes(of: mmio.data) { unsafe $0.loadUnaligned(as: UInt64.self) }
            return .memory(
                VMExit.MemoryAccess(
                    address: mmio.phys_addr, size: UInt8(min(mmio.len, 8)), isWrite: mmio.is_write != 0,
                    value: value & Self.mask(mmio.len)))
        default: return rareExit()
        }
    }

    private func rareExit() -> VMExit {
        switch unsafe Int32(run.pointee.exit_reason) {
        case KVM_EXIT_HLT: .halt
        case KVM_EXIT_SHUTDOWN: .shutdown
        case KVM_EXIT_FAIL_ENTRY: .failedEntry(reason: unsafe run.pointee.fail_entry.hardware_entry_failure_reason)
        case KVM_EXIT_INTERNAL_ERROR: .internalError(internalError())
        case KVM_EXIT_SYSTEM_EVENT: .systemEvent(unsafe run.pointee.system_event.type)
        case KVM_EXIT_DIRTY_RING_FULL: .dirtyRingFull
        case KVM_EXIT_INTR: .interrupted
        default: .other(unsafe run.pointee.exit_reason)
        }
    }

    private func internalError() -> VMExit.InternalError {
        // For an emulation failure KVM's data is: flags, then the instruction's length and 15 bytes (api.rst 5).
        let suberror = unsafe run.pointee.internal.suberror
        let words = unsafe run.pointee.internal.data
        let hasInstruction = unsafe suberror == 1 && run.pointee.internal.ndata >= 3 && words.0 & 1 != 0
        let bytes = unsafe withUnsafeBytes(of: words) { unsafe Array($0[8..<24]) }
        let length = hasInstruction ? min(Int(bytes[0]), 15) : 0
        return VMExit.InternalError(suberror: suberror, instruction: Array(bytes[1..<(1 + length)]))
    }

    /// What the guest writes in one element of a port access, in the lowest bytes.
    package func portValue(_ access: VMExit.PortAccess, element: UInt32 = 0) -> UInt32 {
        guard let place = unsafe portPlace(access, element) else { return 0 }
        return switch access.size {
        case 1: unsafe UInt32(place.loadUnaligned(as: UInt8.self))
        case 2: unsafe UInt32(place.loadUnaligned(as: UInt16.self))
        default: unsafe place.loadUnaligned(as: UInt32.self)
        }
    }

    /// Answers one element of a port read.
    package func answer(_ access: VMExit.PortAccess, element: UInt32 = 0, _ value: UInt32) {
        guard let place = unsafe portPlace(access, element) else { return }
        switch access.size {
        case 1: unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
        case 2: unsafe place.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
        default: unsafe place.storeBytes(of: value, as: UInt32.self)
        }
    }

    /// Answers a memory read; the lowest bytes count.
    package func answerMemoryRead(_ value: UInt64) {
        unsafe withUnsafeMutableBytes(of: &run.pointee.mmio.data) { unsafe $0.storeBytes(of: value, as: UInt64.self) }
    }

    /// SAFETY: the element lies inside the run area, which is checked here although KVM wrote the offset.
    private func portPlace(_ access: VMExit.PortAccess, _ element: UInt32) -> UnsafeMutableRawPointer? {
        let offset = access.offset &+ UInt64(element) &* UInt64(access.size)
        guard element < access.count, offset <= UInt64(area.length - 4) else { return nil }
        return unsafe area.base + Int(offset)
    }

    private static func mask(_ size: UInt32) -> UInt64 { size >= 8 ? .max : (1 << (UInt64(size) * 8)) - 1 }
}
