// The ways to end or restart the machine: FADT registers (ACPI 6.5, 5.2.9 and 4.8.3.7), keyboard controller.

/// A Generic Address Structure (5.2.3.2) reduced to what a byte register needs.
struct Register {
    var space: UInt8 = 0xFF
    var address: UInt64 = 0

    init() {}
    init(_ table: ACPITable, _ offset: UInt64) {
        space = table.read8(offset)
        address = table.read64(offset + 4)
    }

    var exists: Bool { address != 0 && space <= 1 }

    func write(_ value: UInt8) {
        if space == 1 {
            portWrite8(UInt16(truncatingIfNeeded: address), value)
        } else {
            Paging.map(address, 1)
            memoryWrite8(address, value)
        }
    }
}

struct Power {
    var sleepControl = Register()
    var reset = Register()
    var resetValue: UInt8 = 0
    /// The PM1a control port of a machine that is not hardware-reduced, or 0.
    var control: UInt16 = 0
    /// The sleep type that `\_S5_` names.
    var sleepType: UInt8?

    init() {}

    init(_ acpi: ACPI) {
        guard let fadt = acpi.fadt else { return }
        let flags = fadt.read32(112)
        // Bit 20: HW_REDUCED_ACPI.
        if flags & 1 << 20 != 0 {
            sleepControl = Register(fadt, 244)
        } else {
            control = UInt16(truncatingIfNeeded: fadt.read32(64))
        }
        // Bit 10: RESET_REG_SUP.
        if flags & 1 << 10 != 0 {
            reset = Register(fadt, 116)
            resetValue = fadt.read8(128)
        }
        if let dsdt = acpi.dsdt { sleepType = Self.sleepType(in: dsdt) }
    }

    /// `Name (_S5_, Package () {type, …})`: PackageOp, PkgLength, NumElements, then an integer (20.2.3, 20.2.5.4).
    private static func sleepType(in dsdt: ACPITable) -> UInt8? {
        var address = dsdt.address + 36
        while true {
            let found = findWord(address, dsdt.end - address, ACPITable.signature("_S5_"))
            guard found != 0 else { return nil }
            address = found + 4
            // The package's length takes one to four bytes: the first one's top bits say how many follow.
            guard dsdt.end - address >= 5, memoryRead8(address) == 0x12 else { continue }
            let element = address + 3 + UInt64(memoryRead8(address + 1) >> 6)
            guard element + 1 < dsdt.end else { continue }
            switch memoryRead8(element) {
            case 0: return 0
            case 1: return 1
            case 0x0A: return memoryRead8(element + 1)
            default: continue
            }
        }
    }

    /// Enters S5. Returns when the machine has no register for it or does not react.
    func off() {
        guard let sleepType else { return }
        if sleepControl.exists {
            sleepControl.write(sleepType << 2 | 1 << 5)
        } else if control != 0 {
            portWrite16(control, UInt16(sleepType) << 10 | 1 << 13)
        }
    }

    /// Pulses the reset line through the keyboard controller.
    static func resetByKeyboardController() {
        var polls = 1000
        while polls > 0, portRead8(0x64) & 2 != 0 { polls -= 1 }
        portWrite8(0x64, 0xFE)
    }
}
