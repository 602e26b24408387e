import CLinux
import KVM

/// The registers that the boot processor starts with.
package struct EntryState: Equatable, Sendable {
    /// The boot protocol, which decides the processor's mode.
    package enum Mode: Equatable, Sendable {
        /// 32-bit protected mode without paging, EBX pointing to the start information (PVH).
        case protected32(startInfo: UInt64)
        /// 64-bit mode on the given page tables, RSI pointing to the boot parameters (Linux).
        case long64(bootParameters: UInt64, pageTables: UInt64)
    }

    /// The mode.
    package let mode: Mode
    /// The first instruction's address.
    package let entry: UInt64

    /// Puts the state into a vCPU.
    package func apply(to vcpu: VCPUHandle) throws(KVMError) {
        var special = try vcpu.specialRegisters()
        var registers = kvm_regs()
        registers.rip = entry
        registers.rflags = 2
        let is64: Bool
        switch mode {
        case .protected32(let startInfo):
            is64 = false
            registers.rbx = startInfo
            special.cr0 = 0x11
            special.cr4 = 0
            special.efer = 0
        case .long64(let parameters, let tables):
            is64 = true
            registers.rsi = parameters
            registers.rsp = BootLayout.stack
            special.cr0 = 0x8000_0033
            special.cr3 = tables
            special.cr4 = 0x20
            special.efer = 0x500
        }
        let code = Self.segment(selector: 0x10, type: 0xB, is64: is64)
        let data = Self.segment(selector: 0x18, type: 0x3, is64: false)
        special.cs = code
        (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data)
        special.tr = Self.segment(selector: 0x20, type: 0xB, is64: false, system: true)
        special.gdt.base = BootLayout.gdt
        special.gdt.limit = UInt16(8 * Self.descriptors.count - 1)
        special.idt.base = 0
        special.idt.limit = 0
        try vcpu.setSpecialRegisters(special)
        try vcpu.setRegisters(registers)
    }

    private static func segment(selector: UInt16, type: UInt8, is64: Bool, system: Bool = false) -> kvm_segment {
        var segment = kvm_segment()
        segment.selector = selector
        segment.limit = system ? 0x67 : 0xFFFF_FFFF
        segment.type = type
        segment.present = 1
        segment.s = system ? 0 : 1
        segment.g = system ? 0 : 1
        segment.l = is64 ? 1 : 0
        segment.db = system || is64 ? 0 : 1
        return segment
    }

    /// The descriptor table that the segments above stand for (SDM volume 3, 3.4.5): null, unused, code, data, task.
    static let descriptors: [UInt64] = [
        0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067,
    ]
    static let protectedCode: UInt64 = 0x00CF_9B00_0000_FFFF

    /// The table's bytes for a mode.
    var descriptorTable: [UInt8] {
        var writer = ByteWriter()
        for (index, descriptor) in Self.descriptors.enumerated() {
            if index == 2, case .protected32 = mode {
                writer.append(Self.protectedCode)
            } else {
                writer.append(descriptor)
            }
        }
        return writer.bytes
    }
}
