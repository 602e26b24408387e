import CLinux
import Host
import Snapshot

/// All that a vCPU is, as a snapshot keeps it: the kernel's structures as KVM hands them out, and the registers beside.
///
/// Each is taken and given back in an order that KVM asks for: `VCPUHandle.save` and `VCPUHandle.restore` keep it.
package struct SavedVCPU: SavedState {
    package static let kind = "vcpu"
    /// 2 since CPUID leaves and MSRs are lists of numbers.
    package static let version = 2
    package static let readableVersions = [1, 2]

    /// The APIC id.
    package var apicID: UInt32
    /// The CPUID leaves that the guest was given.
    @FlatNumbers package var cpuid: [CPUIDEntry]
    /// KVM_MP_STATE_…: whether it runs, halts, or waits for INIT or SIPI.
    package var multiprocessor: UInt32
    /// `kvm_regs`.
    package var registers: RawBytes
    /// `kvm_sregs2`, with the page directory pointers of PAE paging; nil where KVM does not have it.
    package var special2: RawBytes?
    /// `kvm_sregs`, where there is no `special2`.
    package var special: RawBytes?
    /// `kvm_nested_state` of a vCPU that may run guests of its own; nil where KVM has none.
    package var nested: RawBytes?
    /// The XSAVE area (SDM volume 1, 13.4) in its standard form.
    package var xsave: RawBytes
    /// `kvm_xcrs`.
    package var extendedControl: RawBytes
    /// `kvm_debugregs`.
    package var debug: RawBytes
    /// `kvm_lapic_state`.
    package var localAPIC: RawBytes
    /// The MSRs, all but the time stamp counter and its deadline.
    @FlatNumbers package var msrs: [MSR]
    /// `kvm_vcpu_events`: exceptions, interrupts and NMIs on their way.
    package var events: RawBytes
    /// The guest's time stamp counter when it stopped, and its frequency in kHz, 0 where KVM does not tell.
    package var tsc: UInt64, tscKilohertz: UInt32
    /// IA32_TSC_DEADLINE in the guest's ticks; 0 where no timer is set.
    package var tscDeadline: UInt64

    /// Whether the guest has guests of its own: the nested state has more than its header, or says that one runs
    /// (KVM_STATE_NESTED_GUEST_MODE, KVM_STATE_NESTED_RUN_PENDING).
    var hasGuests: Bool {
        guard let bytes = nested?.bytes else { return false }
        return bytes.count > 128 || (bytes.first ?? 0) & 3 != 0
    }
}

/// MSRs that a snapshot treats by themselves, and those that make up a state beside the ones that KVM lists.
enum StateMSR {
    /// IA32_TIME_STAMP_COUNTER, kept by its offset, and IA32_TSC_DEADLINE, kept apart since it follows the local APIC.
    static let tsc: UInt32 = 0x10, tscDeadline: UInt32 = 0x6E0
    /// IA32_FEATURE_CONTROL.
    static let featureControl: UInt32 = 0x3A
    /// The memory type range registers (SDM volume 3, 12.11.2), which the kernel's list leaves out.
    static let memoryTypes: [UInt32] =
        (0x200...0x20F).map { $0 } + [0x250, 0x258, 0x259] + (0x268...0x26F).map { $0 } + [0x2FF]
}

extension VCPUHandle {
    /// The MSRs of a state: those that this vCPU has of KVM's list, and its memory type registers.
    private func stateMSRs(_ listed: [UInt32]) throws(KVMError) -> [MSR] {
        let apart: Set<UInt32> = [StateMSR.tsc, StateMSR.tscDeadline]
        var wanted = listed.filter { !apart.contains($0) }
        wanted += StateMSR.memoryTypes.filter { !wanted.contains($0) }
        return try readableMSRs(wanted)
    }

    /// How many MSRs are asked for and set at once; KVM takes up to 256 (MAX_IO_MSRS).
    static let msrsAtOnce = 128

    /// The MSRs among some that this vCPU has. KVM's list is the host's: a vCPU without a feature has none of its MSRs.
    package func readableMSRs(_ wanted: [UInt32]) throws(KVMError) -> [MSR] {
        var values: [MSR] = []
        var next = 0
        while next < wanted.count {
            let part = Array(wanted[next..<min(next + Self.msrsAtOnce, wanted.count)])
            let read = try msrs(part)
            values += read
            // KVM stops at the first that it cannot read.
            next += read.count < part.count ? read.count + 1 : read.count
        }
        return values
    }

