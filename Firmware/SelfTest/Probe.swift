// Does this host run what a stock Linux kernel executes in kernel mode? Each line names an instruction before it is
// executed and says how it went after: a KVM that cannot emulate it ends the machine in between.

@_extern(c, "run_probe") func runProbe(_ index: UInt32) -> UInt32
@_extern(c, "burst") func burst(_ iterations: UInt64)

enum Probe {
    /// The instructions, in the order of the table in probes.S.
    private enum Instruction: UInt32 {
        case cmpxchg, cmpxchg16b, popcnt, bitScan, stringMove, swapgs, iretq, loadTask, writeCR4, writeCR8
        case invalidatePage, invpcid, writeback, clearTaskSwitched, x87, sse, xgetbv, xsave, xsaves, rdtscp
        case smap, fences, rdgsbase, rdrand, verw, cpuid, syscall, lretq
    }

    static func run(_ guest: Guest) -> Never {
        Clock.start(guest.acpi)
        Interrupts.start()
        speed()
        registers()
        instructions()
        say("probe: done")
        Result.finish()
    }

    /// Two instructions an iteration.
    private static func speed() {
        let iterations: UInt64 = 200_000
        tell("probe: burst ")
        let start = readTSC()
        burst(iterations)
        let time = max(Clock.nanoseconds(readTSC() &- start), 1)
        say("\(iterations * 2 * 1_000_000 / time * 1000) instructions/s ok")
    }

    /// Model-specific registers that Linux reads and writes as it starts; those that CPUID announces.
    private static func registers() {
        let features = cpuid(1)
        let structured = cpuid(0).eax >= 7 ? cpuid(7) : CPUIDResult()
        let extended = cpuid(0x8000_0001)
        register("efer", 0xC000_0080, true)
        register("star", 0xC000_0081, true)
        register("lstar", 0xC000_0082, true)
        register("cstar", 0xC000_0083, true)
        register("sfmask", 0xC000_0084, true)
        register("fs_base", 0xC000_0100, true)
        register("gs_base", 0xC000_0101, true)
        register("kernel_gs_base", 0xC000_0102, true)
        register("sysenter_cs", 0x174, true)
        register("apic_base", 0x1B, true)
        register("misc_enable", 0x1A0, false, reads: cpuid(0).ebx == ACPITable.signature("Genu"))
        register("pat", 0x277, features.edx & 1 << 16 != 0)
        register("mtrr_def_type", 0x2FF, features.edx & 1 << 12 != 0)
        register("tsc_adjust", 0x3B, structured.ebx & 1 << 1 != 0)
        register("tsc_aux", 0xC000_0103, extended.edx & 1 << 27 != 0)
        register("arch_capabilities", 0x10A, false, reads: structured.edx & 1 << 29 != 0)
        register("spec_ctrl", 0x48, structured.edx & 1 << 26 != 0)
        register("kvm_wall_clock", 0x4B56_4D00, false, reads: KVM.isPresent)
    }

    /// Reads it and, when it `writes`, writes the same back.
    private static func register(_ name: StaticString, _ index: UInt32, _ writes: Bool, reads: Bool = false) {
        guard reads || writes else { return }
        tell("probe: msr-\(name) ")
        memoryWrite32(Image.probeMSR.address, index)
        memoryWrite32(Image.probeMSR.address + 4, writes ? 1 : 0)
        verdict(runProbe(0))
    }

    private static func instructions() {
        let features = cpuid(1)
        let structured = cpuid(0).eax >= 7 ? cpuid(7) : CPUIDResult()
        let extended = cpuid(0x8000_0001)
        let hasXSAVE = features.ecx & 1 << 26 != 0
        probe("cpuid", .cpuid)
        probe("cmpxchg", .cmpxchg)
        probe("bsf-bsr", .bitScan)
        probe("rep-movsb", .stringMove)
        probe("popcnt", .popcnt, features.ecx & 1 << 23 != 0)
        probe("mfence-lfence", .fences)
        probe("rdtscp", .rdtscp, extended.edx & 1 << 27 != 0)
        probe("swapgs", .swapgs)
        probe("mov-cr4", .writeCR4)
        probe("mov-cr8", .writeCR8)
        probe("invlpg", .invalidatePage)
        probe("wbinvd", .writeback)
        probe("clts", .clearTaskSwitched)
        probe("ltr", .loadTask)
        probe("lretq", .lretq)
        probe("syscall-msr", .syscall)
        probe("rdrand", .rdrand, features.ecx & 1 << 30 != 0)
        probe("rdgsbase", .rdgsbase, structured.ebx & 1 != 0)
        probe("verw", .verw)
        probe("iretq", .iretq)
        probe("fninit", .x87)
        probe("movups", .sse)
        probe("clac-stac", .smap, structured.ebx & 1 << 20 != 0)
        probe("invpcid", .invpcid, structured.ebx & 1 << 10 != 0)
        probe("cmpxchg16b", .cmpxchg16b, features.ecx & 1 << 13 != 0)
        probe("xsetbv-xgetbv", .xgetbv, hasXSAVE)
        probe("xsave-xrstor", .xsave, hasXSAVE)
        probe("xsaves-xrstors", .xsaves, hasXSAVE && cpuid(0xD, 1).eax & 1 << 3 != 0)
    }

    private static func probe(_ name: StaticString, _ instruction: Instruction, _ announced: Bool = true) {
        guard announced else { return }
        tell("probe: \(name) ")
        verdict(runProbe(instruction.rawValue + 1))
    }

    @inline(never)
    private static func verdict(_ fault: UInt32) {
        if fault == 0 {
            say("ok")
        } else {
            Result.failures += 1
            say("exception \(fault - 1)")
        }
    }
}
