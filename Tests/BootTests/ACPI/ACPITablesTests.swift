import Testing

@testable import Boot

extension ACPIMachine {
    /// A machine as the VMM builds it.
    static func sample(
        all: Int = 1, boot: Int? = nil, devices: LegacyDevices = [.serial, .clock, .keyboardController]
    ) -> ACPIMachine {
        ACPIMachine(
            processors: Processors(apicIDs: (0..<all).map { UInt32($0) }, bootCount: boot ?? all),
            pci: PCIRoot(memory64: 0x1_0000_0000..<0x10_0000_0000), devices: devices)
    }
}

extension ACPIImage {
    /// The bytes at an address where a block starts.
    func bytes(at address: UInt64) -> [UInt8]? { blocks.first { $0.address == address }?.bytes }

    /// The table that the XSDT lists, or that is the XSDT or DSDT, by its signature.
    func table(_ signature: String) throws -> [UInt8] {
        try #require(blocks.first { $0.bytes.starts(with: signature.utf8) }?.bytes)
    }
}

/// Parts one after the other.
func joined(_ parts: [UInt8]...) -> [UInt8] { parts.flatMap { $0 } }

/// A text's bytes.
func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

extension [UInt8] {
    func integer(at offset: Int, bytes: Int) -> UInt64 {
        self[offset..<(offset + bytes)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}

@Suite struct ACPITablesTests {
    @Test func rsdpIsExact() throws {
        let image = try ACPITables.build(.sample())
        #expect(image.rsdp == 0xE_0000)
        let rsdp = try #require(image.bytes(at: image.rsdp))
        let expected = joined(
            ascii("RSD PTR "), [rsdp[8]], ascii("SWIFTL"), [2], [0, 0, 0, 0, 36, 0, 0, 0],
            [0x30, 0, 0x0E, 0, 0, 0, 0, 0],
            [rsdp[32], 0, 0, 0])
        #expect(rsdp == expected)
        #expect(rsdp.prefix(20).reduce(0, &+) == 0)
        #expect(rsdp.reduce(0, &+) == 0)
    }

    @Test func headersAreExact() throws {
        let image = try ACPITables.build(.sample())
        for (signature, revision) in [("XSDT", 1), ("FACP", 6), ("APIC", 6), ("MCFG", 1), ("DSDT", 2)] {
            let table = try image.table(signature)
            #expect(table.integer(at: 4, bytes: 4) == UInt64(table.count))
            #expect(table[8] == UInt8(revision))
            #expect(table[10..<24].elementsEqual("SWIFTLSWIFTLET".utf8))
            #expect(table[24..<36].elementsEqual(joined([1, 0, 0, 0], ascii("SWFT"), [1, 0, 0, 0])))
            #expect(table.reduce(0, &+) == 0, "\(signature)'s checksum is wrong")
        }
    }

    @Test func pointersLeadToTheirTables() throws {
        for base: UInt64 in [0xE_0000, 0x10, 0x1_2345_6780] {
            let image = try ACPITables.build(.sample(all: 3), at: base)
            let rsdp = try #require(image.bytes(at: base))
            let xsdt = try #require(image.bytes(at: rsdp.integer(at: 24, bytes: 8)))
            #expect(xsdt.starts(with: "XSDT".utf8))
            let listed = stride(from: 36, to: xsdt.count, by: 8).map { xsdt.integer(at: $0, bytes: 8) }
            let signatures = try listed.map {
                String(decoding: try #require(image.bytes(at: $0)).prefix(4), as: UTF8.self)
            }
            #expect(signatures == ["FACP", "APIC", "MCFG"])
            let fadt = try image.table("FACP")
            let dsdt = fadt.integer(at: 140, bytes: 8)
            #expect(try #require(image.bytes(at: dsdt)).starts(with: "DSDT".utf8))
            #expect(fadt.integer(at: 40, bytes: 4) == (dsdt < 1 << 32 ? dsdt : 0))
        }
    }

    @Test func fadtIsExact() throws {
        let image = try ACPITables.build(.sample())
        let fadt = try image.table("FACP")
        var expected = [UInt8](repeating: 0, count: 276)
        func set(_ offset: Int, _ bytes: [UInt8]) {
            expected.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
        }
        set(0, Array(fadt.prefix(36)))
        set(40, [0x70, 0x00, 0x0E, 0x00])
        // Legacy devices, 8042, no VGA.
        set(109, [0x07, 0x00])
        // WBINVD, control-method buttons, RESET_REG_SUP, HW_REDUCED_ACPI.
        set(112, [0x31, 0x04, 0x10, 0x00])
        set(116, [1, 8, 0, 1, 0x02, 0x06, 0, 0, 0, 0, 0, 0, 1])
        set(131, [5])
        set(140, [0x70, 0x00, 0x0E, 0, 0, 0, 0, 0])
        set(244, [1, 8, 0, 1, 0x00, 0x06, 0, 0, 0, 0, 0, 0])
        set(256, [1, 8, 0, 1, 0x01, 0x06, 0, 0, 0, 0, 0, 0])
        set(268, Array("SWIFTLET".utf8))
        #expect(fadt == expected)
    }

    @Test func fadtFollowsTheDevices() throws {
        let none = try ACPITables.build(.sample(devices: [])).table("FACP")
        #expect(none[109] == 0b10_0100)
        let clock = try ACPITables.build(.sample(devices: [.clock])).table("FACP")
        #expect(clock[109] == 0b00_0100)
    }

    @Test func mcfgIsExact() throws {
        let mcfg = try ACPITables.build(.sample()).table("MCFG")
        let body: [UInt8] =
            [UInt8](repeating: 0, count: 8) + [0, 0, 0, 0xE8, 0, 0, 0, 0] + [0, 0, 0, 0] + [0, 0, 0, 0]
        #expect(Array(mcfg.dropFirst(36)) == body)
        var machine = ACPIMachine.sample()
        machine.pci.busCount = 256
        #expect(try ACPITables.build(machine).table("MCFG")[55] == 255)
    }

    @Test func madtIsExact() throws {
        var machine = ACPIMachine.sample()
        machine.processors.apicIDs = [0, 2, 254, 255, 0x1_0000]
        machine.processors.bootCount = 2
        machine.processors.ioapicID = 9
        machine.processors.ioapicGSIBase = 24
        let madt = try ACPITables.build(machine).table("APIC")
        let entries: [[UInt8]] = [
            [0, 0, 0xE0, 0xFE, 0, 0, 0, 0],
            [0, 8, 0, 0, 1, 0, 0, 0], [0, 8, 1, 2, 1, 0, 0, 0], [0, 8, 2, 254, 2, 0, 0, 0],
            [9, 16, 0, 0, 255, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0], [9, 16, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 4, 0, 0, 0],
            [1, 12, 9, 0, 0, 0, 0xC0, 0xFE, 24, 0, 0, 0],
        ]
        #expect(Array(madt.dropFirst(36)) == entries.flatMap { $0 })
    }

    @Test(arguments: [1, 255, 256, 1024]) func manyProcessors(count: Int) throws {
        let image = try ACPITables.build(.sample(all: count, boot: (count + 1) / 2))
        let madt = try image.table("APIC")
        #expect(madt.count == 36 + 8 + 8 * min(count, 255) + 16 * max(count - 255, 0) + 12)
        for block in image.blocks { #expect(block.bytes.reduce(0, &+) == 0) }
        var end = image.rsdp
        for block in image.blocks {
            #expect(block.address % 16 == 0)
            #expect(block.address >= end && block.address < end + 16)
            end = block.address + UInt64(block.bytes.count)
        }
        #expect(image.end == end && end <= MachineLayout.acpiTables.upperBound)

        // Walks the MADT as a guest does.
        var (offset, enabled, capable) = (44, 0, 0)
        while offset < madt.count {
            switch madt[offset] {
            case 0: if madt[offset + 4] == 1 { enabled += 1 } else { capable += madt[offset + 4] == 2 ? 1 : 0 }
            case 9: if madt[offset + 8] == 1 { enabled += 1 } else { capable += madt[offset + 8] == 2 ? 1 : 0 }
            default: #expect(madt[offset] == 1)
            }
            offset += Int(madt[offset + 1])
        }
        #expect(offset == madt.count)
        #expect(enabled == (count + 1) / 2 && enabled + capable == count)
    }

    @Test func impossibleMachinesAreRefused() throws {
        func refusal(_ change: (inout ACPIMachine) -> Void) -> ACPIError? {
            var machine = ACPIMachine.sample(all: 4)
            change(&machine)
            do {
                _ = try ACPITables.build(machine)
                return nil
            } catch { return error }
        }
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0.processors.bootCount = 0 } == .processorCount(boot: 0, all: 4))
        #expect(refusal { $0.processors.bootCount = 5 } == .processorCount(boot: 5, all: 4))
        #expect(refusal { $0.processors.apicIDs = [] } == .processorCount(boot: 4, all: 0))
        #expect(refusal { $0.processors.apicIDs = [0, 1, 1, 2] } == .unorderedAPICID(index: 2, id: 1))
        #expect(refusal { $0.processors.apicIDs[3] = .max } != nil)
        #expect(refusal { $0.pci.busCount = 0 } != nil)
        #expect(refusal { $0.pci.busCount = 257 } != nil)
        #expect(refusal { $0.pci.busCount = .min } != nil)
        #expect(refusal { $0.pci.ecamBase = 0xFFF8_0000 } != nil)
        #expect(refusal { $0.pci.ecamBase = .max } != nil)
        #expect(refusal { $0.pci.memory32 = 0..<0 } != nil)
        #expect(refusal { $0.pci.memory32 = 0..<0x1_0000_0001 } != nil)
        #expect(refusal { $0.pci.memory32 = 0..<0x1_0000_0000 } != nil)
        #expect(refusal { $0.pci.memory32 = 0x1_0000_0000..<0x2_0000_0000 } != nil)
        #expect(refusal { $0.pci.memory64 = nil } == nil)
        #expect(refusal { $0.pci.ports = [] } == nil)
        #expect(refusal { $0.pci.ports = [0...0xFFFF] } != nil)
    }

    @Test func placesThatDoNotFitAreRefused() throws {
        let machine = ACPIMachine.sample()
        let size = Int(try ACPITables.build(machine).end - MachineLayout.rsdp)
        #expect(try ACPITables.build(machine, limit: size).end == MachineLayout.rsdp + UInt64(size))
        #expect(throws: ACPIError.noRoom(size: size, limit: size - 1)) {
            try ACPITables.build(machine, limit: size - 1)
        }
        #expect(throws: ACPIError.self) { try ACPITables.build(.sample(all: 10_000)) }
        #expect(throws: ACPIError.badBase(0xE_0008)) { try ACPITables.build(machine, at: 0xE_0008) }
        #expect(throws: ACPIError.badBase(.max - 15)) { try ACPITables.build(machine, at: .max - 15) }
        #expect(throws: ACPIError.badBase(0xE_0000)) { try ACPITables.build(machine, limit: -1) }
    }

    @Test func errorsSayWhatIsWrong() {
        let error = ACPIError.processorCount(boot: 5, all: 4)
        #expect(
            error.description == "5 of 4 vCPUs cannot be present at boot: it takes at least 1 and at most all of them")
        #expect(ACPIError.badName("x", reason: "it is empty").description.contains("\"x\""))
    }
}
