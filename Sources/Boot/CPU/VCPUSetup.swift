import CLinux
import KVM

/// Brings a new vCPU into the state that a PC's firmware leaves it in.
package enum VCPUSetup {
    private static let mtrrDefaultType: UInt32 = 0x2FF
    private static let miscEnable: UInt32 = 0x1A0

    /// Sets CPUID, the MSRs that matter, the FPU and the local APIC's pins.
    ///
    /// Application processors stay as KVM makes them, waiting for INIT and SIPI.
    package static func prepare(_ vcpu: VCPUHandle, cpuid: [CPUIDEntry]) throws(KVMError) {
        try vcpu.setCPUID(cpuid)
        // All memory is write-back unless page tables say otherwise (SDM volume 3, 12.11.2.1).
        try vcpu.setMSRs([MSR(mtrrDefaultType, 0xC06)])
        // Fast string operations; a nested KVM may refuse it, and nothing depends on it.
        try? vcpu.setMSRs([MSR(miscEnable, 1)])
        var fpu = kvm_fpu()
        fpu.fcw = 0x37F
        fpu.mxcsr = 0x1F80
        try vcpu.setFloatingPoint(fpu)
        try setInterruptPins(vcpu)
    }

    /// LINT0 takes the PIC's interrupts, LINT1 the NMI (SDM volume 3, 11.5.1).
    private static func setInterruptPins(_ vcpu: VCPUHandle) throws(KVMError) {
        var state = try vcpu.localAPIC()
        set(&state, 0x350, mode: 7)
        set(&state, 0x360, mode: 4)
        try vcpu.setLocalAPIC(state)
    }

    private static func set(_ state: inout kvm_lapic_state, _ register: Int, mode: UInt32) {
        var registers = LocalAPICPage(state)
        registers[register] = registers[register] & ~0x700 | mode << 8
        state = registers.state
    }
}
