import CLinux
import KVM

/// The notes that a core file has of each vCPU.
enum VCPUNotes {
    /// NT_PRSTATUS: the registers as gdb and crash read them (Linux' struct elf_prstatus for x86_64, 336 bytes).
    static func status(_ vcpu: Int, _ registers: kvm_regs, _ special: kvm_sregs) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 32)
        bytes.putLittleEndian(UInt32(vcpu + 1))  // pid: gdb shows a thread for each
        bytes += [UInt8](repeating: 0, count: 112 - bytes.count)
        let order: [UInt64] = [
            registers.r15, registers.r14, registers.r13, registers.r12, registers.rbp, registers.rbx, registers.r11,
            registers.r10, registers.r9, registers.r8, registers.rax, registers.rcx, registers.rdx, registers.rsi,
            registers.rdi, .max, registers.rip, UInt64(special.cs.selector), registers.rflags, registers.rsp,
            UInt64(special.ss.selector), special.fs.base, special.gs.base, UInt64(special.ds.selector),
            UInt64(special.es.selector), UInt64(special.fs.selector), UInt64(special.gs.selector),
        ]
        for value in order { bytes.putLittleEndian(value) }
        bytes += [UInt8](repeating: 0, count: 8)
        return ELFCore.note("CORE", type: 1, bytes)
    }

    /// The note "QEMU": what crash needs beyond that, the control registers and descriptor tables above all.
    static func system(_ registers: kvm_regs, _ special: kvm_sregs, kernelGSBase: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.putLittleEndian(UInt32(1))
        bytes.putLittleEndian(UInt32(440))
        let general: [UInt64] = [
            registers.rax, registers.rbx, registers.rcx, registers.rdx, registers.rsi, registers.rdi, registers.rsp,
            registers.rbp, registers.r8, registers.r9, registers.r10, registers.r11, registers.r12, registers.r13,
            registers.r14, registers.r15, registers.rip, registers.rflags,
        ]
        for value in general { bytes.putLittleEndian(value) }
        for segment in [
            special.cs, special.ds, special.es, special.fs, special.gs, special.ss, special.ldt, special.tr,
        ] {
            put(selector: segment.selector, limit: segment.limit, flags: flags(segment), base: segment.base, &bytes)
        }
        for table in [special.gdt, special.idt] {
            put(selector: 0, limit: UInt32(table.limit), flags: 0, base: table.base, &bytes)
        }
        for value in [special.cr0, 0, special.cr2, special.cr3, special.cr4] { bytes.putLittleEndian(value) }
        bytes.putLittleEndian(kernelGSBase)
        return ELFCore.note("QEMU", type: 0, bytes)
    }

    private static func put(
        selector: UInt16, limit: UInt32, flags: UInt32, base: UInt64, _ bytes: inout [UInt8]
    ) {
        bytes.putLittleEndian(UInt32(selector))
        bytes.putLittleEndian(limit)
        bytes.putLittleEndian(flags)
        bytes.putLittleEndian(UInt32(0))
        bytes.putLittleEndian(base)
    }

    /// The second word of a segment's descriptor without its base and limit (SDM volume 3, 3.4.5).
    private static func flags(_ segment: kvm_segment) -> UInt32 {
        var flags = UInt32(segment.type) << 8
        flags |= UInt32(segment.s) << 12
        flags |= UInt32(segment.dpl) << 13
        flags |= UInt32(segment.present) << 15
        flags |= UInt32(segment.avl) << 20
        flags |= UInt32(segment.l) << 21
        flags |= UInt32(segment.db) << 22
        flags |= UInt32(segment.g) << 23
        return flags
    }
}
