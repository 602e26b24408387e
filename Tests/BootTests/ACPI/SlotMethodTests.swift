import Foundation
import Testing

@testable import Boot

/// The PCI slots of the DSDT as ACPICA's interpreter runs them.
@Suite struct SlotMethodTests {
    private func name(_ slot: Int) -> String {
        (slot < 16 ? "S0" : "S") + String(slot, radix: 16, uppercase: true)
    }

    /// Runs debugger commands on the DSDT, every byte of its registers having a value; what was printed.
    private func interpret(_ commands: [String], registers: UInt8 = 0) throws -> String {
        try ACPICA.interpret(commands, registers: registers, dsdt: DSDT.bytes(.sample()))
    }

    /// The notifications in their order: a slot and a value.
    private func notifications(_ printed: String) -> [String] {
        let lines = printed.split(separator: "\n").filter { $0.contains("Notify on [") }
        return lines.compactMap { line in
            guard let name = line.split(separator: "[").last?.prefix(while: { $0 != "]" }),
                let value = line.range(of: "Value 0x")
            else { return nil }
            return "\(name.prefix(3)) \(line[value.upperBound...].prefix(while: \.isHexDigit))"
        }
    }

    @Test func everySlotHasItsPlace() throws {
        let slots = MachineLayout.pciSlots.map(Int.init)
        for part in stride(from: 0, to: slots.count, by: 8).map({ slots[$0..<min($0 + 8, slots.count)] }) {
            let printed = try interpret(part.map { "execute \\_SB.PCI0.\(name($0))._ADR" })
            let values = printed.split(separator: "\n").compactMap { line -> UInt64? in
                guard let found = line.range(of: "[Integer] = ") else { return nil }
                return UInt64(line[found.upperBound...].prefix(while: \.isHexDigit), radix: 16)
            }
            #expect(values == part.map { UInt64($0) << 16 }, "\(printed)")
        }
    }

    @Test(arguments: [1, 2, 9, 10, 15, 16, 26, 31]) func oneSlotIsNotified(_ slot: Int) throws {
        for value in [1, 3] {
            let mask = String(UInt32(1) << UInt32(slot), radix: 16)
            let printed = try interpret(["execute \\_SB.PCI0.HPNT 0x\(mask) \(value)"])
            #expect(notifications(printed) == ["\(name(slot)) 0\(value)"], "\(printed)")
        }
    }

    @Test func allSlotsAreNotified() throws {
        let printed = try interpret(["execute \\_SB.PCI0.HPNT 0xFFFFFFFF 1"])
        // Slot 0 is the host bridge's.
        #expect(Set(notifications(printed)) == Set((1...31).map { "\(name($0)) 01" }), "\(printed)")
        #expect(notifications(try interpret(["execute \\_SB.PCI0.HPNT 1 1", "execute \\_SB.PCI0.HPNT 0 3"])) == [])
    }

    @Test func anEventIsHandedToTheSlotsOfBothRegisters() throws {
        // Bit 1 of each byte: the event, and slots 1, 9, 17 and 25 in both registers.
        let printed = try interpret(["execute \\_SB.GED._EVT 5"], registers: 0x02)
        let expected = ["01", "03"].flatMap { value in [1, 9, 17, 25].map { "\(name($0)) \(value)" } }
        #expect(notifications(printed).sorted() == expected.sorted(), "\(printed)")
        // Without the event's bit nobody looks at the registers.
        #expect(notifications(try interpret(["execute \\_SB.GED._EVT 5"], registers: 0x08)) == [])
    }

    /// Where devices neither come nor go, the guest finds no slots, and looks at no register of theirs.
    @Test func aBusWithoutSlots() throws {
        var machine = ACPIMachine.sample()
        machine.pci.lastSlot = 0
        let dsdt = try DSDT.bytes(machine)
        try ACPICA.inScratch { directory in
            let source = try ACPICA.disassembled(dsdt, in: directory)
            #expect(source.contains("Device (PCI0)") && source.contains("Device (GED)"))
            for name in ["_EJ0", "HPRG", DSDTSlots.scanMethod, "Device (S01)"] {
                #expect(!source.contains(name), "\(source)")
            }
        }
        // All events at once: the power button's and the generation id's are heard, in any order.
        let printed = try ACPICA.interpret(["execute \\_SB.GED._EVT 5"], registers: 0xFF, dsdt: dsdt)
        #expect(notifications(printed).map { $0.prefix(3) }.sorted() == ["PWR", "VGE"], "\(printed)")
    }

    /// As many slots as the machine says, and an event for no other one.
    @Test(arguments: [1, 2, 3, 17, 30]) func aBusWithFewerSlots(_ last: UInt8) throws {
        var machine = ACPIMachine.sample()
        machine.pci.lastSlot = last
        let dsdt = try DSDT.bytes(machine)
        let printed = try ACPICA.interpret(["execute \\_SB.PCI0.HPNT 0xFFFFFFFF 3"], dsdt: dsdt)
        #expect(Set(notifications(printed)) == Set((1...Int(last)).map { "\(name($0)) 03" }), "\(printed)")
        try ACPICA.inScratch { directory in
            let source = try ACPICA.disassembled(dsdt, in: directory)
            #expect(source.split(separator: "\n").count { $0.contains("Method (_EJ0") } == Int(last), "\(source)")
        }
    }

    @Test(arguments: [1, 2, 31]) func ejectingNamesTheSlot(_ slot: Int) throws {
        let printed = try interpret(["execute \\_SB.PCI0.\(name(slot))._EJ0 1", "execute \\_SB.PCI0.HPEJ"])
        let last = try #require(printed.range(of: "[Integer] = ", options: .backwards))
        #expect(
            UInt64(printed[last.upperBound...].prefix(while: \.isHexDigit), radix: 16) == UInt64(slot), "\(printed)")
    }
}