    /// Takes all that the vCPU is, while it stands still.
    ///
    /// - Parameters:
    ///   - listed: `KVMSystem.stateMSRs`.
    ///   - sizes: of the VM's structures.
    ///   - hostTSC: the host's counter at the moment that the guest's is told for, in ticks.
    package func save(
        _ listed: [UInt32], _ sizes: VCPUStateSizes, hostTSC: UInt64
    ) throws(KVMError) -> SavedVCPU {
        // First, since it carries out an INIT or SIPI that waits, which changes what follows (api.rst 4.38).
        let multiprocessor = try multiprocessorState().mp_state
        let registers = RawBytes(of: try self.registers())
        var (special, special2): (RawBytes?, RawBytes?)
        if sizes.hasSpecialRegisters2 {
            special2 = RawBytes(of: try get(CL_KVM_GET_SREGS2, kvm_sregs2(), "special registers"))
        } else {
            special = RawBytes(of: try specialRegisters())
        }
        let nested = try nestedState(sizes).map { RawBytes($0) }
        let xsave = RawBytes(try self.xsave(sizes))
        let xcrs = RawBytes(of: try get(CL_KVM_GET_XCRS, kvm_xcrs(), "extended control registers"))
        let debug = RawBytes(of: try get(CL_KVM_GET_DEBUGREGS, kvm_debugregs(), "debug registers"))
        let localAPIC = RawBytes(of: try self.localAPIC())
        let (tsc, kilohertz) = try guestTSC(hostTSC)
        let deadline = try msrs([StateMSR.tscDeadline]).first?.value ?? 0
        let msrs = try stateMSRs(listed)
        // Last: what the others carried out is in it.
        let events = RawBytes(of: try get(CL_KVM_GET_VCPU_EVENTS, kvm_vcpu_events(), "events"))
        return SavedVCPU(
            apicID: id, cpuid: cpuid, multiprocessor: multiprocessor, registers: registers, special2: special2,
            special: special, nested: nested, xsave: xsave, extendedControl: xcrs, debug: debug, localAPIC: localAPIC,
            msrs: msrs,
            events: events, tsc: tsc, tscKilohertz: kilohertz, tscDeadline: deadline)
    }

    /// What of a state never changes, and nothing for the rest: while the vCPU runs, which nobody has to leave for that.
    package var outline: SavedVCPU {
        SavedVCPU(
            apicID: id, cpuid: cpuid, multiprocessor: 0, registers: RawBytes([]), xsave: RawBytes([]),
            extendedControl: RawBytes([]), debug: RawBytes([]), localAPIC: RawBytes([]), msrs: [], events: RawBytes([]),
            tsc: 0, tscKilohertz: 0, tscDeadline: 0)
    }

