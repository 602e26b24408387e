import Testing

@testable import Boot

@Suite struct MachineLayoutTests {
    @Test func memoryRangesDoNotOverlap() {
        let ranges: [Range<UInt64>] = [
            MachineLayout.lowRAM, MachineLayout.biosArea,
            MachineLayout.highRAMStart..<MachineLayout.hole32.lowerBound, MachineLayout.pciMemory32,
            MachineLayout.ecam, MachineLayout.ioapic..<(MachineLayout.ioapic + 0x1000),
            MachineLayout.localAPIC..<(MachineLayout.localAPIC + 0x10_0000),
            MachineLayout.kvmIdentityMap..<(MachineLayout.kvmIdentityMap + 0x1000),
            MachineLayout.kvmTSS..<(MachineLayout.kvmTSS + 0x3000),
        ]
        for (lower, upper) in zip(ranges, ranges.dropFirst()) { #expect(lower.upperBound <= upper.lowerBound) }
        #expect(MachineLayout.kvmTSS + 0x3000 <= MachineLayout.hole32.upperBound)
        #expect(MachineLayout.biosArea.contains(MachineLayout.acpiTables.lowerBound))
        #expect(MachineLayout.acpiTables.count == 124 << 10)
        #expect(!MachineLayout.acpiTables.contains(MachineLayout.resetVector))
        let generation = MachineLayout.generationID..<MachineLayout.generationID + 16
        #expect(!MachineLayout.acpiTables.overlaps(generation) && generation.upperBound <= MachineLayout.resetVector)
        #expect(MachineLayout.biosArea.contains(generation.lowerBound) && generation.lowerBound % 4096 == 0)
        #expect(MachineLayout.biosArea.contains(MachineLayout.resetVector))
        #expect(MachineLayout.rsdp % 16 == 0)
    }

    @Test func portsDoNotOverlap() {
        var seen: Set<UInt16> = []
        let ports: [(UInt16, UInt16)] = [
            (MachineLayout.pciConfigAddress, 4), (MachineLayout.pciConfigData, 4),
            (MachineLayout.serial, MachineLayout.serialPortCount), (MachineLayout.cmosIndex, 1),
            (MachineLayout.cmosData, 1), (MachineLayout.i8042Data, 1), (MachineLayout.i8042Command, 1),
            (MachineLayout.debugPort, 1), (MachineLayout.debugConsole, 1), (MachineLayout.debugExit, 1),
            (MachineLayout.sleepControl, 1), (MachineLayout.sleepStatus, 1), (MachineLayout.reset, 1),
            (MachineLayout.eventRegister, MachineLayout.eventRegisterSize),
            (MachineLayout.pciHotPlug, MachineLayout.pciHotPlugSize),
        ]
        for (first, count) in ports {
            for port in first..<(first + count) {
                #expect(seen.insert(port).inserted, "port \(port) has two owners")
                #expect(!MachineLayout.pciPorts.contains(port))
            }
        }
        #expect(MachineLayout.sleepControlS5 == 0x34)
    }

    @Test func ramSkipsTheHole() {
        let hole = MachineLayout.hole32.lowerBound
        #expect(MachineLayout.ram(size: 128 << 20) == [0..<(128 << 20)])
        #expect(MachineLayout.ram(size: hole) == [0..<hole])
        #expect(MachineLayout.ram(size: 6 << 30) == [0..<hole, (4 << 30)..<(7 << 30)])
        #expect(MachineLayout.ram(size: .max) == nil)
    }

    @Test func pciWindowLiesAboveRAM() {
        let gibibyte: UInt64 = 1 << 30
        #expect(
            MachineLayout.pciMemory64(ramEnd: 128 << 20, physicalAddressBits: 36) == (4 * gibibyte)..<(64 * gibibyte))
        #expect(
            MachineLayout.pciMemory64(ramEnd: 7 * gibibyte + 1, physicalAddressBits: 39)
                == (8 * gibibyte)..<(512 * gibibyte))
        #expect(
            MachineLayout.pciMemory64(ramEnd: 0, physicalAddressBits: 40) == (4 * gibibyte)..<(1012 * gibibyte))
        #expect(
            MachineLayout.pciMemory64(ramEnd: 0, physicalAddressBits: 52)
                == (4 * gibibyte)..<((1 << 46) - 12 * gibibyte))
    }

    @Test func pciWindowIsRefusedWithoutRoom() {
        let gibibyte: UInt64 = 1 << 30
        #expect(MachineLayout.pciMemory64(ramEnd: 60 * gibibyte, physicalAddressBits: 36)?.lowerBound == 60 * gibibyte)
        #expect(MachineLayout.pciMemory64(ramEnd: 60 * gibibyte + 1, physicalAddressBits: 36) == nil)
        #expect(MachineLayout.pciMemory64(ramEnd: 0, physicalAddressBits: 32) == nil)
        #expect(MachineLayout.pciMemory64(ramEnd: .max, physicalAddressBits: 52) == nil)
        for bits in [Int.min, 0, 31, 53, 64, Int.max] {
            #expect(MachineLayout.pciMemory64(ramEnd: 0, physicalAddressBits: bits) == nil)
        }
    }
}
