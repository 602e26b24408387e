/// The differentiated system description table: the machine's devices in AML (ACPI 6.5, 5.2.11.1).
///
/// It is short, since Linux interprets it on the way to its init. Processors are in the MADT alone, which is all that
/// Linux needs to start them.
enum DSDT {
    static func bytes(_ machine: ACPIMachine) throws(ACPIError) -> [UInt8] {
        var devices = [
            try pciRoot(machine), try motherboard(machine.pci), powerButton, generation, eventDevice(machine),
        ]
        if machine.devices.contains(.serial) { devices.append(serial) }
        if machine.devices.contains(.clock) { devices.append(clock) }
        let terms: [AMLTerm] = [
            .name("\\_S5_", .package([sleepTypeS5, sleepTypeS5, .zero, .zero])), .scope("\\_SB_", devices),
        ]
        // From revision 2 on, AML's integers have 64 bits.
        return try ACPITable.bytes("DSDT", revision: 2, AMLTerm.encoded(terms))
    }

    private static let sleepTypeS5 = AMLTerm.integer(UInt64(MachineLayout.sleepTypeS5))

    // MARK: Devices beside PCI

    /// The first serial port.
    private static var serial: AMLTerm {
        .device(
            "COM1",
            [
                .name("_HID", .eisaID("PNP0501")), .name("_UID", .zero),
                .name(
                    "_CRS",
                    .resourceTemplate([
                        .ports(
                            first: MachineLayout.serial, count: UInt8(truncatingIfNeeded: MachineLayout.serialPortCount)
                        ),
                        .interrupts([MachineLayout.serialGSI], .edge),
                    ])),
            ])
    }

    /// The CMOS clock, which raises no interrupt.
    private static var clock: AMLTerm {
        .device(
            "RTC_",
            [
                .name("_HID", .eisaID("PNP0B00")),
                .name("_CRS", .resourceTemplate([.ports(first: MachineLayout.cmosIndex, count: 2)])),
            ])
    }

    /// The power button, as a device that gets notifications (ACPI 6.5, 4.8.3.2).
    private static var powerButton: AMLTerm { .device("PWRB", [.name("_HID", .eisaID("PNP0C0C"))]) }

    /// The device of the VM's generation id (Microsoft, "Virtual Machine Generation ID"): `ADDR` tells where it lies, the
    /// lower half of the address first. Linux finds it by its compatible id and gives its random numbers a new seed at
    /// the notification.
    private static var generation: AMLTerm {
        let address = MachineLayout.generationID
        return .device(
            "VGEN",
            [
                .name("_HID", .string("SWLT0001")), .name("_CID", .string("VM_Gen_Counter")),
                .name("_DDN", .string("VM_Gen_Counter")),
                .name("ADDR", .package([.integer(address & 0xFFFF_FFFF), .integer(address >> 32)])),
            ])
    }

    /// The generic event device (ACPI 6.5, 5.6.9): its interrupt makes the guest run `_EVT`, which reads the register
    /// of pending events once, for that clears it, and hands each event to its device.
    private static func eventDevice(_ machine: ACPIMachine) -> AMLTerm {
        let power = machine.power
        let events = AMLTerm.local(0)
        func when(_ event: ACPIEvent, _ action: AMLTerm) -> AMLTerm {
            .if(.and(events, .integer(UInt64(event.rawValue))), then: [action])
        }
        var actions = [
            .store(.path("EVTS"), in: events), when(.powerButton, .notify("\\_SB_.PWRB", .integer(0x80))),
        ]
        if machine.pci.lastSlot > 0 {
            actions.append(when(.pciHotPlug, .call("\\_SB_.PCI0.\(DSDTSlots.scanMethod)")))
        }
        actions.append(when(.generation, .notify("\\_SB_.VGEN", .integer(0x80))))
        return .device(
            "GED_",
            [
                .name("_HID", .string("ACPI0013")), .name("_UID", .zero),
                .name("_CRS", .resourceTemplate([.interrupts([power.eventGSI], .level)])),
                .operationRegion(
                    "EVTR", .systemIO, offset: .integer(UInt64(power.eventRegister)),
                    length: .integer(UInt64(MachineLayout.eventRegisterSize))),
                .field(region: "EVTR", .doubleWord, [.named("EVTS", bits: 32)]),
                .method("_EVT", arguments: 1, serialized: true, actions),
            ])
    }

