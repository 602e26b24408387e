// Time: the TSC and its frequency, from whoever knows it.

enum Clock {
    /// TSC cycles a millisecond.
    nonisolated(unsafe) private(set) static var kilohertz: UInt64 = 2_000_000

    /// Finds the frequency and prints it with its source.
    static func start(_ acpi: ACPI) {
        let source: StaticString
        if let found = fromHypervisorLeaf() {
            (kilohertz, source) = (found, "CPUID 0x40000010")
        } else if let found = fromTSCLeaf() {
            (kilohertz, source) = (found, "CPUID 0x15")
        } else if let found = fromKVMClock() {
            (kilohertz, source) = (found, "kvmclock")
        } else if let found = fromPMTimer(acpi) {
            (kilohertz, source) = (found, "ACPI PM timer")
        } else {
            source = "nobody told, an assumption"
        }
        say("tsc: \(kilohertz) kHz (\(source))")
    }

    /// The TSC's value `milliseconds` from now.
    static func deadline(milliseconds: UInt64) -> UInt64 { readTSC() &+ milliseconds &* kilohertz }

    static func nanoseconds(_ cycles: UInt64) -> UInt64 { cycles &* 1_000_000 / kilohertz }

    /// Waits until `done` says yes.
    /// - Returns: whether it did within the time.
    static func wait(milliseconds: UInt64, until done: () -> Bool) -> Bool {
        let end = deadline(milliseconds: milliseconds)
        while !done() {
            if readTSC() > end { return done() }
            pauseCPU()
        }
        return true
    }

    static func pause(microseconds: UInt64) {
        let end = readTSC() &+ microseconds &* kilohertz / 1000
        while readTSC() < end { pauseCPU() }
    }

    private static func fromHypervisorLeaf() -> UInt64? {
        guard cpuid(1).ecx >> 31 == 1, cpuid(0x4000_0000).eax >= 0x4000_0010 else { return nil }
        return plausible(UInt64(cpuid(0x4000_0010).eax))
    }

    /// SDM, CPUID leaf 15H: crystal in ecx, times ebx over eax.
    private static func fromTSCLeaf() -> UInt64? {
        guard cpuid(0).eax >= 0x15 else { return nil }
        let leaf = cpuid(0x15)
        guard leaf.eax != 0 else { return nil }
        return plausible(UInt64(leaf.ecx) * UInt64(leaf.ebx) / UInt64(leaf.eax) / 1000)
    }

    /// KVM's paravirtual clock (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW): the page tells how many
    /// nanoseconds a cycle takes, as a 32-bit fraction and a shift.
    private static func fromKVMClock() -> UInt64? {
        guard KVM.isPresent, KVM.features & 1 << 3 != 0 else { return nil }
        let page = DMA.pages()
        writeMSR(0x4B56_4D01, page | 1)
        let multiplier = UInt64(memoryRead32(page + 24))
        let shift = Int8(bitPattern: memoryRead8(page + 28))
        writeMSR(0x4B56_4D01, 0)
        guard multiplier != 0, shift > -32, shift < 32 else { return nil }
        let scaled = (1_000_000 << 32) / multiplier
        return plausible(shift >= 0 ? scaled >> UInt64(shift) : scaled << UInt64(-shift))
    }

    /// The PM timer (ACPI 6.5, 4.8.3.3) runs at 3.579545 MHz; at least 24 bits count.
    private static func fromPMTimer(_ acpi: ACPI) -> UInt64? {
        guard let fadt = acpi.fadt, fadt.read32(112) & 1 << 20 == 0 else { return nil }
        let port = UInt16(truncatingIfNeeded: fadt.read32(76))
        guard port != 0 else { return nil }
        let first = portRead32(port)
        let start = readTSC()
        var polls = 1_000_000
        var ticks: UInt32 = 0
        while ticks < 17898, polls > 0 {
            ticks = (portRead32(port) &- first) & 0xFF_FFFF
            polls -= 1
        }
        let cycles = readTSC() &- start
        return ticks < 17898 ? nil : plausible(cycles &* 3_579_545 / UInt64(ticks) / 1_000_000 &* 1000)
    }

    private static func plausible(_ value: UInt64) -> UInt64? { value > 100_000 && value < 20_000_000 ? value : nil }
}

/// KVM's own CPUID leaves (Documentation/virt/kvm/x86/cpuid.rst).
enum KVM {
    static var isPresent: Bool {
        guard cpuid(1).ecx >> 31 == 1 else { return false }
        let leaf = cpuid(0x4000_0000)
        return leaf.ebx == 0x4B4D_564B && leaf.ecx == 0x564B_4D56 && leaf.edx == 0x4D
    }
    static var features: UInt32 { cpuid(0x4000_0001).eax }
}

enum CPU {
    static func report() {
        let vendor = cpuid(0)
        tell("cpu: \(letters: vendor.ebx)\(letters: vendor.edx)\(letters: vendor.ecx)")
        let leaf = cpuid(1)
        let largest = cpuid(0x8000_0000).eax
        tell(", signature \(hex: leaf.eax)")
        if largest >= 0x8000_0008 { tell(", \(cpuid(0x8000_0008).eax & 0xFF) address bits") }
        say("")
        if largest >= 0x8000_0004 { reportBrand() }
        if leaf.ecx >> 31 == 1 {
            let hypervisor = cpuid(0x4000_0000)
            tell("hypervisor: \(letters: hypervisor.ebx)\(letters: hypervisor.ecx)\(letters: hypervisor.edx)")
            say(", leaves to \(hex: hypervisor.eax)")
        } else {
            say("hypervisor: none announced")
        }
    }

    /// Three leaves of sixteen letters each.
    private static func reportBrand() {
        guard cpuid(0x8000_0002).eax != 0 else { return say("cpu: no brand string") }
        tell("cpu: ")
        for leaf: UInt32 in 0x8000_0002...0x8000_0004 {
            let part = cpuid(leaf)
            tell("\(letters: part.eax)\(letters: part.ebx)\(letters: part.ecx)\(letters: part.edx)")
        }
        say("")
    }
}
