import PCI
import Spec
import Virtio
import VirtioVsock

/// Plans that follow from another one when a device comes or goes.
extension MachinePlan {
    /// The plan with one more device, in the lowest free slot.
    ///
    /// - Throws: when the id is in use or no slot is free.
    package func adding(
        _ id: String, _ kind: PlannedDevice.Kind
    ) throws(MachineError) -> (plan: MachinePlan, device: PlannedDevice) {
        guard !devices.contains(where: { $0.id == id }) else {
            throw .spec("$.id: a device \"\(id)\" exists already; choose another id")
        }
        let taken = Set(devices.map(\.address.device))
        guard let slot = DevicePlacement.slots.first(where: { !taken.contains($0) }) else {
            throw .spec(
                "$: no slot of the PCI bus is free, all \(DevicePlacement.slots.count) have a device; remove one first")
        }
        let device = PlannedDevice(
            id: id, address: PCIAddress(device: slot), registers: DevicePlacement.registers(slot, windows), kind: kind)
        return (with(device), device)
    }

    /// The plan with a device that has its slot.
    func with(_ device: PlannedDevice) -> MachinePlan {
        with((devices + [device]).sorted { $0.address.device < $1.address.device })
    }

    /// The plan without a device; the others keep their slots.
    package func removing(_ id: String) -> MachinePlan { with(devices.filter { $0.id != id }) }

    /// The plan with other devices, in ascending order of their slots, and perhaps with other ranges for PCI.
    func with(_ devices: [PlannedDevice], windows: PCIRoot.Windows? = nil) -> MachinePlan {
        MachinePlan(
            memory: memory, backing: backing, dirtyLog: dirtyLog, processors: processors,
            windows: windows ?? self.windows,
            devices: devices, serial: serial, debugConsole: debugConsole, payload: payload)
    }
}

extension MachinePlanner {
    /// Plans a disk for a machine that exists.
    ///
    /// - Parameters:
    ///   - disk: validated, with its id.
    ///   - place: where it stands in what its user wrote, for errors.
    package func plan(
        _ plan: MachinePlan, adding disk: DiskConfig, at place: String = "$"
    ) throws(MachineError) -> (plan: MachinePlan, device: PlannedDevice) {
        let id = disk.id ?? ""
        return try plan.adding(id, .block(diskOptions(disk, place), blockSettings(disk, id: id)))
    }

    /// Plans a network interface for a machine that exists.
    package func plan(
        _ plan: MachinePlan, adding net: NetConfig, at place: String = "$"
    ) throws(MachineError) -> (plan: MachinePlan, device: PlannedDevice) {
        try plan.adding(net.id ?? "", .net(netSettings(net, place)))
    }

    /// Plans a vsock device for a machine that exists.
    package func plan(
        _ plan: MachinePlan, adding vsock: VsockConfig
    ) throws(MachineError) -> (plan: MachinePlan, device: PlannedDevice) {
        try plan.adding(vsock.id ?? "", .vsock(VsockSettings(cid: vsock.cid, socket: vsock.socket)))
    }
}
