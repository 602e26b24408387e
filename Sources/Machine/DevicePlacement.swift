import Boot
import PCI
import Virtio

/// Gives PCI devices their slots and registers, in the order in which the guest is to find them.
enum DevicePlacement {
    /// The slots of the bus behind the host bridge.
    static let slots = MachineLayout.pciSlots

    /// Where the registers of the device in a slot begin: one behind the other in the 64-bit window, or in the 32-bit
    /// one where there is no other.
    static func registers(_ slot: UInt8, _ windows: PCIRoot.Windows) -> UInt64 {
        let base = windows.memory64.isEmpty ? windows.memory32.lowerBound : windows.memory64.lowerBound
        return base + UInt64(slot - slots.lowerBound) * PCITransport.barSize
    }

    /// Places the devices from the first slot on.
    static func place(
        _ devices: [(id: String, kind: PlannedDevice.Kind)], _ windows: PCIRoot.Windows
    ) throws(MachineError) -> [PlannedDevice] {
        guard devices.count <= slots.count else {
            throw .spec(
                "$: \(devices.count) devices do not fit on the PCI bus, which has \(slots.count) slots; leave some out")
        }
        return zip(slots, devices).map { slot, device in
            PlannedDevice(
                id: device.id, address: PCIAddress(device: slot), registers: registers(slot, windows),
                kind: device.kind)
        }
    }
}
