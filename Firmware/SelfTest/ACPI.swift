// ACPI 6.5: the tables from the RSDP on (5.2.5), each with its checksum, and what the rest of the test needs of them.

/// A table in memory. Its header has been read, its checksum has not.
struct ACPITable {
    let address: UInt64
    let signature: UInt32
    let length: UInt64

    /// - Returns: nil when the length cannot be one.
    @inline(never) init?(at address: UInt64) {
        guard address != 0 else { return nil }
        Paging.map(address, 36)
        self.address = address
        signature = memoryRead32(address)
        length = UInt64(memoryRead32(address + 4))
        guard length >= 36, length < 1 << 20 else { return nil }
        Paging.map(address, length)
    }

    var end: UInt64 { address + length }
    var isSound: Bool { sumBytes(address, length) == 0 }

    @inline(never) func read8(_ offset: UInt64) -> UInt8 { offset < length ? memoryRead8(address + offset) : 0 }
    @inline(never) func read16(_ offset: UInt64) -> UInt16 { offset + 2 <= length ? memoryRead16(address + offset) : 0 }
    @inline(never) func read32(_ offset: UInt64) -> UInt32 { offset + 4 <= length ? memoryRead32(address + offset) : 0 }
    @inline(never) func read64(_ offset: UInt64) -> UInt64 { offset + 8 <= length ? memoryRead64(address + offset) : 0 }

    /// The letters of a signature as the number that memory holds.
    @inline(never) static func signature(_ text: StaticString) -> UInt32 {
        memoryRead32(UInt64(UInt(bitPattern: text.utf8Start)))
    }
}

/// What was found on the way from the RSDP.
struct ACPI {
    var root: ACPITable?
    var fadt: ACPITable?
    var madt: ACPITable?
    var mcfg: ACPITable?
    var dsdt: ACPITable?
    var pointer: UInt64 = 0

    /// - Parameter pointer: the RSDP's address from start_info; 0 has the BIOS area searched.
    init(rsdp pointer: UInt64) {
        self.pointer = pointer == 0 ? Self.search() : pointer
        guard self.pointer != 0 else { return }
        Paging.map(self.pointer, 36)
        // Revision 2 has the XSDT, 64-bit entries; before it there is the RSDT, 32-bit entries.
        let extended = memoryRead8(self.pointer + 15) >= 2
        let address = extended ? memoryRead64(self.pointer + 24) : UInt64(memoryRead32(self.pointer + 16))
        guard let root = ACPITable(at: address) else { return }
        self.root = root
        for index in 0..<count { note(ACPITable(at: entry(index))) }
        guard let fadt else { return }
        let wide = fadt.read64(140)
        dsdt = ACPITable(at: wide != 0 ? wide : UInt64(fadt.read32(40)))
    }

    private var isXSDT: Bool { root?.signature == ACPITable.signature("XSDT") }
    /// Tables that the root names.
    var count: UInt64 { ((root?.length ?? 36) - 36) / (isXSDT ? 8 : 4) }
    func entry(_ index: UInt64) -> UInt64 {
        guard let root else { return 0 }
        return isXSDT ? root.read64(36 + 8 * index) : UInt64(root.read32(36 + 4 * index))
    }

    private mutating func note(_ table: ACPITable?) {
        guard let table else { return }
        switch table.signature {
        case ACPITable.signature("FACP"): fadt = table
        case ACPITable.signature("APIC"): madt = table
        case ACPITable.signature("MCFG"): mcfg = table
        default: break
        }
    }

    private static func search() -> UInt64 {
        var address: UInt64 = 0xE0000
        while address < 0x100000 {
            if memoryRead64(address) == 0x2052_5450_2044_5352, sumBytes(address, 20) == 0 { return address }
            address += 16
        }
        return 0
    }

    /// Prints the tables and checks their sums.
    func report() {
        guard Result.check(pointer != 0, "acpi: RSDP at \(hex: pointer)") else { return }
        Result.check(
            memoryRead64(pointer) == 0x2052_5450_2044_5352 && sumBytes(pointer, 20) == 0
                && (memoryRead8(pointer + 15) < 2 || sumBytes(pointer, 36) == 0),
            "acpi: RSDP signature and checksum, revision \(memoryRead8(pointer + 15))")
        guard let root else {
            Result.check(false, "acpi: root table")
            return
        }
        Self.report(root)
        for index in 0..<count {
            if let table = ACPITable(at: entry(index)) {
                Self.report(table)
            } else {
                Result.check(false, "acpi: table \(index) at \(hex: entry(index))")
            }
        }
        if let dsdt { Self.report(dsdt) }
        Result.check(fadt != nil && madt != nil && dsdt != nil, "acpi: FADT, MADT and DSDT found")
    }

    @inline(never) private static func report(_ table: ACPITable) {
        Result.check(
            table.isSound, "acpi: \(letters: table.signature) at \(hex: table.address), \(table.length) bytes, checksum"
        )
    }
}
