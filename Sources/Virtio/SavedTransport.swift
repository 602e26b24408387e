import PCI
import Snapshot

/// What a snapshot keeps of a virtio function: its registers, its queues and how far they were worked through.
package struct SavedTransport: SavedState {
    package static let kind = "virtio-pci"
    package static let version = 1

    /// A queue as the driver set it up.
    package struct Queue: Codable, Equatable, Sendable {
        package var size: UInt16, enabled: Bool
        /// Guest-physical addresses.
        package var descriptorTable: UInt64, availableRing: UInt64, usedRing: UInt64
        /// The MSI-X vector, 0xFFFF for none.
        package var vector: UInt16
        /// The next entries of the available ring to take and of the used ring to fill.
        package var nextAvailable: UInt16, nextUsed: UInt16
    }

    /// The device's type (virtio 1.2 section 5).
    package var type: UInt16
    /// Configuration space, 256 bytes.
    package var configuration: RawBytes
    package var status: UInt8, isr: UInt8, generation: UInt8
    package var deviceFeatureSelect: UInt32, driverFeatureSelect: UInt32
    /// The features that the driver took.
    package var driverFeatures: UInt64
    package var queueSelect: UInt16
    package var queues: [Queue]
    /// The vector of configuration changes, 0xFFFF for none.
    package var configurationVector: UInt16
    /// Whether the device stopped over a broken rule.
    package var needsReset: Bool
    package var msix: SavedMSIX
    /// The device's own configuration space, by which a device that changed meanwhile is told.
    package var device: RawBytes
}

extension PCITransport {
    /// The function now. Its device is paused; of one that works, how far its queues are is out of date.
    package func save() -> SavedTransport {
        guarded.withLock { guarded in
            let registers = guarded.registers
            let queues = registers.queues.enumerated().map { index, queue in
                let progress = registers.progress[index] ?? QueueProgress()
                return SavedTransport.Queue(
                    size: queue.size, enabled: queue.enabled, descriptorTable: queue.descriptorTable,
                    availableRing: queue.availableRing, usedRing: queue.usedRing,
                    vector: registers.queueVectors[index], nextAvailable: progress.nextAvailable,
                    nextUsed: progress.nextUsed)
            }
            return SavedTransport(
                type: device.type.rawValue, configuration: registers.configuration.saved,
                status: registers.status.rawValue, isr: isr.load(ordering: .acquiring),
                generation: generation.load(ordering: .acquiring), deviceFeatureSelect: registers.deviceFeatureSelect,
                driverFeatureSelect: registers.driverFeatureSelect, driverFeatures: registers.driverFeatures,
                queueSelect: registers.queueSelect, queues: queues,
                configurationVector: registers.configurationVector, needsReset: stopped.load(ordering: .acquiring),
                msix: guarded.msix.saved, device: RawBytes(device.configuration()))
        }
    }

    /// Gives a new function a state. Its workers begin with `resume`, where the saved one's stopped; the bus places its
    /// registers with `PCIRoot.restore`.
    ///
    /// - Parameter name: the device's in the snapshot, for errors.
    /// - Throws: `SnapshotError` naming the field that this device cannot have.
    package func restore(_ saved: SavedTransport, _ name: String) throws(SnapshotError) {
        let fields = StateFields(name)
        try check(saved, fields)
        let result: Result<Void, SnapshotError> = guarded.withLock { guarded in
            do throws(SnapshotError) {
                try guarded.registers.configuration.restore(saved.configuration, fields)
                try guarded.msix.restore(saved.msix, fields)
            } catch { return .failure(error) }
            take(saved, &guarded)
            return .success(())
        }
        try result.get()
    }

