/// Where everything lies in the guest's physical memory and I/O space.
///
/// Addresses are guest-physical, in bytes. The machine is a PC as far as its boot protocols and Linux need one:
/// RAM below 640 KiB, a reserved area up to 1 MiB, RAM up to the 32-bit hole, and the rest above 4 GiB.
package enum MachineLayout {
    // MARK: Below 1 MiB

    /// RAM that boot data (page tables, `boot_params`, the command line) may use.
    package static let lowRAM: Range<UInt64> = 0..<0xA_0000
    /// Reserved in every memory map that the guest gets: a PC has its video memory and BIOS here.
    package static let biosArea: Range<UInt64> = 0xA_0000..<0x10_0000
    /// The ACPI tables, the RSDP at the first byte; a guest that scans for the RSDP (ACPI 6.5, 5.2.5.1) finds it here.
    package static let acpiTables: Range<UInt64> = 0xE_0000..<0xF_F000
    /// The VM's generation id, 16 bytes in memory that no guest takes for RAM of its own.
    package static let generationID: UInt64 = 0xF_F000
    /// Where a processor starts in real mode after a reset, 16 bytes before the end of the BIOS area.
    package static let resetVector: UInt64 = 0xF_FFF0
    /// Where the RSDP lies.
    package static let rsdp: UInt64 = acpiTables.lowerBound

    // MARK: RAM

    /// The first byte of RAM above the BIOS area.
    package static let highRAMStart: UInt64 = 0x10_0000
    /// The addresses below 4 GiB that are never RAM.
    package static let hole32: Range<UInt64> = 0xC000_0000..<0x1_0000_0000
    /// The first byte of RAM above the 32-bit hole.
    package static let ramAbove4GStart: UInt64 = hole32.upperBound

    // MARK: The 32-bit hole

    /// Where PCI BARs of 32 bits may lie.
    package static let pciMemory32: Range<UInt64> = 0xC000_0000..<0xE800_0000
    /// PCI buses, counted from bus 0 of segment 0.
    package static let pciBusCount = 1
    /// Bytes of ECAM for a bus: 32 devices of 8 functions of 4 KiB (PCI Express base specification, 7.2.2).
    package static let ecamBytesPerBus: UInt64 = 0x10_0000
    /// PCI Express' memory-mapped configuration space.
    package static let ecam: Range<UInt64> = 0xE800_0000..<(0xE800_0000 + UInt64(pciBusCount) * ecamBytesPerBus)
    /// The I/O APIC's registers, where KVM's interrupt chip puts them.
    package static let ioapic: UInt64 = 0xFEC0_0000
    /// The local APICs' registers.
    package static let localAPIC: UInt64 = 0xFEE0_0000
    /// The page for KVM_SET_IDENTITY_MAP_ADDR.
    package static let kvmIdentityMap: UInt64 = 0xFFFB_C000
    /// The first of three pages for KVM_SET_TSS_ADDR.
    package static let kvmTSS: UInt64 = 0xFFFB_D000

    // MARK: Interrupts (inputs of the I/O APIC, which KVM and ACPI call GSIs)

    /// The I/O APIC's id, and its first GSI.
    package static let ioapicID: UInt8 = 0
    package static let ioapicGSIBase: UInt32 = 0
    /// The first serial port's interrupt.
    package static let serialGSI: UInt32 = 4
    /// The interrupt of the ACPI generic event device.
    package static let eventGSI: UInt32 = 5

    // MARK: I/O ports

    /// Where PCI I/O BARs may lie.
    package static let pciPorts: ClosedRange<UInt16> = 0x1000...0xFFFF
    /// CONFIG_ADDRESS (4 bytes) of PCI's configuration mechanism.
    package static let pciConfigAddress: UInt16 = 0xCF8
    /// CONFIG_DATA (4 bytes).
    package static let pciConfigData: UInt16 = 0xCFC
    /// The first serial port, 8 bytes.
    package static let serial: UInt16 = 0x3F8
    package static let serialPortCount: UInt16 = 8
    /// The clock's index and data.
    package static let cmosIndex: UInt16 = 0x70
    package static let cmosData: UInt16 = 0x71
    /// The keyboard controller's data, and its status and command.
    package static let i8042Data: UInt16 = 0x60
    package static let i8042Command: UInt16 = 0x64
    /// Progress codes, one byte.
    package static let debugPort: UInt16 = 0x80
    /// Characters for the debug console, one byte each.
    package static let debugConsole: UInt16 = 0xE9
    /// A byte written here ends the VM with that result.
    package static let debugExit: UInt16 = 0xF4
    /// ACPI's SLEEP_CONTROL_REG, one byte: SLP_EN is bit 5, SLP_TYP bits 2 to 4 (ACPI 6.5, 4.8.3.7).
    package static let sleepControl: UInt16 = 0x600
    /// ACPI's SLEEP_STATUS_REG, one byte: WAK_STS is bit 7, cleared by writing 1.
    package static let sleepStatus: UInt16 = 0x601
    /// ACPI's RESET_REG, one byte: `resetValue` written here resets the machine.
    package static let reset: UInt16 = 0x602
    package static let resetValue: UInt8 = 1
    /// The generic event device's pending events, 4 bytes read at once; a read clears them (bits: `ACPIEvent`).
    package static let eventRegister: UInt16 = 0x604
    package static let eventRegisterSize: UInt16 = 4
    /// The hot-plug registers of the PCI slots, 4 bytes each: the slots that got a device since the last read, the slots
    /// whose device is asked to leave since the last read, and the number of a slot that the guest let go of.
    package static let pciHotPlug: UInt16 = 0x608
    package static let pciHotPlugSize: UInt16 = 12
    /// The slots of the root bus that devices come to and go from; slot 0 has the host bridge.
    package static let pciSlots: ClosedRange<UInt8> = 1...31
    /// The SLP_TYP of S5 (soft off) that the tables declare.
    package static let sleepTypeS5: UInt8 = 5
    /// What a guest writes to `sleepControl` to power off: SLP_EN with `sleepTypeS5`.
    package static let sleepControlS5: UInt8 = 0x20 | sleepTypeS5 << 2

    // MARK: What depends on the size of RAM

    /// The ranges that hold `size` bytes of RAM: one below the 32-bit hole and, for what does not fit, one above 4 GiB.
    ///
    /// The first starts at 0 and includes `biosArea`, whose bytes hold the ACPI tables. An address that would
    /// overflow yields nil.
    package static func ram(size: UInt64) -> [Range<UInt64>]? {
        let below = min(size, hole32.lowerBound)
        let (end, overflow) = ramAbove4GStart.addingReportingOverflow(size - below)
        guard !overflow else { return nil }
        return end > ramAbove4GStart ? [0..<below, ramAbove4GStart..<end] : [0..<below]
    }

    /// Where PCI BARs of 64 bits may lie, above all RAM; nil when RAM leaves less than `pciMemory64Minimum`.
    ///
    /// The window starts at a multiple of 1 GiB. It ends where the guest's addresses do, with two limits: 46 bits,
    /// which are all that Linux uses with four-level page tables, and, from 40 bits on, 12 GiB below the end, where
    /// AMD's processors have their HyperTransport range.
    ///
    /// - Parameters:
    ///   - ramEnd: the address after the last byte of RAM, or of the range that hot-plugged memory may use.
    ///   - physicalAddressBits: the width of guest-physical addresses (CPUID 0x8000_0008, EAX bits 0 to 7).
    package static func pciMemory64(ramEnd: UInt64, physicalAddressBits: Int) -> Range<UInt64>? {
        guard (32...52).contains(physicalAddressBits) else { return nil }
        let gibibyte: UInt64 = 1 << 30
        let (raised, overflow) = max(ramEnd, ramAbove4GStart).addingReportingOverflow(gibibyte - 1)
        guard !overflow else { return nil }
        let start = raised & ~(gibibyte - 1)
        var end: UInt64 = 1 << UInt64(min(physicalAddressBits, 46))
        if physicalAddressBits >= 40 { end -= 12 * gibibyte }
        guard end > start, end - start >= pciMemory64Minimum else { return nil }
        return start..<end
    }

    /// The least size of the 64-bit PCI window.
    package static let pciMemory64Minimum: UInt64 = 4 << 30
}

/// The bits of the generic event device's register (`MachineLayout.eventRegister`), which the VMM sets before it
/// raises `MachineLayout.eventGSI` and the guest clears by reading, which also lowers the interrupt.
package struct ACPIEvent: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Somebody pressed the power button.
    package static let powerButton = ACPIEvent(rawValue: 1 << 0)
    /// A PCI device came, or is asked to leave; the hot-plug registers say which.
    package static let pciHotPlug = ACPIEvent(rawValue: 1 << 1)
    /// The VM has another generation id: it goes on from a snapshot.
    package static let generation = ACPIEvent(rawValue: 1 << 2)
}