    /// What KVM keeps of the guests of this vCPU's own (KVM_GET_NESTED_STATE, api.rst 4.114).
    private func nestedState(_ sizes: VCPUStateSizes) throws(KVMError) -> [UInt8]? {
        guard sizes.nested > 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: sizes.nested)
        // The third field, a word, is how much there is room for, and then how much there is.
        for byte in 0..<4 { bytes[4 + byte] = UInt8(truncatingIfNeeded: sizes.nested >> (8 * byte)) }
        // SAFETY: KVM fills no more than the size in the structure, which is the array's.
        try unsafe transferBytes(file.raw, CL_KVM_GET_NESTED_STATE, &bytes, "read the nested state of vCPU \(id)")
        let filled = (0..<4).reduce(0) { $0 | Int(bytes[4 + $1]) << (8 * $1) }
        return Array(bytes.prefix(min(max(filled, Self.nestedHeader), bytes.count)))
    }

    /// Bytes of `kvm_nested_state` before its data.
    private static let nestedHeader = 128

    func setNestedState(_ saved: [UInt8]) throws(KVMError) {
        var bytes = saved
        let claimed = bytes.count < 8 ? 0 : (0..<4).reduce(0) { $0 | Int(bytes[4 + $1]) << (8 * $1) }
        guard bytes.count >= Self.nestedHeader, claimed == bytes.count else {
            throw .request("set a nested state of \(bytes.count) bytes that says it has \(claimed)", .invalid)
        }
        // SAFETY: KVM reads as many bytes as the structure says, which was checked to be the array's.
        try unsafe transferBytes(file.raw, CL_KVM_SET_NESTED_STATE, &bytes, "set the nested state of vCPU \(id)")
    }

    private func xsave(_ sizes: VCPUStateSizes) throws(KVMError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: sizes.xsave)
        let number = sizes.hasXSAVE2 ? CL_KVM_GET_XSAVE2 : CL_KVM_GET_XSAVE
        // SAFETY: the space is as long as KVM says that it fills (KVM_CAP_XSAVE2), at least a page.
        try unsafe transferBytes(file.raw, number, &bytes, "read the XSAVE area of vCPU \(id)")
        return bytes
    }

    func setXSAVE(_ saved: [UInt8], _ sizes: VCPUStateSizes) throws(KVMError) {
        var bytes = saved + [UInt8](repeating: 0, count: max(0, sizes.xsave - saved.count))
        // SAFETY: KVM reads as many bytes as KVM_CAP_XSAVE2 says, which are there.
        try unsafe transferBytes(file.raw, CL_KVM_SET_XSAVE, &bytes, "set the XSAVE area of vCPU \(id)")
    }

    // MARK: Time

    /// The guest's counter when the host's had a value, and its frequency.
    private func guestTSC(_ hostTSC: UInt64) throws(KVMError) -> (ticks: UInt64, kilohertz: UInt32) {
        let kilohertz = (try? tscKilohertz()) ?? 0
        if let offset = tscOffset() { return (tscScale.guestTicks(hostTSC) &+ offset, kilohertz) }
        let now = try msrs([StateMSR.tsc]).first?.value ?? 0
        return (now &- tscScale.guestTicks(HostTSC.now &- hostTSC), kilohertz)
    }

    /// Between the host's counter and the guest's.
    package var tscScale: TSCScale {
        let own = (try? tscKilohertz()) ?? 0
        let host = hostKilohertz.load(ordering: .relaxed)
        return TSCScale(guest: own, host: host == 0 ? own : host)
    }

    /// Has the guest's counter be `ticks` when the host's was `hostTSC`.
    package func setGuestTSC(_ ticks: UInt64, whenHost hostTSC: UInt64) throws(KVMError) {
        let scale = tscScale
        if tscOffset() != nil, setTSCOffset(ticks &- scale.guestTicks(hostTSC)) { return }
        try setMSRs([MSR(StateMSR.tsc, ticks &+ scale.guestTicks(HostTSC.now &- hostTSC))])
    }

    /// Sets the deadline timer anew, so that it follows the counter as that is now.
    package func renewDeadline() throws(KVMError) {
        guard let deadline = try msrs([StateMSR.tscDeadline]).first?.value, deadline != 0 else { return }
        try setMSRs([MSR(StateMSR.tscDeadline, deadline)])
    }
}

/// How many bytes the structures have whose size is the host's matter, and which of them there are.
package struct VCPUStateSizes: Equatable, Sendable {
    /// Bytes of the XSAVE area.
    package let xsave: Int
    /// The most bytes of a nested state; 0 where KVM has none.
    package let nested: Int
    /// Whether KVM_GET_XSAVE2 and KVM_GET_SREGS2 are there.
    package let hasXSAVE2: Bool, hasSpecialRegisters2: Bool

    /// Asks a VM.
    ///
    /// - Throws: `missing` where KVM has none of what a vCPU's state takes.
    package init(_ machine: VMHandle) throws(KVMError) {
        for capability in [KVMCapability.xsave, .xcrs] where machine.value(of: capability) == 0 {
            throw .missing(capability: capability.name)
        }
        let wanted = machine.value(of: .xsave2)
        hasXSAVE2 = wanted > 0
        nested = machine.value(of: .nestedState)
        // Without the capability the area is one page (api.rst 4.42).
        xsave = max(wanted, 4096)
        hasSpecialRegisters2 = machine.value(of: .specialRegisters2) > 0
    }
}

/// Ticks of a guest's time stamp counter for those of the host's.
package struct TSCScale: Equatable, Sendable {
    private let guest: UInt64, host: UInt64

    /// - Parameters:
    ///   - guest: the guest's frequency in kHz, as KVM makes it.
    ///   - host: the host's in kHz, as KVM measured it.
    package init(guest: UInt32, host: UInt32) { (self.guest, self.host) = (UInt64(guest), UInt64(host)) }

    /// How many ticks the guest's counter makes while the host's makes so many.
    package func guestTicks(_ hostTicks: UInt64) -> UInt64 {
        guard guest != host, host > 0 else { return hostTicks }
        let product = hostTicks.multipliedFullWidth(by: guest)
        guard product.high < host else { return hostTicks }
        return host.dividingFullWidth(product).quotient
    }

    /// How many ticks the guest's counter makes in a time.
    package func guestTicks(nanoseconds: UInt64) -> UInt64 {
        let product = nanoseconds.multipliedFullWidth(by: guest)
        guard product.high < 1_000_000 else { return .max }
        return UInt64(1_000_000).dividingFullWidth(product).quotient
    }
}
