// Interrupts: the table, the local APIC (SDM volume 3, chapter 11) in either mode, and waiting for a vector.

enum Vector {
    static let timer: UInt32 = 0x40
    static let call: UInt32 = 0x41
    static let event: UInt32 = 0x42
    static let queues: UInt32 = 0x50
    static let spurious: UInt32 = 0x7F
}

enum Interrupts {
    /// Fills the table with the stubs of interrupts.S and loads it. The old interrupt controllers are masked: firmware
    /// that ran before may have left them on, with vectors among the exceptions.
    static func start() {
        portWrite8(0x21, 0xFF)
        portWrite8(0xA1, 0xFF)
        let stubs = Image.interruptStubs.address
        let table = Image.interruptTable.address
        for vector in 0..<UInt64(128) {
            let stub = stubs + vector * 16
            // Interrupt gate, present, the 64-bit code segment.
            memoryWrite64(table + vector * 16, stub & 0xFFFF | 0x08 << 16 | 0x8E00 << 32 | (stub >> 16) << 48)
            memoryWrite64(table + vector * 16 + 8, stub >> 32)
        }
        loadIDT()
    }

    /// How often the vector was taken, on all CPUs together.
    static func count(_ vector: UInt32) -> UInt32 {
        memoryRead32(Image.interruptCounts.address + UInt64(vector) * 4)
    }

    /// Lets interrupts in until the vector has been taken more than `before` times.
    ///
    /// The time is generous because a host with more vCPUs than processors may leave one aside for a second.
    static func wait(_ vector: UInt32, after before: UInt32, milliseconds: UInt64 = 3000) -> Bool {
        Clock.wait(milliseconds: milliseconds) {
            if count(vector) != before { return true }
            interruptWindow()
            return count(vector) != before
        }
    }
}

enum LocalAPIC {
    nonisolated(unsafe) private static var x2APIC = false
    nonisolated(unsafe) private static var base: UInt64 = 0
    static var isX2APIC: Bool { x2APIC }

    /// Chooses the mode for all CPUs.
    static func choose(x2APIC wanted: Bool) {
        x2APIC = wanted && cpuid(1).ecx & 1 << 21 != 0
        base = readMSR(0x1B) & 0x000F_FFFF_FFFF_F000
        if !x2APIC {
            Paging.map(base, 4096)
            memoryWrite64(Image.localAPIC.address, base)
        }
    }

    /// Turns this CPU's on.
    static func start() {
        writeMSR(0x1B, readMSR(0x1B) | 1 << 11)
        // The step to x2APIC mode is taken from the enabled xAPIC mode (11.12.5).
        if x2APIC { writeMSR(0x1B, readMSR(0x1B) | 3 << 10) }
        write(0xF0, 0x100 | Vector.spurious)
        write(0x80, 0)
    }

    static func read(_ register: UInt32) -> UInt32 {
        x2APIC
            ? UInt32(truncatingIfNeeded: readMSR(0x800 + register >> 4)) : memoryRead32(base + UInt64(register))
    }

    static func write(_ register: UInt32, _ value: UInt32) {
        if x2APIC {
            writeMSR(0x800 + register >> 4, UInt64(value))
        } else {
            memoryWrite32(base + UInt64(register), value)
        }
    }

    static var id: UInt32 { x2APIC ? read(0x20) : read(0x20) >> 24 }

    /// Sends an interrupt command to one CPU.
    static func send(to target: UInt32, _ command: UInt32) {
        if x2APIC {
            memoryFence()
            writeMSR(0x830, UInt64(target) << 32 | UInt64(command))
        } else {
            _ = Clock.wait(milliseconds: 10) { read(0x300) & 1 << 12 == 0 }
            write(0x310, target << 24)
            write(0x300, command)
        }
    }
}

/// An I/O APIC's redirection entries.
struct IOAPIC {
    let address: UInt64
    let base: UInt32

    init(at address: UInt64, base: UInt32) {
        self.address = address
        self.base = base
        Paging.map(address, 32)
    }

    private func write(_ register: UInt32, _ value: UInt32) {
        memoryWrite32(address, register)
        memoryWrite32(address + 16, value)
    }

    /// Entries that it has.
    var count: UInt32 {
        memoryWrite32(address, 1)
        return (memoryRead32(address + 16) >> 16 & 0xFF) + 1
    }

    /// Sends `gsi` to this CPU as `vector`: edge, active high.
    func route(_ gsi: UInt32, to vector: UInt32) {
        let entry = 0x10 + 2 * (gsi - base)
        write(entry + 1, LocalAPIC.id << 24)
        write(entry, vector)
    }
}
