/// What the ACPI tables tell the guest about its machine.
package struct ACPIMachine: Equatable, Sendable {
    /// The vCPUs and their interrupt controllers.
    package struct Processors: Equatable, Sendable {
        /// The APIC id of each vCPU, present at boot or not, in the order of the vCPUs; each above the one before it.
        package var apicIDs: [UInt32]
        /// How many of them, from the first on, are present at boot.
        package var bootCount: Int
        /// The I/O APIC: its registers' address, its id, and the GSI of its first input.
        package var ioapicAddress: UInt32
        package var ioapicID: UInt8
        package var ioapicGSIBase: UInt32

        package init(
            apicIDs: [UInt32], bootCount: Int, ioapicAddress: UInt32 = UInt32(MachineLayout.ioapic),
            ioapicID: UInt8 = MachineLayout.ioapicID, ioapicGSIBase: UInt32 = MachineLayout.ioapicGSIBase
        ) {
            self.apicIDs = apicIDs
            self.bootCount = bootCount
            self.ioapicAddress = ioapicAddress
            self.ioapicID = ioapicID
            self.ioapicGSIBase = ioapicGSIBase
        }
    }

    /// The PCI root bridge of segment 0.
    package struct PCIRoot: Equatable, Sendable {
        /// The first byte of ECAM, below 4 GiB.
        package var ecamBase: UInt64
        /// Buses from bus 0 on, 1 to 256.
        package var busCount: Int
        /// The window for 32-bit BARs.
        package var memory32: Range<UInt64>
        /// The window for 64-bit BARs, if RAM leaves room for one.
        package var memory64: Range<UInt64>?
        /// The windows for I/O BARs.
        package var ports: [ClosedRange<UInt16>]
        /// The last of the slots that the guest is told of, which begin with 1; 0 for none.
        package var lastSlot: UInt8

        package init(
            memory64: Range<UInt64>?, memory32: Range<UInt64> = MachineLayout.pciMemory32,
            ports: [ClosedRange<UInt16>] = [MachineLayout.pciPorts],
            lastSlot: UInt8 = MachineLayout.pciSlots.upperBound,
            ecamBase: UInt64 = MachineLayout.ecam.lowerBound, busCount: Int = MachineLayout.pciBusCount
        ) {
            self.ecamBase = ecamBase
            self.busCount = busCount
            self.memory32 = memory32
            self.memory64 = memory64
            self.ports = ports
            self.lastSlot = lastSlot
        }
    }

    /// The registers for power and for events that the VMM tells the guest.
    package struct Power: Equatable, Sendable {
        /// SLEEP_CONTROL_REG and SLEEP_STATUS_REG, a byte each (ACPI 6.5, 4.8.3.7).
        package var sleepControl = MachineLayout.sleepControl
        package var sleepStatus = MachineLayout.sleepStatus
        /// RESET_REG, a byte, and what resets the machine when written there (ACPI 6.5, 4.8.3.6).
        package var reset = MachineLayout.reset
        package var resetValue = MachineLayout.resetValue
        /// The register of pending events, 4 bytes that a read clears (`ACPIEvent`), and its interrupt, level-triggered
        /// so that an event from before the guest listens is heard when it does.
        package var eventRegister = MachineLayout.eventRegister
        package var eventGSI = MachineLayout.eventGSI
        /// The hot-plug registers of the PCI slots.
        package var hotPlugRegisters = MachineLayout.pciHotPlug

        package init() {}
    }

    /// The devices of a PC that a machine may have beside PCI.
    package struct LegacyDevices: OptionSet, Equatable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// A 16550A at `MachineLayout.serial` with `MachineLayout.serialGSI`.
        package static let serial = LegacyDevices(rawValue: 1 << 0)
        /// A CMOS clock. Without it the FADT tells the guest not to look for one.
        package static let clock = LegacyDevices(rawValue: 1 << 1)
        /// A keyboard controller that answers a driver's probe: Linux waits half a second for one that is declared and
        /// does not. Linux reboots through the reset register and needs no keyboard controller for that.
        package static let keyboardController = LegacyDevices(rawValue: 1 << 2)
    }

    package var processors: Processors
    package var pci: PCIRoot
    package var power: Power
    package var devices: LegacyDevices

    package init(
        processors: Processors, pci: PCIRoot, power: Power = Power(),
        devices: LegacyDevices = [.serial, .clock, .keyboardController]
    ) {
        self.processors = processors
        self.pci = pci
        self.power = power
        self.devices = devices
    }
}
