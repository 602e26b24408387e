import PCI
import Virtio

/// Gives PCI devices their slots and registers, in the order in which the guest is to find them.
enum DevicePlacement {
    /// Slots of the bus behind the host bridge.
    static let slots = 31

    /// Places the devices from slot 1 on, their registers one behind the other in the 64-bit window, or in the 32-bit
    /// one where there is no other.
    static func place(
        _ devices: [(id: String, kind: PlannedDevice.Kind)], _ windows: PCIRoot.Windows
    ) throws(MachineError) -> [PlannedDevice] {
        guard devices.count <= slots else {
            throw .spec(
                "$: \(devices.count) devices do not fit on the PCI bus, which has \(slots) slots; leave some out")
        }
        let base = windows.memory64.isEmpty ? windows.memory32.lowerBound : windows.memory64.lowerBound
        return devices.enumerated().map { index, device in
            PlannedDevice(
                id: device.id, address: PCIAddress(device: UInt8(index + 1)),
                registers: base + UInt64(index) * PCITransport.barSize, kind: device.kind)
        }
    }
}
