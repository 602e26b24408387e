import Host
import Memory
import Snapshot

/// Feature bits that every device shares (virtio 1.2 section 6).
package struct VirtioFeatures: OptionSet, Equatable, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Chains may point to a table of descriptors (2.7.5.3).
    package static let indirectDescriptors = VirtioFeatures(rawValue: 1 << 28)
    /// Each side says at which index it wants to be told (2.7.7).
    package static let eventIndex = VirtioFeatures(rawValue: 1 << 29)
    /// The modern interface; a driver without it is refused.
    package static let version1 = VirtioFeatures(rawValue: 1 << 32)
    /// What the virtqueues and the transport here can do.
    package static let transport: VirtioFeatures = [.indirectDescriptors, .eventIndex, .version1]
}

/// Device types (virtio 1.2 section 5).
package enum VirtioType: UInt16, Sendable {
    case net = 1
    case block = 2
    case console = 3
    case entropy = 4
    case vsock = 19
}

/// A virtqueue as the driver set it up (virtio 1.2 section 4.1.4.3).
package struct QueueConfig: Equatable, Sendable {
    /// Descriptors, a power of two.
    package var size: UInt16
    /// Whether the driver has enabled it.
    package var enabled = false
    /// Guest-physical addresses of the descriptor table, the available ring and the used ring.
    package var descriptorTable: UInt64 = 0, availableRing: UInt64 = 0, usedRing: UInt64 = 0

    package init(size: UInt16) { self.size = size }
}

/// How far a virtqueue has been worked through: with its configuration, all that a snapshot needs of it.
package struct QueueProgress: Equatable, Sendable {
    /// The next entry of the available ring to take.
    package var nextAvailable: UInt16 = 0
    /// The next entry of the used ring to fill.
    package var nextUsed: UInt16 = 0

    package init(nextAvailable: UInt16 = 0, nextUsed: UInt16 = 0) {
        (self.nextAvailable, self.nextUsed) = (nextAvailable, nextUsed)
    }
}

/// What a queue's worker needs besides its device: the configured ring, its kick and its interrupt.
package struct QueueResources: Sendable {
    /// The queue's number in the device.
    package let index: Int
    /// The ring as the driver set it up.
    package let config: QueueConfig
    /// Where to begin.
    package let progress: QueueProgress
    /// Signalled by the guest's notification.
    package let kick: EventFD
    /// Raises the queue's interrupt.
    package let interrupt: any InterruptSource

    package init(
        index: Int, config: QueueConfig, progress: QueueProgress, kick: EventFD, interrupt: any InterruptSource
    ) {
        (self.index, self.config, self.progress) = (index, config, progress)
        (self.kick, self.interrupt) = (kick, interrupt)
    }
}

/// A way to interrupt the guest from any thread.
package protocol InterruptSource: AnyObject, Sendable {
    /// Raises the interrupt; never blocks.
    func signal()
}

/// What a device gets when its driver is ready (DRIVER_OK).
package struct VirtioActivation: Sendable {
    /// The guest's RAM.
    package let memory: GuestMemory
    /// The features that both sides agreed on.
    package let features: UInt64
    /// The enabled queues, in order of their numbers.
    package let queues: [QueueResources]
    /// Tells the transport of what only it can do.
    package let transport: any VirtioTransport

    package init(
        memory: GuestMemory, features: UInt64, queues: [QueueResources], transport: any VirtioTransport
    ) {
        (self.memory, self.features, self.queues, self.transport) = (memory, features, queues, transport)
    }

    /// Whether a common feature was agreed on.
    package func has(_ feature: VirtioFeatures) -> Bool { features & feature.rawValue == feature.rawValue }

    /// The queue of a number, if the driver enabled it.
    package func queue(_ index: Int) -> QueueResources? { queues.first { $0.index == index } }
}

/// What a device's workers tell their transport, from any thread.
package protocol VirtioTransport: AnyObject, Sendable {
    /// The device's configuration space changed: raise the configuration interrupt (2.5).
    func configurationChanged()
    /// The driver broke a rule and the device stopped: set DEVICE_NEEDS_RESET (2.1.2). `reason` is for the log.
    func needsReset(_ reason: String)
}

/// A virtio device, whatever its transport.
///
/// The transport calls it from vCPU threads, one call at a time; the device's own work is done by its workers.
package protocol VirtioDevice: AnyObject, Sendable {
    /// Its kind.
    var type: VirtioType { get }
    /// The name that the user gave it or that was made for it: `_disk0`.
    var id: String { get }
    /// The device's own features; those of `VirtioFeatures.transport` are added by the transport.
    var features: UInt64 { get }
    /// The largest size of each of its queues.
    var queueSizes: [UInt16] { get }
    /// The size of its configuration space in bytes.
    var configurationSize: Int { get }
    /// The configuration space's bytes now.
    func configuration() -> [UInt8]
    /// The driver wrote to the configuration space; offsets beyond `configurationSize` do not arrive.
    func writeConfiguration(offset: Int, bytes: [UInt8])
    /// The driver is ready: start the workers.
    func activate(_ activation: VirtioActivation) throws(VirtioError)
    /// Stop the workers and return how far each queue came; afterwards the device may be activated again.
    ///
    /// Accepted requests are completed before it returns.
    func deactivate() -> [Int: QueueProgress]
    /// The driver is gone, and with it what it had set beside the queues. The device is not active.
    func reset()
    /// Adds what a snapshot keeps of the device beside its transport. The device is not active.
    func save(to document: inout StateDocument, as name: String) throws(SnapshotError)
    /// Takes what `save` left, before the device is activated.
    func restore(from document: StateDocument, as name: String) throws(SnapshotError)
    /// What it has done so far; from any thread.
    var reading: DeviceReading { get }
}

extension VirtioDevice {
    package func reset() {}
    package func save(to document: inout StateDocument, as name: String) throws(SnapshotError) {}
    package func restore(from document: StateDocument, as name: String) throws(SnapshotError) {}
}

/// What can be wrong between a driver and a device.
package enum VirtioError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A ring's address, size or alignment that cannot be.
    case badQueue(String)
    /// A chain or index that the specification forbids.
    case badChain(String)
    /// A host resource failed.
    case host(HostError)

    package var description: String {
        switch self {
        case .badQueue(let what), .badChain(let what): "the guest's driver broke a rule of virtio: \(what)"
        case .host(let error): error.description
        }
    }
}
