import KVM
import Memory
import PCI
import Synchronization
import Virtio

/// The virtio devices of a guest's life, each in its slot of the root bus.
///
/// The control thread changes it; a vCPU thread only notes that the guest let go of a slot.
final class DeviceSlots: Sendable {
    /// How far a device's leaving has come.
    private enum Stage: Equatable {
        /// The guest may use it.
        case present
        /// The guest was asked to let it go.
        case asked
        /// The guest let it go; it waits to be taken apart.
        case letGo
    }

    private struct Entry: Sendable {
        let id: String
        let device: any VirtioDevice
        let transport: PCITransport
        var stage = Stage.present
    }

    let root: PCIRoot
    private let environment: PCITransportEnvironment
    private let details: BootDetails
    private let entries = Mutex<[UInt8: Entry]>([:])

    init(_ root: PCIRoot, _ machine: VMHandle, _ memory: GuestMemory, _ events: InstanceEvents) {
        self.root = root
        details = events.details
        var environment = PCITransportEnvironment(
            memory: memory, connector: KVMInterruptConnector(machine, InterruptRouter(machine)),
            notifier: KVMNotificationConnector(machine), report: events.report)
        environment.driverChanged = events.driverChanged
        (environment.note, environment.trace) = (details.deviceNotes, details.deviceTraces)
        self.environment = environment
    }

    // MARK: What is there

    /// The functions in the order of their slots.
    var transports: [PCITransport] {
        entries.withLock { $0.sorted { $0.key < $1.key } }.map(\.value.transport)
    }

    /// The devices of a type in the order of their slots.
    func devices<Device: VirtioDevice>(_ type: Device.Type) -> [Device] {
        entries.withLock { $0.sorted { $0.key < $1.key } }.compactMap { $0.value.device as? Device }
    }

    /// The device of an id, if it is of the type, and its function.
    func device<Device: VirtioDevice>(_ id: String, _ type: Device.Type) -> (device: Device, transport: PCITransport)? {
        let found = entries.withLock { $0.values.first { $0.id == id } }
        guard let found, let device = found.device as? Device else { return nil }
        return (device, found.transport)
    }

    /// The ids of the devices that the guest was asked to let go and that are still there.
    var pendingRemovals: [String] {
        entries.withLock { $0.filter { $0.value.stage != .present }.map(\.value.id) }.sorted()
    }

    /// The devices with their slots and functions, in the order of the slots.
    var occupied: [(slot: UInt8, id: String, transport: PCITransport)] {
        entries.withLock { $0.sorted { $0.key < $1.key } }.map { ($0.key, $0.value.id, $0.value.transport) }
    }

    // MARK: Coming

    /// Puts a device into its planned slot.
    ///
    /// - Parameter registers: where its registers lie until the guest moves them; 0 leaves that to the guest.
    /// - Throws: when the slot is taken or the host has no more descriptors; nothing is left then.
    func insert(_ device: any VirtioDevice, _ planned: PlannedDevice, at registers: UInt64) throws {
        details.device(planned, device)
        let transport = try PCITransport(device, at: registers, environment)
        guard root.insert(transport, device: Int(planned.address.device)) else {
            throw MachineError.spec("\(planned.id): the PCI slot \(planned.address) is taken")
        }
        entries.withLock {
            $0[planned.address.device] = Entry(id: planned.id, device: device, transport: transport)
        }
    }

    // MARK: Going

    /// Notes that the guest is asked to let a device go; its slot, or nil where there is no such device.
    func ask(_ id: String) -> UInt8? {
        entries.withLock { entries in
            guard let slot = entries.first(where: { $0.value.id == id })?.key else { return nil }
            if entries[slot]?.stage == .present { entries[slot]?.stage = .asked }
            return slot
        }
    }

    /// The guest let go of a slot, on a vCPU's thread: from here on the slot looks empty.
    ///
    /// - Returns: false where nobody asked for it. The device stays then, as a card stays in a slot whose power the
    ///   guest turned off, and the guest finds it again when it looks.
    func letGo(_ slot: UInt8) -> Bool {
        let wasAsked = entries.withLock { entries in
            guard entries[slot]?.stage == .asked else { return false }
            entries[slot]?.stage = .letGo
            return true
        }
        if wasAsked { root.vacate(device: Int(slot)) }
        return wasAsked
    }

    /// Takes apart the device that the guest let go, and frees its slot; its id, or nil where it did not.
    func remove(_ slot: UInt8) -> String? {
        let entry = entries.withLock { entries -> Entry? in
            guard entries[slot]?.stage == .letGo else { return nil }
            return entries.removeValue(forKey: slot)
        }
        guard let entry else { return nil }
        _ = root.remove(device: Int(slot))
        entry.transport.shutDown()
        return entry.id
    }

    /// Stops all devices for good.
    func shutDown() {
        for transport in transports { transport.shutDown() }
    }
}
