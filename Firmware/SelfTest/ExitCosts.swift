// What leaving guest mode costs: the smallest of many, in TSC cycles and nanoseconds.

enum ExitCosts {
    private static let rounds = 100

    static func measure(_ acpi: ACPI) {
        // What two readings of the counter cost by themselves comes off each figure.
        let overhead = least {}
        report("port write", least { portWrite8(0x80, 0) }, overhead)
        // The configuration space of the host bridge has no side effects. Without a window there is the I/O APIC,
        // which KVM answers in the kernel.
        if let mcfg = acpi.mcfg, mcfg.length >= 60 {
            let address = mcfg.read64(44)
            Paging.map(address, 4096)
            report("memory-mapped read, in the monitor", least { _ = memoryRead32(address) }, overhead)
        }
        let chip = UInt64(0xFEC0_0000)
        Paging.map(chip, 4096)
        report("memory-mapped read, I/O APIC", least { _ = memoryRead32(chip) }, overhead)
        report("cpuid", least { _ = cpuid(0) }, overhead)
    }

    private static func least(_ body: () -> Void) -> UInt64 {
        var least = UInt64.max
        for _ in 0..<rounds {
            let start = readTSC()
            body()
            least = min(least, readTSC() &- start)
        }
        return least
    }

    @inline(never)
    private static func report(_ name: StaticString, _ cycles: UInt64, _ overhead: UInt64) {
        let net = cycles > overhead ? cycles - overhead : 0
        say("exit: \(name): \(net) cycles, \(Clock.nanoseconds(net)) ns")
    }
}
