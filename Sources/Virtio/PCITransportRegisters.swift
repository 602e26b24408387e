import Host
import PCI

/// The common configuration registers (virtio 1.2 section 4.1.4.3).
extension PCITransport {
    /// The features on offer.
    private var offered: UInt64 { device.features | VirtioFeatures.transport.rawValue }

    func readCommon(_ guarded: Guarded, _ offset: Int, size: Int) -> UInt64 {
        // Registers are read whole; a part of one is cut out of the whole.
        if size == 8 { return readCommon(guarded, offset, size: 4) | readCommon(guarded, offset + 4, size: 4) << 32 }
        let registers = guarded.registers
        let selected = Int(registers.queueSelect)
        let queue = selected < registers.queues.count ? registers.queues[selected] : nil
        switch offset {
        case 0x00: return UInt64(registers.deviceFeatureSelect)
        case 0x04: return Self.half(offered, registers.deviceFeatureSelect)
        case 0x08: return UInt64(registers.driverFeatureSelect)
        case 0x0C: return Self.half(registers.driverFeatures, registers.driverFeatureSelect)
        case 0x10: return UInt64(registers.configurationVector)
        case 0x12: return UInt64(registers.queues.count)
        case 0x14:
            let extra: DeviceStatus = stopped.load(ordering: .acquiring) ? .needsReset : []
            return UInt64(registers.status.union(extra).rawValue)
        case 0x15: return UInt64(generation.load(ordering: .acquiring))
        case 0x16: return UInt64(registers.queueSelect)
        case 0x18: return UInt64(queue?.size ?? 0)
        case 0x1A: return UInt64(queue == nil ? PCITransportLayout.noVector : registers.queueVectors[selected])
        case 0x1C: return queue?.enabled == true ? 1 : 0
        case 0x1E: return queue == nil ? 0 : UInt64(selected)
        case 0x20: return (queue?.descriptorTable ?? 0) & 0xFFFF_FFFF
        case 0x24: return (queue?.descriptorTable ?? 0) >> 32
        case 0x28: return (queue?.availableRing ?? 0) & 0xFFFF_FFFF
        case 0x2C: return (queue?.availableRing ?? 0) >> 32
        case 0x30: return (queue?.usedRing ?? 0) & 0xFFFF_FFFF
        case 0x34: return (queue?.usedRing ?? 0) >> 32
        default: return 0
        }
    }

    private static func half(_ features: UInt64, _ select: UInt32) -> UInt64 {
        switch select {
        case 0: features & 0xFFFF_FFFF
        case 1: features >> 32
        default: 0
        }
    }

    func writeCommon(_ guarded: inout Guarded, _ offset: Int, size: Int, _ value: UInt64) {
        if size == 8 {
            writeCommon(&guarded, offset, size: 4, value & 0xFFFF_FFFF)
            return writeCommon(&guarded, offset + 4, size: 4, value >> 32)
        }
        let word = UInt32(truncatingIfNeeded: value)
        switch offset {
        case 0x00: guarded.registers.deviceFeatureSelect = word
        case 0x08: guarded.registers.driverFeatureSelect = word
        case 0x0C: writeFeatures(&guarded.registers, word)
        case 0x10:
            let vector = validVector(value)
            guarded.registers.configurationVector = vector
            configurationVector.store(vector, ordering: .releasing)
        case 0x14: writeStatus(&guarded, UInt8(truncatingIfNeeded: value))
        case 0x16: guarded.registers.queueSelect = UInt16(truncatingIfNeeded: value)
        default: writeQueue(&guarded.registers, offset, value)
        }
    }

    private func writeFeatures(_ registers: inout PCITransportState, _ word: UInt32) {
        guard !registers.status.contains(.featuresOK), registers.driverFeatureSelect < 2 else { return }
        let shift = UInt64(32 * registers.driverFeatureSelect)
        registers.driverFeatures &= ~(0xFFFF_FFFF << shift)
        registers.driverFeatures |= UInt64(word) << shift
    }

    private func validVector(_ value: UInt64) -> UInt16 {
        value < UInt64(vectors.count) ? UInt16(value) : PCITransportLayout.noVector
    }

