import CLinux

/// A capability that KVM_CHECK_EXTENSION is asked for. Kernel: api.rst section 4.4, 6, 7 and 8.
package struct KVMCapability: Equatable, Sendable {
    /// The kernel's number.
    package let number: Int32
    /// The kernel's name.
    package let name: String
    /// What it is for, in a few words.
    package let purpose: String
    /// What a host that lacks it needs.
    package let remedy: String

    init(_ number: Int32, _ name: String, _ purpose: String, remedy: String = "a newer kernel has it") {
        (self.number, self.name, self.purpose, self.remedy) = (number, name, purpose, remedy)
    }

    package static let userMemory = KVMCapability(CL_KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory")
    package static let interruptChip = KVMCapability(CL_KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "APICs in the kernel")
    package static let interruptRouting = KVMCapability(
        CL_KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", "MSI-X interrupts")
    package static let irqfd = KVMCapability(CL_KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "interrupts from device threads")
    package static let ioeventfd = KVMCapability(CL_KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "queue notifications")
    package static let immediateExit = KVMCapability(
        CL_KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "stopping vCPUs")
    package static let extendedCPUID = KVMCapability(CL_KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "CPUID")
    package static let multiprocessorState = KVMCapability(CL_KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "SMP")
    package static let x2apicAPI = KVMCapability(CL_KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API", "more than 254 vCPUs")
    package static let tscDeadline = KVMCapability(
        CL_KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER", "the TSC deadline timer")
    package static let adjustClock = KVMCapability(CL_KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", "kvmclock")
    package static let tscFrequency = KVMCapability(
        CL_KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ", "the TSC's frequency")
    package static let tscControl = KVMCapability(
        CL_KVM_CAP_TSC_CONTROL, "KVM_CAP_TSC_CONTROL", "moving guests between TSC frequencies",
        remedy:
            "it takes a processor that scales its TSC, and a hypervisor below this host, if there is one, that lets it")
    package static let xsave2 = KVMCapability(CL_KVM_CAP_XSAVE2, "KVM_CAP_XSAVE2", "snapshots of large registers")
    package static let xsave = KVMCapability(CL_KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "snapshots")
    package static let specialRegisters2 = KVMCapability(
        CL_KVM_CAP_SREGS2, "KVM_CAP_SREGS2", "snapshots of guests with 32-bit PAE paging")
    package static let xcrs = KVMCapability(CL_KVM_CAP_XCRS, "KVM_CAP_XCRS", "snapshots")
    package static let dirtyLogProtect = KVMCapability(
        CL_KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", "migration")
    package static let dirtyRing = KVMCapability(CL_KVM_CAP_DIRTY_LOG_RING, "KVM_CAP_DIRTY_LOG_RING", "migration")
    package static let deferredWrites = KVMCapability(
        CL_KVM_CAP_COALESCED_MMIO, "KVM_CAP_COALESCED_MMIO", "fewer exits")
    package static let deferredPortWrites = KVMCapability(
        CL_KVM_CAP_COALESCED_PIO, "KVM_CAP_COALESCED_PIO", "fewer exits for PCI configuration")
    package static let nestedState = KVMCapability(
        CL_KVM_CAP_NESTED_STATE, "KVM_CAP_NESTED_STATE", "VMs inside the guest",
        remedy:
            "load kvm_intel or kvm_amd with nested=1, on Linux 4.20 or newer, where the processor's virtualisation is real"
    )
    package static let maximumVCPUs = KVMCapability(CL_KVM_CAP_MAX_VCPUS, "KVM_CAP_MAX_VCPUS", "vCPUs")
    package static let maximumVCPUID = KVMCapability(CL_KVM_CAP_MAX_VCPU_ID, "KVM_CAP_MAX_VCPU_ID", "APIC ids")
    package static let memorySlots = KVMCapability(CL_KVM_CAP_NR_MEMSLOTS, "KVM_CAP_NR_MEMSLOTS", "memory slots")

    /// What no guest runs without.
    package static let required: [KVMCapability] = [
        .userMemory, .interruptChip, .interruptRouting, .irqfd, .ioeventfd, .immediateExit, .extendedCPUID,
        .multiprocessorState,
    ]
    /// What some features need.
    package static let optional: [KVMCapability] = [
        .x2apicAPI, .tscDeadline, .adjustClock, .tscFrequency, .tscControl, .xsave2, .xcrs, .dirtyLogProtect,
        .dirtyRing, .nestedState, .deferredPortWrites,
    ]
}