    private func take(_ saved: SavedTransport, _ guarded: inout Guarded) {
        guarded.registers.status = DeviceStatus(rawValue: saved.status)
        guarded.registers.deviceFeatureSelect = saved.deviceFeatureSelect
        guarded.registers.driverFeatureSelect = saved.driverFeatureSelect
        guarded.registers.driverFeatures = saved.driverFeatures
        guarded.registers.queueSelect = saved.queueSelect
        guarded.registers.configurationVector = saved.configurationVector
        for (index, queue) in saved.queues.enumerated() {
            guarded.registers.queues[index] = queue.config
            guarded.registers.queueVectors[index] = queue.vector
            guarded.registers.progress[index] = queue.progress
        }
        guarded.hasChanged = saved.device.bytes != device.configuration()
        guarded.isRestored = true
        // Ordering: nobody looks before `resume`, whose starting of threads orders these.
        isr.store(saved.isr, ordering: .relaxed)
        generation.store(saved.generation, ordering: .relaxed)
        configurationVector.store(saved.configurationVector, ordering: .relaxed)
        stopped.store(saved.needsReset, ordering: .relaxed)
    }

    // MARK: What a state may be

    private func check(_ saved: SavedTransport, _ fields: StateFields) throws(SnapshotError) {
        try fields.check(
            "type", saved.type == device.type.rawValue,
            "a device of virtio type \(saved.type), where the machine has one of type \(device.type.rawValue)")
        let status = DeviceStatus(rawValue: saved.status)
        let known: DeviceStatus = [.acknowledge, .driver, .driverOK, .featuresOK, .failed]
        try fields.check("status", status.isSubset(of: known), "the status \(saved.status) has bits that there are not")
        let offered = device.features | VirtioFeatures.transport.rawValue
        if status.contains(.featuresOK) {
            try fields.check(
                "driverFeatures", saved.driverFeatures & ~offered == 0,
                "the guest uses the features 0x\(String(saved.driverFeatures & ~offered, radix: 16)), which the device "
                    + "does not have now")
            try fields.check(
                "driverFeatures", saved.driverFeatures & VirtioFeatures.version1.rawValue != 0,
                "VIRTIO_F_VERSION_1 is missing")
        }
        try fields.check(
            "status", !status.contains(.driverOK) || status.contains(.featuresOK),
            "DRIVER_OK is set without FEATURES_OK")
        try fields.check(
            "queues", saved.queues.count == device.queueSizes.count,
            "\(saved.queues.count) queues, where the device has \(device.queueSizes.count)")
        try fields.check(
            "configurationVector", isVector(saved.configurationVector),
            "there is no vector \(saved.configurationVector)")
        for (index, queue) in saved.queues.enumerated() { try check(queue, index, status, saved, fields) }
    }

    private func isVector(_ number: UInt16) -> Bool {
        number == PCITransportLayout.noVector || Int(number) < vectors.count
    }

    private func check(
        _ queue: SavedTransport.Queue, _ index: Int, _ status: DeviceStatus, _ saved: SavedTransport,
        _ fields: StateFields
    ) throws(SnapshotError) {
        let limit = device.queueSizes[index]
        try fields.check(
            "queues[\(index)].size", queue.size > 0 && queue.size & (queue.size - 1) == 0 && queue.size <= limit,
            "\(queue.size) is no power of two up to \(limit)")
        try fields.check("queues[\(index)].vector", isVector(queue.vector), "there is no vector \(queue.vector)")
        guard queue.enabled, status.contains(.driverOK), !saved.needsReset else { return }
        // The rings are resolved again when the workers begin; here it is for an error that names the place.
        do throws(VirtioError) {
            let resources = QueueResources(
                index: index, config: queue.config, progress: queue.progress, kick: kicks[index],
                interrupt: NoInterrupt())
            let ring = try Virtqueue(resources, memory: environment.memory, features: saved.driverFeatures)
            _ = try ring.waiting()
        } catch {
            throw fields.refusal("queues[\(index)]", "\(error)")
        }
    }
}

extension SavedTransport.Queue {
    var config: QueueConfig {
        var config = QueueConfig(size: size)
        config.enabled = enabled
        (config.descriptorTable, config.availableRing, config.usedRing) = (descriptorTable, availableRing, usedRing)
        return config
    }

    var progress: QueueProgress { QueueProgress(nextAvailable: nextAvailable, nextUsed: nextUsed) }
}
