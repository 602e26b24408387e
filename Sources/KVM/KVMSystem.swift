import CLinux
import Host

/// The open `/dev/kvm`: what this host can do, and the maker of VMs. Kernel: api.rst section 4.1 to 4.5.
package struct KVMSystem: ~Copyable, Sendable {
    private let file: FileDescriptor
    /// Bytes of a vCPU's `kvm_run` area.
    package let runAreaSize: Int

    /// Opens the device and checks its interface version.
    package init(path: String = "/dev/kvm") throws(KVMError) {
        let opened: FileDescriptor
        do {
            opened = try FileDescriptor.open(path, O_RDWR)
        } catch {
            throw .unavailable(path: path, error.errno)
        }
        let version = cl_ioctl_value(opened.raw, CL_KVM_GET_API_VERSION, 0)
        guard version >= 0 else { throw .unavailable(path: path, Errno(-version)) }
        guard version == KVM_API_VERSION else { throw .version(version) }
        let size = cl_ioctl_value(opened.raw, CL_KVM_GET_VCPU_MMAP_SIZE, 0)
        guard size >= MemoryLayout<kvm_run>.size else { throw .request("tell the size of a vCPU's run area", .invalid) }
        file = opened
        runAreaSize = Int(size)
    }

    /// What KVM_CHECK_EXTENSION says of a capability: 0 when it is absent, else 1 or a capability's own number.
    package borrowing func value(of capability: KVMCapability) -> Int {
        Int(max(0, cl_ioctl_value(file.raw, CL_KVM_CHECK_EXTENSION, UInt(capability.number))))
    }

    /// Creates a VM without memory, interrupt chip or vCPUs.
    package borrowing func createVM() throws(KVMError) -> VMHandle {
        while true {
            let result = cl_ioctl_value(file.raw, CL_KVM_CREATE_VM, 0)
            if result == -EINTR { continue }
            guard result >= 0 else { throw .request("create a VM", Errno(-result)) }
            let features = DirtyLogFeatures(rawValue: UInt64(value(of: .dirtyLogProtect)))
            return VMHandle(
                FileDescriptor(owning: result), runAreaSize: runAreaSize,
                dirtyLogFeatures: features.intersection([.manualProtection, .initiallySet]))
        }
    }

    /// The CPUID leaves that this host's KVM can give to a guest (KVM_GET_SUPPORTED_CPUID).
    package borrowing func supportedCPUID() throws(KVMError) -> [CPUIDEntry] {
        var capacity = 128
        while capacity <= 4096 {
            let header = MemoryLayout<kvm_cpuid2>.size
            let bytes = header + capacity * MemoryLayout<kvm_cpuid_entry2>.stride
            let space = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
            defer { unsafe space.deallocate() }
            // SAFETY: the space holds the header and `capacity` entries; KVM fills no more than it is told.
            let table = unsafe space.bindMemory(to: kvm_cpuid2.self, capacity: 1)
            unsafe table.initialize(to: kvm_cpuid2())
            unsafe table.pointee.nent = UInt32(capacity)
            let result = unsafe cl_ioctl_pointer(file.raw, CL_KVM_GET_SUPPORTED_CPUID, table)
            if result == -E2BIG {
                capacity *= 2
                continue
            }
            guard result >= 0 else { throw .request("list the CPUID leaves that it supports", Errno(-result)) }
            let entries = unsafe UnsafeBufferPointer(
                start: cl_kvm_cpuid_entries(table), count: Int(table.pointee.nent))
            return unsafe entries.map { CPUIDEntry($0) }
        }
        throw .exhausted("room for CPUID leaves", limit: 4096)
    }

    /// The MSRs that make up a guest's state on this host (KVM_GET_MSR_INDEX_LIST).
    package borrowing func stateMSRs() throws(KVMError) -> [UInt32] {
        var count = 256
        while true {
            let space = UnsafeMutableRawPointer.allocate(byteCount: 4 + count * 4, alignment: 8)
            defer { unsafe space.deallocate() }
            // SAFETY: the space holds the header and `count` indices; KVM fills no more than it is told.
            let list = unsafe space.bindMemory(to: kvm_msr_list.self, capacity: 1)
            unsafe list.pointee.nmsrs = UInt32(count)
            let result = unsafe cl_ioctl_pointer(file.raw, CL_KVM_GET_MSR_INDEX_LIST, list)
            let filled = Int(unsafe list.pointee.nmsrs)
            if result == -E2BIG, filled > count, filled < 65_536 {
                count = filled
                continue
            }
            guard result >= 0 else { throw .request("list the MSRs of a guest's state", Errno(-result)) }
            return unsafe Array(UnsafeBufferPointer(start: cl_kvm_msr_indices(list), count: min(filled, count)))
        }
    }
}

/// One leaf of CPUID as a guest sees it.
package struct CPUIDEntry: Codable, Equatable, Hashable, Sendable {
    /// EAX and ECX of the question.
    package var function: UInt32, index: UInt32
    /// `KVM_CPUID_FLAG_SIGNIFCANT_INDEX` when ECX matters.
    package var flags: UInt32
    /// The answer.
    package var eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32

    package init(_ function: UInt32, _ index: UInt32 = 0, indexed: Bool = false) {
        self.function = function
        self.index = index
        flags = indexed ? UInt32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX) : 0
        (eax, ebx, ecx, edx) = (0, 0, 0, 0)
    }

    init(_ entry: kvm_cpuid_entry2) {
        (function, index, flags) = (entry.function, entry.index, entry.flags)
        (eax, ebx, ecx, edx) = (entry.eax, entry.ebx, entry.ecx, entry.edx)
    }

    var kernel: kvm_cpuid_entry2 {
        kvm_cpuid_entry2(
            function: function, index: index, flags: flags, eax: eax, ebx: ebx, ecx: ecx, edx: edx, padding: (0, 0, 0))
    }

    /// What this processor itself answers, without a hypervisor's changes below it.
    package static func host(_ function: UInt32, _ index: UInt32 = 0) -> CPUIDEntry {
        var entry = CPUIDEntry(function, index)
        var out = InlineArray<4, UInt32>(repeating: 0)
        // SAFETY: the shim writes exactly four words.
        unsafe withUnsafeMutableBytes(of: &out) { space in
            if let base = space.baseAddress {
                unsafe cl_cpuid(function, index, base.assumingMemoryBound(to: UInt32.self))
            }
        }
        (entry.eax, entry.ebx, entry.ecx, entry.edx) = (out[0], out[1], out[2], out[3])
        return entry
    }
}