    private func writeQueue(_ registers: inout PCITransportState, _ offset: Int, _ value: UInt64) {
        let selected = Int(registers.queueSelect)
        guard selected < registers.queues.count else { return }
        if offset == 0x1A {
            registers.queueVectors[selected] = validVector(value)
            return
        }
        // An enabled queue's ring stays where it is until the device is reset.
        guard !registers.queues[selected].enabled else { return }
        func low(_ field: inout UInt64) { field = field & ~0xFFFF_FFFF | value & 0xFFFF_FFFF }
        func high(_ field: inout UInt64) { field = field & 0xFFFF_FFFF | (value & 0xFFFF_FFFF) << 32 }
        switch offset {
        case 0x18:
            let size = UInt16(truncatingIfNeeded: value)
            if size > 0, size & (size - 1) == 0, size <= device.queueSizes[selected] {
                registers.queues[selected].size = size
            }
        case 0x1C: if value & 0xFFFF == 1 { registers.queues[selected].enabled = true }
        case 0x20: low(&registers.queues[selected].descriptorTable)
        case 0x24: high(&registers.queues[selected].descriptorTable)
        case 0x28: low(&registers.queues[selected].availableRing)
        case 0x2C: high(&registers.queues[selected].availableRing)
        case 0x30: low(&registers.queues[selected].usedRing)
        case 0x34: high(&registers.queues[selected].usedRing)
        default: break
        }
    }

    // MARK: Status

    private func writeStatus(_ guarded: inout Guarded, _ value: UInt8) {
        let wanted = DeviceStatus(rawValue: value)
        environment.trace?(device.id, "its driver writes the status 0x\(String(value, radix: 16))")
        if value == 0 {
            let wasActive = guarded.active
            resetDevice(&guarded)
            if wasActive { environment.driverChanged(device.id, false) }
            return
        }
        let before = guarded.registers.status
        // Bits are only ever added (2.1.1); a driver that takes some away is taken to mean both.
        var status = before.union(wanted.subtracting(.needsReset))
        if status.contains(.featuresOK), !before.contains(.featuresOK) {
            let taken = guarded.registers.driverFeatures
            let valid = taken & ~offered == 0 && taken & VirtioFeatures.version1.rawValue != 0
            if !valid { status.remove(.featuresOK) }
        }
        guarded.registers.status = status
        if status.contains(.driverOK), !before.contains(.driverOK) {
            guard status.contains(.featuresOK) else {
                return needsReset("DRIVER_OK came before the features were agreed on")
            }
            activate(&guarded)
            if guarded.active { environment.driverChanged(device.id, true) }
        }
    }

    func activate(_ guarded: inout Guarded) {
        guard !guarded.active else { return }
        let registers = guarded.registers
        let queues = registers.queues.enumerated().filter { $0.element.enabled }.map { index, config in
            QueueResources(
                index: index, config: config, progress: registers.progress[index] ?? QueueProgress(),
                kick: kicks[index], interrupt: interrupt(registers.queueVectors[index]))
        }
        let activation = VirtioActivation(
            memory: environment.memory, features: registers.driverFeatures, queues: queues, transport: self)
        do {
            try device.activate(activation)
            guarded.active = true
            if let note = environment.note {
                let sizes = queues.map { "\($0.index):\($0.config.size)" }.joined(separator: " ")
                note(device.id, "activated, queues \(sizes), features 0x\(String(registers.driverFeatures, radix: 16))")
            }
        } catch {
            needsReset("\(error)")
        }
    }

    private func interrupt(_ vector: UInt16) -> any InterruptSource {
        Int(vector) < vectors.count ? EventInterrupt(vectors[Int(vector)]) : NoInterrupt()
    }

    func resetDevice(_ guarded: inout Guarded) {
        if guarded.active {
            _ = device.deactivate()
            guarded.active = false
            environment.note?(device.id, "reset")
        }
        device.reset()
        (guarded.isRestored, guarded.hasChanged) = (false, false)
        let configuration = guarded.registers.configuration
        guarded.registers = PCITransportState(
            configuration: configuration, queues: device.queueSizes.map { QueueConfig(size: $0) },
            queueVectors: device.queueSizes.map { _ in PCITransportLayout.noVector })
        configurationVector.store(PCITransportLayout.noVector, ordering: .releasing)
        stopped.store(false, ordering: .releasing)
        isr.store(0, ordering: .releasing)
        for kick in kicks { kick.drain() }
    }
}

/// Raises a vector of the function.
final class EventInterrupt: InterruptSource {
    private let event: EventFD
    init(_ event: EventFD) { self.event = event }
    func signal() { event.signal() }
}

/// The interrupt of a driver that polls.
final class NoInterrupt: InterruptSource {
    func signal() {}
}
