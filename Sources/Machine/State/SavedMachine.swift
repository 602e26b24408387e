import Boot
import KVM
import Memory
import PCI
import Snapshot

/// What a machine goes on from instead of booting.
struct MachineSource {
    /// The state of all that it is made of but its memory; nil for a machine that gets it later.
    let document: StateDocument?
    /// The VM that is being made for it; nil where that is yet to begin.
    var creation: VMCreation?
    /// Fills the guest's RAM, which is new and holds zeroes.
    let loadMemory: (GuestMemory) throws -> Void
    /// Whether it is the machine that was saved, which is nowhere else now, and not a copy of it.
    var isSameMachine = false
    /// Its memory, where that is here already.
    var memory: GuestMemory?
    /// The CPUID leaves of its vCPUs, where they are known before their state.
    var leaves: [[CPUIDEntry]] = []

    init(
        document: StateDocument, creation: VMCreation? = nil, loadMemory: @escaping (GuestMemory) throws -> Void
    ) {
        (self.document, self.creation, self.loadMemory) = (document, creation, loadMemory)
    }

    /// A machine on its way, whose state comes later.
    init(of memory: GuestMemory, in creation: VMCreation) {
        (document, loadMemory) = (nil, { _ in })
        (self.memory, self.creation, isSameMachine) = (memory, creation, true)
    }
}

/// What a snapshot keeps of the machine's plan: what its configuration alone does not say again.
package struct SavedMachine: SavedState {
    package static let kind = "machine"
    package static let version = 1

    /// A range of guest-physical addresses.
    package struct Window: Codable, Equatable, Sendable {
        package var start: UInt64, end: UInt64
    }

    /// A device on the PCI bus: where the guest has found it.
    package struct Device: Codable, Equatable, Sendable {
        package var id: String, kind: String
        package var slot: UInt8
        /// Whether its queues came as descriptors, so that nobody here can open them again; nil for no.
        package var isAdopted: Bool?
    }

    /// RAM.
    package var memory: [Window]
    /// The range for 64-bit PCI registers; nil where there is none.
    package var pciMemory64: Window?
    /// The APIC ids of the vCPUs.
    package var apicIDs: [UInt32]
    /// The width of guest-physical addresses in bits.
    package var physicalAddressBits: UInt32
    /// The devices in ascending order of their slots.
    package var devices: [Device]

    /// - Parameter adopted: the devices whose queues came as descriptors.
    init(_ plan: MachinePlan, adopted: Set<String> = []) {
        memory = plan.memory.ranges.map { Window(start: $0.address, end: $0.end) }
        pciMemory64 =
            plan.windows.memory64.isEmpty
            ? nil : Window(start: plan.windows.memory64.lowerBound, end: plan.windows.memory64.upperBound)
        apicIDs = Array(plan.processors.apicIDs.prefix(plan.processors.boot))
        physicalAddressBits = plan.processors.physicalAddressBits ?? 0
        devices = plan.devices.map {
            Device(
                id: $0.id, kind: $0.kind.name, slot: $0.address.device,
                isAdopted: adopted.contains($0.id) ? true : nil)
        }
    }
}

/// The names of a machine's parts in a snapshot. A user's ids do not begin with two underscores, and those that are made
/// for devices are none of these.
enum StateName {
    static let machine = "__machine", clock = "__clock", chips = "__irqchip", bus = "__pci"
    static let serial = "__com1", cmos = "__cmos", acpi = "__acpi", hotPlug = "__hotplug"
    static let debugPort = "__debug_port", keyboard = "__i8042"
    static func vcpu(_ index: Int) -> String { "__vcpu\(index)" }
    /// What a virtio device keeps beside its transport, which has the device's own id.
    static func device(_ id: String) -> String { "__device_\(id)" }
}

extension MachinePlan {
    /// The plan of a machine from a snapshot: devices at the places where the guest has them.
    ///
    /// - Throws: `SnapshotError` where the configuration plans another machine than the one that was saved.
    func placed(as saved: SavedMachine) throws(SnapshotError) -> MachinePlan {
        let fields = StateFields(StateName.machine)
        let own = SavedMachine(self)
        try fields.check(
            "memory", saved.memory == own.memory,
            "the RAM is not where \(memory.ranges.reduce(0) { $0 + $1.size } >> 20) MiB ($.memory.size) lie")
        try fields.check(
            "apicIDs", saved.apicIDs == own.apicIDs,
            "there are \(saved.apicIDs.count) vCPUs, where the configuration ($.cpus) has \(own.apicIDs.count), or others"
        )
        try fields.check(
            "physicalAddressBits", saved.physicalAddressBits <= own.physicalAddressBits,
            "the guest has \(saved.physicalAddressBits) bits of physical addresses, and this host \(own.physicalAddressBits)"
        )
        var window: Range<UInt64> = 0..<0
        if let range = saved.pciMemory64 {
            try fields.check(
                "pciMemory64", range.start >= memory.end && range.start < range.end && range.end <= 1 << 52,
                "\(range.start) to \(range.end) is no range of addresses behind the RAM")
            window = range.start..<range.end
        }
        let windows = PCIRoot.Windows(memory32: self.windows.memory32, memory64: window)
        let devices = try place(saved.devices, windows, fields)
        return with(devices, windows: windows)
    }

    private func place(
        _ saved: [SavedMachine.Device], _ windows: PCIRoot.Windows, _ fields: StateFields
    ) throws(SnapshotError) -> [PlannedDevice] {
        let found = Set(saved.map(\.id))
        if let missing = devices.first(where: { !found.contains($0.id) }) {
            throw fields.refusal(
                "devices", "the configuration has a device \"\(missing.id)\", which the saved machine did not have")
        }
        var slots: Set<UInt8> = []
        var placed: [PlannedDevice] = []
        for (index, device) in saved.enumerated() {
            guard let planned = devices.first(where: { $0.id == device.id }) else {
                throw fields.refusal(
                    "devices[\(index)]", "the device \"\(device.id)\" is missing in the configuration")
            }
            try fields.check(
                "devices[\(index)].kind", planned.kind.name == device.kind,
                "\"\(device.id)\" was a \(device.kind) and is a \(planned.kind.name) in the configuration")
            try fields.check(
                "devices[\(index)].slot",
                DevicePlacement.slots.contains(device.slot) && slots.insert(device.slot).inserted,
                "\(device.slot) is no slot of its own on the bus")
            placed.append(
                PlannedDevice(
                    id: planned.id, address: PCIAddress(device: device.slot),
                    registers: DevicePlacement.registers(device.slot, windows), kind: planned.kind))
        }
        try fields.check("devices", placed.count == devices.count, "a device is there twice")
        return placed.sorted { $0.address.device < $1.address.device }
    }
}
