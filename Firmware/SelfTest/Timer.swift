// The local APIC's timer on the CPU that runs this.

enum Timer {
    /// What failed, one bit each.
    static let oneShotFailed: UInt32 = 1
    static let deadlineFailed: UInt32 = 2
    static let haltFailed: UInt32 = 4

    static var hasDeadline: Bool { cpuid(1).ecx & 1 << 24 != 0 }

    /// Takes an interrupt from the timer in each mode that the CPU has, then one out of HLT.
    static func test() -> UInt32 {
        var failed: UInt32 = 0
        let first = Interrupts.count(Vector.timer)
        LocalAPIC.write(0x320, Vector.timer)
        LocalAPIC.write(0x3E0, 0xB)
        LocalAPIC.write(0x380, 50_000)
        if !Interrupts.wait(Vector.timer, after: first) { failed |= oneShotFailed }
        if hasDeadline {
            let before = Interrupts.count(Vector.timer)
            LocalAPIC.write(0x320, Vector.timer | 2 << 17)
            memoryFence()
            writeMSR(0x6E0, readTSC() &+ Clock.kilohertz / 10)
            if !Interrupts.wait(Vector.timer, after: before) { failed |= deadlineFailed }
        }
        // HLT only behind a timer that is known to work: nothing else would end it.
        if failed == 0 {
            let before = Interrupts.count(Vector.timer)
            LocalAPIC.write(0x320, Vector.timer)
            LocalAPIC.write(0x380, 1_000_000)
            interruptWindowHalted()
            if Interrupts.count(Vector.timer) == before { failed |= haltFailed }
        }
        LocalAPIC.write(0x320, 1 << 16)
        return failed
    }
}
