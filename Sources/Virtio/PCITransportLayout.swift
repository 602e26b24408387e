import PCI

/// Where the parts of a virtio function's one register range lie, and the capabilities that say so (virtio 1.2 4.1.4).
enum PCITransportLayout {
    static let bar = 0
    static let barSize: UInt64 = 0x8000
    static let common = 0x0000, commonSize = 0x38
    static let device = 0x1000, deviceSize = 0x1000
    static let isr = 0x2000
    static let notify = 0x3000, notifyStride = 4
    static let table = 0x4000
    static let pending = 0x6000
    /// The PCI configuration access capability's window (4.1.4.9) stands right behind its fixed part.
    static let noVector: UInt16 = 0xFFFF

    /// The modern device's identity (4.1.2).
    static func identity(_ type: VirtioType) -> PCIConfiguration.Identity {
        let classCode: UInt32 =
            switch type {
            case .net: 0x020000
            case .block: 0x018000
            case .console: 0x078000
            case .entropy: 0xFF0000
            // Communication controller, other: what QEMU shows too.
            case .vsock: 0x078000
            }
        var identity = PCIConfiguration.Identity(
            vendor: 0x1AF4, device: 0x1040 + type.rawValue, classCode: classCode)
        identity.revision = 1
        identity.subsystemVendor = 0x1AF4
        identity.subsystem = 0x1040 + type.rawValue
        return identity
    }

    private static func little(_ value: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// A vendor-specific capability: its length, kind, register and range.
    private static func vendor(_ kind: UInt8, _ offset: Int, _ length: Int, _ extra: [UInt8] = []) -> [UInt8] {
        [UInt8(16 + extra.count), kind, UInt8(bar), 0, 0, 0] + little(offset) + little(length) + extra
    }

    /// Builds the configuration space; the result names where the MSI-X control word and the access window lie.
    static func configuration(
        _ type: VirtioType, queues: Int, vectors: Int, deviceSize: Int, address: UInt64, kind: PCIConfiguration.BARKind
    ) -> (space: PCIConfiguration, msix: Int, window: Int) {
        var space = PCIConfiguration(identity(type))
        space.addBAR(bar, size: barSize, kind: kind, address: address)
        // The table is in this function's register range, as the lowest three bits (zero) say.
        let msixBody = [UInt8((vectors - 1) & 0xFF), UInt8((vectors - 1) >> 8)] + little(table) + little(pending)
        let msix = space.addCapability(id: 0x11, body: msixBody, writableBody: [0, 0xC0]) ?? 0
        space.addCapability(id: 0x09, body: vendor(1, common, commonSize))
        space.addCapability(id: 0x09, body: vendor(2, notify, notifyStride * queues, little(notifyStride)))
        space.addCapability(id: 0x09, body: vendor(3, isr, 1))
        if deviceSize > 0 { space.addCapability(id: 0x09, body: vendor(4, device, deviceSize)) }
        let window =
            space.addCapability(
                id: 0x09, body: vendor(5, 0, 0, [0, 0, 0, 0]),
                writableBody: [0, 0, 0xFF, 0, 0, 0] + Array(repeating: 0xFF, count: 8)) ?? 0
        return (space, msix, window)
    }
}

/// The device status bits (virtio 1.2 section 2.1).
package struct DeviceStatus: OptionSet, Equatable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let acknowledge = DeviceStatus(rawValue: 1)
    package static let driver = DeviceStatus(rawValue: 2)
    package static let driverOK = DeviceStatus(rawValue: 4)
    package static let featuresOK = DeviceStatus(rawValue: 8)
    package static let needsReset = DeviceStatus(rawValue: 64)
    package static let failed = DeviceStatus(rawValue: 128)
}

/// A virtio function's registers: what a snapshot keeps of the transport.
package struct PCITransportState: Equatable, Sendable {
    /// Configuration space with the place of the register range.
    package var configuration: PCIConfiguration
    /// The device status.
    package var status: DeviceStatus = []
    /// Which halves of the features the driver looks at and writes.
    package var deviceFeatureSelect: UInt32 = 0, driverFeatureSelect: UInt32 = 0
    /// The features that the driver took.
    package var driverFeatures: UInt64 = 0
    /// The queue that the queue registers mean.
    package var queueSelect: UInt16 = 0
    /// The queues as set up so far.
    package var queues: [QueueConfig]
    /// The vector of each queue.
    package var queueVectors: [UInt16]
    /// The vector of configuration changes.
    package var configurationVector = PCITransportLayout.noVector
    /// How far each queue has been worked through while the device stands still.
    package var progress: [Int: QueueProgress] = [:]
}
