/// ACPI tables at their places in guest memory.
package struct ACPIImage: Equatable, Sendable {
    /// Bytes for a guest-physical address.
    package struct Block: Equatable, Sendable {
        package let address: UInt64
        package let bytes: [UInt8]
    }

    /// Where the RSDP lies: what a PVH guest finds in `hvm_start_info` and a Linux guest in `boot_params`.
    package let rsdp: UInt64
    /// The RSDP and the tables in the order of their addresses; they do not overlap.
    package let blocks: [Block]

    /// The address after the last byte.
    package var end: UInt64 { blocks.last.map { $0.address + UInt64($0.bytes.count) } ?? rsdp }
}

/// The ACPI tables of a hardware-reduced machine (ACPI 6.5, 3.11.1 and 4.1).
package enum ACPITables {
    /// Builds the tables, packed from `base` on, the RSDP first, each at a multiple of 16.
    ///
    /// - Parameters:
    ///   - base: guest-physical, a multiple of 16.
    ///   - limit: bytes that there are from `base` on.
    /// - Throws: `ACPIError` for a machine that the tables cannot describe, or that needs more bytes.
    package static func build(
        _ machine: ACPIMachine, at base: UInt64 = MachineLayout.rsdp, limit: Int = MachineLayout.acpiTables.count
    ) throws(ACPIError) -> ACPIImage {
        guard base % 16 == 0, let room = UInt64(exactly: limit), !base.addingReportingOverflow(room).overflow else {
            throw .badBase(base)
        }
        let madt = try ACPIFixedTables.madt(machine.processors)
        let dsdt = try DSDT.bytes(machine)
        let mcfg = try ACPIFixedTables.mcfg(machine.pci)

        // Offsets from the base. The sizes of the RSDP, of an XSDT of three entries and of the FADT do not depend on
        // the addresses that they hold.
        let xsdtOffset = aligned(ACPITable.rsdpSize)
        let dsdtOffset = xsdtOffset + aligned(ACPITable.headerSize + 3 * 8)
        let fadtOffset = dsdtOffset + aligned(dsdt.count)
        let madtOffset = fadtOffset + aligned(ACPIFixedTables.fadtSize)
        let mcfgOffset = madtOffset + aligned(madt.count)
        let size = mcfgOffset + mcfg.count
        guard size <= limit else { throw .noRoom(size: size, limit: limit) }

        func address(_ offset: Int) -> UInt64 { base + UInt64(offset) }
        let fadt = try ACPIFixedTables.fadt(machine, dsdt: address(dsdtOffset))
        let xsdt = try ACPIFixedTables.xsdt([address(fadtOffset), address(madtOffset), address(mcfgOffset)])
        return ACPIImage(
            rsdp: base,
            blocks: [
                .init(address: base, bytes: ACPITable.rsdp(xsdt: address(xsdtOffset))),
                .init(address: address(xsdtOffset), bytes: xsdt), .init(address: address(dsdtOffset), bytes: dsdt),
                .init(address: address(fadtOffset), bytes: fadt), .init(address: address(madtOffset), bytes: madt),
                .init(address: address(mcfgOffset), bytes: mcfg),
            ])
    }

    /// A size with the bytes up to the next multiple of 16.
    private static func aligned(_ size: Int) -> Int { (size + 15) & ~15 }
}
