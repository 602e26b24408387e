import CLinux
import Host

/// One model-specific register.
package struct MSR: Codable, Equatable, Hashable, Sendable {
    /// Its number.
    package let index: UInt32
    /// Its value.
    package let value: UInt64

    package init(_ index: UInt32, _ value: UInt64) { (self.index, self.value) = (index, value) }
}

extension VCPUHandle {
    /// The general registers (api.rst 4.11).
    package func registers() throws(KVMError) -> kvm_regs { try get(CL_KVM_GET_REGS, kvm_regs(), "registers") }
    /// Sets the general registers.
    package func setRegisters(_ value: kvm_regs) throws(KVMError) { try set(CL_KVM_SET_REGS, value, "registers") }

    /// The segment, control and descriptor-table registers (api.rst 4.13).
    package func specialRegisters() throws(KVMError) -> kvm_sregs {
        try get(CL_KVM_GET_SREGS, kvm_sregs(), "special registers")
    }
    /// Sets the segment, control and descriptor-table registers.
    package func setSpecialRegisters(_ value: kvm_sregs) throws(KVMError) {
        try set(CL_KVM_SET_SREGS, value, "special registers")
    }

    /// The floating-point state (api.rst 4.15).
    package func floatingPoint() throws(KVMError) -> kvm_fpu { try get(CL_KVM_GET_FPU, kvm_fpu(), "FPU") }
    /// Sets the floating-point state.
    package func setFloatingPoint(_ value: kvm_fpu) throws(KVMError) { try set(CL_KVM_SET_FPU, value, "FPU") }

    /// The local APIC's page of registers (api.rst 4.57).
    package func localAPIC() throws(KVMError) -> kvm_lapic_state {
        try get(CL_KVM_GET_LAPIC, kvm_lapic_state(), "local APIC")
    }
    /// Sets the local APIC's registers.
    package func setLocalAPIC(_ value: kvm_lapic_state) throws(KVMError) {
        try set(CL_KVM_SET_LAPIC, value, "local APIC")
    }

    /// Whether the vCPU runs, waits for INIT or SIPI, or halts (api.rst 4.38).
    package func multiprocessorState() throws(KVMError) -> kvm_mp_state {
        try get(CL_KVM_GET_MP_STATE, kvm_mp_state(), "multiprocessor state")
    }
    /// Sets the multiprocessor state.
    package func setMultiprocessorState(_ value: kvm_mp_state) throws(KVMError) {
        try set(CL_KVM_SET_MP_STATE, value, "multiprocessor state")
    }

    /// Injects a non-maskable interrupt (api.rst 4.64).
    package func injectNMI() throws(KVMError) {
        let result = cl_ioctl_value(file.raw, CL_KVM_NMI, 0)
        guard result >= 0 else { throw .request("inject an NMI into vCPU \(id)", Errno(-result)) }
    }

    /// The TSC's frequency in kHz (api.rst 4.56).
    package func tscKilohertz() throws(KVMError) -> UInt32 {
        let result = cl_ioctl_value(file.raw, CL_KVM_GET_TSC_KHZ, 0)
        guard result >= 0 else { throw .request("tell the TSC frequency of vCPU \(id)", Errno(-result)) }
        return UInt32(result)
    }

    /// Sets the CPUID leaves that the guest sees (KVM_SET_CPUID2, api.rst 4.50), before the vCPU first runs.
    package func setCPUID(_ entries: [CPUIDEntry]) throws(KVMError) {
        let header = MemoryLayout<kvm_cpuid2>.size
        let bytes = header + entries.count * MemoryLayout<kvm_cpuid_entry2>.stride
        let space = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
        defer { unsafe space.deallocate() }
        // SAFETY: the space holds the header and all the entries; KVM reads as many as the header counts.
        let table = unsafe space.bindMemory(to: kvm_cpuid2.self, capacity: 1)
        unsafe table.pointee.nent = UInt32(entries.count)
        unsafe table.pointee.padding = 0
        if let base = unsafe cl_kvm_cpuid_entries(table) {
            for (index, entry) in entries.enumerated() { unsafe (base + index).initialize(to: entry.kernel) }
        }
        let result = unsafe cl_ioctl_pointer(file.raw, CL_KVM_SET_CPUID2, table)
        guard result >= 0 else { throw .request("set \(entries.count) CPUID leaves of vCPU \(id)", Errno(-result)) }
        cpuid = entries
    }

    /// Sets MSRs (KVM_SET_MSRS, api.rst 4.19).
    ///
    /// - Throws: `refusedMSR` with the first that KVM does not take.
    package func setMSRs(_ registers: [MSR]) throws(KVMError) {
        let done = try transferMSRs(CL_KVM_SET_MSRS, registers, "set") { _ in }
        if done < registers.count { throw .refusedMSR(index: registers[done].index) }
    }

    /// Reads MSRs (KVM_GET_MSRS, api.rst 4.18): those up to the first that KVM does not know.
    package func msrs(_ indices: [UInt32]) throws(KVMError) -> [MSR] {
        var values: [MSR] = []
        _ = try transferMSRs(CL_KVM_GET_MSRS, indices.map { MSR($0, 0) }, "read") { values.append($0) }
        return values
    }

    private func transferMSRs(
        _ number: UInt, _ registers: [MSR], _ verb: String, _ each: (MSR) -> Void
    ) throws(KVMError) -> Int {
        let header = MemoryLayout<kvm_msrs>.size
        let bytes = header + registers.count * MemoryLayout<kvm_msr_entry>.stride
        let space = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
        defer { unsafe space.deallocate() }
        // SAFETY: the space holds the header and all the entries; KVM touches as many as the header counts.
        let list = unsafe space.bindMemory(to: kvm_msrs.self, capacity: 1)
        unsafe list.pointee.nmsrs = UInt32(registers.count)
        unsafe list.pointee.pad = 0
        guard let entries = unsafe cl_kvm_msr_entries(list) else { return 0 }
        for (index, register) in registers.enumerated() {
            unsafe (entries + index).initialize(
                to: kvm_msr_entry(index: register.index, reserved: 0, data: register.value))
        }
        let done = unsafe cl_ioctl_pointer(file.raw, number, list)
        guard done >= 0 else { throw .request("\(verb) MSRs of vCPU \(id)", Errno(-done)) }
        for index in 0..<Int(done) { unsafe each(MSR(entries[index].index, entries[index].data)) }
        return Int(done)
    }

    func get<State: BitwiseCopyable>(_ number: UInt, _ blank: State, _ what: String) throws(KVMError) -> State {
        var state = blank
        // SAFETY: the type is that of the request; KVM fills it and keeps no pointer.
        let result = unsafe cl_ioctl_pointer(file.raw, number, &state)
        guard result >= 0 else { throw .request("read the \(what) of vCPU \(id)", Errno(-result)) }
        return state
    }

    func set<State: BitwiseCopyable>(_ number: UInt, _ state: State, _ what: String) throws(KVMError) {
        var state = state
        // SAFETY: the type is that of the request; KVM reads it and keeps no pointer.
        let result = unsafe cl_ioctl_pointer(file.raw, number, &state)
        guard result >= 0 else { throw .request("set the \(what) of vCPU \(id)", Errno(-result)) }
    }
}
