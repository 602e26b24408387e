import Boot
import PCI
import VirtioBlock
import VirtioNet

/// Devices that come to a guest and leave it, called from the VM's control thread.
///
/// The guest learns of them by ACPI events. It has let a device go when it ejects the slot: a vCPU thread then says so
/// by `InstanceEvents.ejected`, and the control thread takes the device apart with `finishRemoval`.
extension MachineInstance {
    /// Opens a device's backend, puts the device into its slot, and tells the guest.
    ///
    /// - Parameters:
    ///   - planned: of `MachinePlan.adding`, made from the plan that `backends` have now.
    ///   - taps: tap queues that came from outside, for a network interface.
    /// - Throws: when the host refuses the backend or the device; nothing is left then.
    func addDevice(
        _ planned: PlannedDevice, _ backends: Backends, _ taps: AdoptedTaps? = nil
    ) throws(MachineError) -> PCIAddress {
        try MachineError.sorted {
            try backends.add(planned, taps)
            do {
                // The guest gives the registers their address, as it does for a card that is plugged in.
                try slots.insert(DeviceBuilder(backends: backends).make(planned), planned, at: 0)
            } catch {
                backends.remove(planned.id)
                throw error
            }
        }
        hotPlug.insert(slot: planned.address.device)
        acpi.raise(ACPIEvent.pciHotPlug.rawValue)
        return planned.address
    }

    /// Asks the guest to let a device go; asking again tells the guest again.
    ///
    /// - Returns: false where there is no such device.
    func requestRemoval(_ id: String) -> Bool {
        guard let slot = slots.ask(id) else { return false }
        hotPlug.askToLeave(slot: slot)
        acpi.raise(ACPIEvent.pciHotPlug.rawValue)
        return true
    }

    /// The ids of the devices that the guest was asked to let go and that are still there.
    var pendingRemovals: [String] { slots.pendingRemovals }

    /// Refuses what a machine cannot do while a device is on its way out.
    ///
    /// - Parameter first: what is to be done before the guest can let it go.
    func refuseRemovals(_ first: String = "") throws(VMError) {
        let leaving = pendingRemovals
        guard !leaving.isEmpty else { return }
        throw VMError(
            .failed,
            [
                "the guest was asked to let \(leaving.joined(separator: ", ")) go and still has it; \(first)wait for the event "
                    + "device-removed"
            ])
    }

    /// Takes apart the device in a slot that the guest let go, and closes its backend.
    ///
    /// - Returns: its id; nil when that was done already.
    func finishRemoval(_ slot: UInt8, _ backends: Backends) -> String? {
        guard let id = slots.remove(slot) else { return nil }
        hotPlug.clear(slot: slot)
        backends.remove(id)
        return id
    }

    /// Closes the backends of the devices that were to leave when this life, which is over, ended: the next one starts
    /// without them.
    ///
    /// - Returns: their ids.
    func finishRemovals(_ backends: Backends) -> [String] {
        let ids = pendingRemovals
        for id in ids { backends.remove(id) }
        return ids
    }

    /// Changes the size of a disk and tells the guest.
    ///
    /// - Throws: when the host refuses; the disk stays as it was then.
    func resizeDisk(_ id: String, to bytes: UInt64) throws(DiskError) -> Bool {
        guard let (disk, transport) = slots.device(id, BlockDevice.self) else { return false }
        try disk.resize(to: bytes, transport)
        return true
    }
}
