/// The tables of a fixed form that describe a machine.
enum ACPIFixedTables {
    /// The extended system description table: the addresses of the others (ACPI 6.5, 5.2.8).
    static func xsdt(_ tables: [UInt64]) throws(ACPIError) -> [UInt8] {
        var body: [UInt8] = []
        for table in tables { body.appendACPI(table) }
        return try ACPITable.bytes("XSDT", revision: 1, body)
    }

    /// The fixed ACPI description table, of a hardware-reduced machine (ACPI 6.5, 5.2.9).
    static func fadt(_ machine: ACPIMachine, dsdt: UInt64) throws(ACPIError) -> [UInt8] {
        var table = FieldWriter(size: fadtSize - ACPITable.headerSize)
        let power = machine.power
        // Of the fields for fixed hardware, which a guest has to ignore here, all are 0; and without a firmware
        // control structure there is no waking from sleep.
        if let low = UInt32(exactly: dsdt) { table.set(low, at: 40) }
        table.set(bootArchitecture(machine.devices), at: 109)
        table.set(Flags.all, at: 112)
        table.set(ACPITable.register(port: power.reset), at: 116)
        table.set(power.resetValue, at: 128)
        // The minor version of ACPI 6.5.
        table.set(UInt8(5), at: 131)
        table.set(dsdt, at: 140)
        table.set(ACPITable.register(port: power.sleepControl), at: 244)
        table.set(ACPITable.register(port: power.sleepStatus), at: 256)
        table.set([UInt8]("SWIFTLET".utf8), at: 268)
        return try ACPITable.bytes("FACP", revision: 6, table.bytes)
    }

    /// Bytes of the FADT.
    static let fadtSize = 276

    /// The FADT's flags (ACPI 6.5, table 5.10).
    private enum Flags {
        /// WBINVD works; power and sleep buttons are not fixed hardware; there is a reset register; hardware-reduced.
        static let all: UInt32 = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 10 | 1 << 20
    }

    /// IAPC_BOOT_ARCH (ACPI 6.5, table 5.11). "MSI not supported" stays clear, or Linux would use no MSI-X.
    private static func bootArchitecture(_ devices: ACPIMachine.LegacyDevices) -> UInt16 {
        // No VGA.
        var flags: UInt16 = 1 << 2
        if devices.contains(.serial) { flags |= 1 << 0 }
        if devices.contains(.keyboardController) { flags |= 1 << 1 }
        if !devices.contains(.clock) { flags |= 1 << 5 }
        return flags
    }

    /// The multiple APIC description table (ACPI 6.5, 5.2.12).
    static func madt(_ processors: ACPIMachine.Processors) throws(ACPIError) -> [UInt8] {
        try check(processors)
        var body: [UInt8] = []
        body.appendACPI(UInt32(MachineLayout.localAPIC))
        // No flags: a hardware-reduced machine has no 8259 pair to turn off.
        body.appendACPI(UInt32(0))
        for (index, id) in processors.apicIDs.enumerated() {
            // Enabled, or not there yet but able to come.
            let flags: UInt32 = index < processors.bootCount ? 1 << 0 : 1 << 1
            if let id = UInt8(exactly: id), id < 255 {
                // Ids rise from 0 at least by 1, so the index is not above the id.
                body += [0, 8, UInt8(truncatingIfNeeded: index), id]
                body.appendACPI(flags)
            } else {
                body += [9, 16, 0, 0]
                body.appendACPI(id)
                body.appendACPI(flags)
                body.appendACPI(UInt32(truncatingIfNeeded: index))
            }
        }
        body += [1, 12, processors.ioapicID, 0]
        body.appendACPI(processors.ioapicAddress)
        body.appendACPI(processors.ioapicGSIBase)
        return try ACPITable.bytes("APIC", revision: 6, body)
    }

    private static func check(_ processors: ACPIMachine.Processors) throws(ACPIError) {
        let ids = processors.apicIDs
        guard processors.bootCount > 0, processors.bootCount <= ids.count else {
            throw .processorCount(boot: processors.bootCount, all: ids.count)
        }
        for (index, pair) in zip(ids, ids.dropFirst()).enumerated() where pair.0 >= pair.1 {
            throw .unorderedAPICID(index: index + 1, id: pair.1)
        }
        // The greatest number addresses all x2APICs at once (SDM volume 3, 11.12.9).
        guard let last = ids.last, last < .max else {
            throw .outOfRange(what: "an APIC id", value: UInt64(UInt32.max), allowed: 0...UInt64(UInt32.max - 1))
        }
    }

    /// Where PCI Express' configuration space lies (PCI Firmware Specification 3.3, 4.1.2).
    static func mcfg(_ pci: ACPIMachine.PCIRoot) throws(ACPIError) -> [UInt8] {
        var body = [UInt8](repeating: 0, count: 8)
        body.appendACPI(pci.ecamBase)
        body.appendACPI(UInt16(0))
        body += [0, try pci.lastBus()]
        return try ACPITable.bytes("MCFG", revision: 1, body + [0, 0, 0, 0])
    }
}

extension ACPIMachine.PCIRoot {
    /// The number of the last bus.
    func lastBus() throws(ACPIError) -> UInt8 {
        guard let last = UInt8(exactly: busCount &- 1) else {
            throw .outOfRange(
                what: "a number of PCI buses", value: UInt64(bitPattern: Int64(busCount)), allowed: 1...256)
        }
        return last
    }
}

/// A table's body with fields at given offsets, which count from the start of the table's header, as in ACPI's text.
private struct FieldWriter {
    private(set) var bytes: [UInt8]

    init(size: Int) { bytes = [UInt8](repeating: 0, count: size) }

    mutating func set<Integer: FixedWidthInteger & UnsignedInteger>(_ value: Integer, at offset: Int) {
        var field: [UInt8] = []
        field.appendACPI(value)
        set(field, at: offset)
    }

    mutating func set(_ field: [UInt8], at offset: Int) {
        for (index, byte) in field.enumerated() { bytes[offset - ACPITable.headerSize + index] = byte }
    }
}
