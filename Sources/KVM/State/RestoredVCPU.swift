import CLinux
import Host
import Snapshot

/// Giving a new vCPU what another one was.
extension VCPUHandle {
    /// The most CPUID leaves that KVM takes (KVM_MAX_CPUID_ENTRIES).
    package static let mostLeaves = 256

    /// Gives the vCPU, which has not run, a state. Its counter goes on from where the saved one stopped, at the moment
    /// when the host's counter was `hostTSC`.
    ///
    /// The order is KVM's: CPUID before what it bounds, the special registers (with the local APIC's mode) before the
    /// local APIC, that before the deadline timer, and events last.
    ///
    /// - Parameters:
    ///   - name: the vCPU's in the snapshot, for errors.
    ///   - sizes: of the VM's structures.
    /// - Throws: `SnapshotError` naming the field that is no such structure, or that KVM refuses.
    package func restore(
        _ saved: SavedVCPU, _ name: String, _ sizes: VCPUStateSizes, hostTSC: UInt64
    ) throws(SnapshotError) {
        let at = "devices.\(name).state"
        try step("\(at).apicID") { () throws(KVMError) in
            guard saved.apicID == id else {
                throw .request("make a vCPU of APIC id \(saved.apicID) of one that has \(id)", .invalid)
            }
        }
        try step("\(at).cpuid") { () throws(KVMError) in
            guard saved.cpuid.count <= Self.mostLeaves else { throw .exhausted("CPUID leaves", limit: Self.mostLeaves) }
            // It may have been told before.
            if cpuid != saved.cpuid { try setCPUID(saved.cpuid) }
        }
        try step("\(at).tscKilohertz") { () throws(KVMError) in try setFrequency(saved.tscKilohertz) }
        try step("\(at).multiprocessor") { () throws(KVMError) in
            try setMultiprocessorState(kvm_mp_state(mp_state: saved.multiprocessor))
        }
        try give(saved.registers, kvm_regs.self, CL_KVM_SET_REGS, "registers", at)
        try restoreSpecial(saved, at)
        try restoreNested(saved, sizes, at)
        try step("\(at).xsave") { () throws(KVMError) in
            guard (4096...sizes.xsave).contains(saved.xsave.bytes.count) else {
                throw .request(
                    "set an XSAVE area of \(saved.xsave.bytes.count) bytes, where this host's has \(sizes.xsave)",
                    .invalid)
            }
            try setXSAVE(saved.xsave.bytes, sizes)
        }
        try give(saved.extendedControl, kvm_xcrs.self, CL_KVM_SET_XCRS, "extendedControl", at)
        try give(saved.debug, kvm_debugregs.self, CL_KVM_SET_DEBUGREGS, "debug", at)
        try step("\(at).tsc") { () throws(KVMError) in try setGuestTSC(saved.tsc, whenHost: hostTSC) }
        try give(saved.localAPIC, kvm_lapic_state.self, CL_KVM_SET_LAPIC, "localAPIC", at)
        try restoreMSRs(saved.msrs, "\(at).msrs")
        try step("\(at).tscDeadline") { () throws(KVMError) in
            if saved.tscDeadline != 0 { try setMSRs([MSR(StateMSR.tscDeadline, saved.tscDeadline)]) }
        }
        try give(saved.events, kvm_vcpu_events.self, CL_KVM_SET_VCPU_EVENTS, "events", at)
    }

    /// Behind the special registers, which say whether the vCPU may have guests (EFER.SVME, CR4.VMXE), and behind the MSR
    /// that Intel's lock of that is (IA32_FEATURE_CONTROL).
    private func restoreNested(
        _ saved: SavedVCPU, _ sizes: VCPUStateSizes, _ at: String
    ) throws(SnapshotError) {
        guard let nested = saved.nested, sizes.nested > 0 || saved.hasGuests else { return }
        try step("\(at).nested") { () throws(KVMError) in
            guard sizes.nested > 0 else { throw .missing(capability: KVMCapability.nestedState.name) }
            if let lock = saved.msrs.first(where: { $0.index == StateMSR.featureControl }), lock.value != 0 {
                try setMSRs([lock])
            }
            try setNestedState(nested.bytes)
        }
    }

    private func restoreSpecial(_ saved: SavedVCPU, _ at: String) throws(SnapshotError) {
        if let special = saved.special2 {
            return try give(special, kvm_sregs2.self, CL_KVM_SET_SREGS2, "special2", at)
        }
        guard let special = saved.special else {
            throw SnapshotError(
                .malformed, field: "\(at).special", "this field is missing, and special2 too; the snapshot is damaged")
        }
        try give(special, kvm_sregs.self, CL_KVM_SET_SREGS, "special", at)
    }

    /// Sets those MSRs that are not what they were.
    ///
    /// Those that say what the processor can do are read-only on some hosts; where they agree nothing has to be set. One
    /// that this host does not have does not matter as long as the guest never used it.
    private func restoreMSRs(_ saved: [MSR], _ at: String) throws(SnapshotError) {
        try step(at) { () throws(KVMError) in
            guard saved.count <= 4096 else { throw .exhausted("MSRs", limit: 4096) }
            let own = try readableMSRs(saved.map(\.index))
            let values = Dictionary(own.map { ($0.index, $0.value) }, uniquingKeysWith: { first, _ in first })
            var different = saved.filter { register in
                values[register.index] != register.value && (values[register.index] != nil || register.value != 0)
            }[...]
            while !different.isEmpty {
                try setMSRs(Array(different.prefix(Self.msrsAtOnce)))
                different = different.dropFirst(Self.msrsAtOnce)
            }
        }
    }

    /// Gives the guest's counter its frequency; where the host cannot, that may differ as little as no guest notices.
    private func setFrequency(_ wanted: UInt32) throws(KVMError) {
        guard wanted > 0, let own = try? tscKilohertz(), own != wanted else { return }
        let result = cl_ioctl_value(file.raw, CL_KVM_SET_TSC_KHZ, UInt(wanted))
        if result >= 0 {
            hostKilohertz.store(own, ordering: .relaxed)
            return
        }
        // Two measurements of one clock differ by up to 250 parts in a million.
        guard max(own, wanted) - min(own, wanted) <= wanted / 4000 else {
            throw .request(
                "run the guest's time stamp counter at \(wanted) kHz on this host, whose own has \(own) kHz and which "
                    + "does not scale it (KVM_CAP_TSC_CONTROL)", Errno(-result))
        }
    }

    private func give<Structure: BitwiseCopyable>(
        _ bytes: RawBytes, _ type: Structure.Type, _ number: UInt, _ field: String, _ at: String
    ) throws(SnapshotError) {
        let value = try bytes.value(as: Structure.self, "\(at).\(field)")
        try step("\(at).\(field)") { () throws(KVMError) in try set(number, value, field) }
    }

    private func step(_ field: String, _ body: () throws(KVMError) -> Void) throws(SnapshotError) {
        do throws(KVMError) { try body() } catch { throw SnapshotError(.malformed, field: field, "\(error)") }
    }
}