    /// Reserves ECAM: Linux uses it only when a motherboard resource covers it.
    private static func motherboard(_ pci: ACPIMachine.PCIRoot) throws(ACPIError) -> AMLTerm {
        let size = (UInt64(try pci.lastBus()) + 1) * MachineLayout.ecamBytesPerBus
        let limit = 0x1_0000_0000 - size
        guard let base = UInt32(exactly: pci.ecamBase), pci.ecamBase <= limit else {
            throw .outOfRange(what: "an ECAM window at an address", value: pci.ecamBase, allowed: 0...limit)
        }
        return .device(
            "MBRD",
            [
                .name("_HID", .eisaID("PNP0C02")), .name("_UID", .zero),
                .name("_CRS", .resourceTemplate([.memory32(base: base, size: UInt32(truncatingIfNeeded: size))])),
            ])
    }
}

extension DSDT {
    // MARK: The PCI root bridge

    private static func pciRoot(_ machine: ACPIMachine) throws(ACPIError) -> AMLTerm {
        let slots = try DSDTSlots.terms(registers: machine.power.hotPlugRegisters, last: machine.pci.lastSlot)
        return .device(
            "PCI0",
            [
                .name("_HID", .eisaID("PNP0A08")), .name("_CID", .eisaID("PNP0A03")),
                .name("_SEG", .zero), .name("_UID", .zero), .name("_BBN", .zero),
                // Memory is coherent for devices: said here, it is asked of none of the slots (ACPI 6.5, 6.2.17).
                .name("_CCA", .one),
                .name("_CRS", .resourceTemplate(try pciResources(machine.pci))),
                specificMethod, operatingSystemCapabilities,
            ] + slots)
    }

    private static func pciResources(_ pci: ACPIMachine.PCIRoot) throws(ACPIError) -> [AMLResource] {
        var resources: [AMLResource] = [
            .busNumbers(0...UInt16(try pci.lastBus())), .ports(first: MachineLayout.pciConfigAddress, count: 8),
        ]
        resources += pci.ports.map { .portWindow($0) }
        guard !pci.memory32.isEmpty, let first = UInt32(exactly: pci.memory32.lowerBound),
            let last = UInt32(exactly: pci.memory32.upperBound - 1)
        else {
            throw .outOfRange(
                what: "a 32-bit PCI window that ends at an address", value: pci.memory32.upperBound,
                allowed: 1...0x1_0000_0000)
        }
        resources.append(.memoryWindow32(first...last))
        if let window = pci.memory64, !window.isEmpty {
            resources.append(.memoryWindow64(window.lowerBound...(window.upperBound - 1)))
        }
        return resources
    }

    /// _DSM: function 5 answers 0, "the operating system keeps the configuration of PCI that it finds" (PCI Firmware
    /// Specification 3.3, 4.6.5), so that BARs stay where the VMM put them. Function 0 says which functions there are.
    private static var specificMethod: AMLTerm {
        let function = AMLTerm.argument(2)
        return .method(
            "_DSM", arguments: 4, serialized: true,
            [
                .if(
                    .equal(.argument(0), .uuid("e5c937d0-3553-4d7a-9117-ea4d19c3434d")),
                    then: [
                        .if(.equal(function, .zero), then: [.return(.buffer([1 << 0 | 1 << 5]))]),
                        .if(.equal(function, .integer(5)), then: [.return(.zero)]),
                    ]),
                .return(.buffer([0])),
            ])
    }

    /// _OSC (ACPI 6.5, 6.2.11; PCI Firmware Specification 3.3, 4.5.1): grants the guest PCI Express' own features except
    /// hot-plug, native (bit 0) and SHPC (bit 1): slots here tell of their devices by ACPI's events. Without _OSC, Linux turns features off.
    private static var operatingSystemCapabilities: AMLTerm {
        let capabilities = AMLTerm.argument(3)
        let status = AMLTerm.path("CDW1")
        let control = AMLTerm.path("CDW3")
        let granted = AMLTerm.local(0)
        return .method(
            "_OSC", arguments: 4, serialized: true,
            [
                .bufferField("CDW1", width: .doubleWord, of: capabilities, at: .zero),
                .if(
                    .equal(.argument(0), .uuid("33db4d5b-1ff7-401c-9657-7441c03dd766")),
                    then: [
                        .bufferField("CDW3", width: .doubleWord, of: capabilities, at: .integer(8)),
                        .and(control, .integer(0xFFFF_FFFC), in: granted),
                        // Bit 3: a revision that is not known.
                        .if(.not(.equal(.argument(1), .one)), then: [.or(status, .integer(0x08), in: status)]),
                        // Bit 4: not all that was asked for was granted.
                        .if(.not(.equal(granted, control)), then: [.or(status, .integer(0x10), in: status)]),
                        .store(granted, in: control),
                    ],
                    // Bit 2: a UUID that is not known.
                    else: [.or(status, .integer(0x04), in: status)]),
                .return(capabilities),
            ])
    }
}
