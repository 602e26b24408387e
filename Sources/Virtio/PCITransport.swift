import Host
import KVM
import Memory
import PCI
import Synchronization

/// What a virtio function needs of the machine.
package struct PCITransportEnvironment: Sendable {
    /// The guest's RAM.
    package let memory: GuestMemory
    /// Connects its vectors.
    package let connector: any InterruptConnector
    /// Watches its notification addresses.
    package let notifier: any NotificationConnector
    /// Hears of broken rules and failed requests: the device's id and what happened. Called from any thread.
    package let report: @Sendable (String, String) -> Void
    /// Hears when a driver has set its device up (true) or reset it: the device's id. Called on vCPU threads; must not
    /// block.
    package var driverChanged: @Sendable (String, Bool) -> Void = { _, _ in }
    /// Hears what becomes of the device: its id and activation, reset, a move of its registers. nil: nobody listens.
    package var note: (@Sendable (String, String) -> Void)?
    /// Hears each step of the driver's beginning, too. nil: nobody listens.
    package var trace: (@Sendable (String, String) -> Void)?

    package init(
        memory: GuestMemory, connector: any InterruptConnector, notifier: any NotificationConnector,
        report: @escaping @Sendable (String, String) -> Void
    ) {
        (self.memory, self.connector, self.notifier, self.report) = (memory, connector, notifier, report)
    }
}

/// Watches guest-physical addresses for a queue's notifications.
package protocol NotificationConnector: AnyObject, Sendable {
    /// Signals the event on writes to the address in place of an exit, or ends that.
    func notify(_ event: EventFD, at address: UInt64, assign: Bool) throws(KVMError)
}

/// The connector of a real VM: KVM's ioeventfd.
package final class KVMNotificationConnector: NotificationConnector {
    private let machine: VMHandle
    package init(_ machine: VMHandle) { self.machine = machine }
    package func notify(_ event: EventFD, at address: UInt64, assign: Bool) throws(KVMError) {
        try machine.notify(event, on: .memory(address), assign: assign)
    }
}

/// A virtio device as a function of the PCI bus (virtio 1.2 section 4.1), modern interface only.
///
/// The registers are guarded by a mutex that vCPU threads take; the workers never do: what they say goes through the
/// atomics, so that a vCPU may wait for a worker's end while it holds the mutex.
package final class PCITransport: PCIFunction, VirtioTransport {
    struct Guarded {
        var registers: PCITransportState
        var msix: MSIX
        /// Whether the device's workers run.
        var active = false
        /// Where the register range lies while it decodes.
        var address: UInt64?
        /// Whether it has a state from a snapshot and has not gone on since; and whether its device is not what it was.
        var isRestored = false, hasChanged = false
        /// Whether the function is gone; a vCPU that found it just before finds an empty slot.
        var isGone = false
    }

    /// The device behind the function.
    package let device: any VirtioDevice
    let environment: PCITransportEnvironment
    let guarded: Mutex<Guarded>
    let kicks: [EventFD]
    let vectors: [EventFD]
    let msixOffset: Int, windowOffset: Int
    /// What can be raised from workers: ISR bits, NEEDS_RESET, the configuration's generation and vector.
    let isr = Atomic<UInt8>(0)
    let stopped = Atomic<Bool>(false)
    let generation = Atomic<UInt8>(0)
    let configurationVector = Atomic<UInt16>(PCITransportLayout.noVector)

    /// The bytes of guest-physical memory that the function needs, naturally aligned.
    package static let barSize = PCITransportLayout.barSize

    /// Makes the function with its registers at an address that the guest may change.
    package init(
        _ device: any VirtioDevice, at address: UInt64, kind: PCIConfiguration.BARKind = .memory64,
        _ environment: PCITransportEnvironment
    ) throws(HostError) {
        let queues = device.queueSizes.map { QueueConfig(size: $0) }
        let vectorCount = queues.count + 1
        let (space, msixOffset, windowOffset) = PCITransportLayout.configuration(
            device.type, queues: queues.count, vectors: vectorCount, deviceSize: device.configurationSize,
            address: address, kind: kind)
        var kicks: [EventFD] = []
        for _ in queues { kicks.append(try EventFD()) }
        let msix = try MSIX(vectors: vectorCount, connector: environment.connector)
        self.device = device
        self.environment = environment
        self.kicks = kicks
        vectors = msix.events
        self.msixOffset = msixOffset
        self.windowOffset = windowOffset
        let registers = PCITransportState(
            configuration: space, queues: queues,
            queueVectors: queues.map { _ in PCITransportLayout.noVector })
        guarded = Mutex(Guarded(registers: registers, msix: msix))
    }

    package var id: String { device.id }

    // MARK: What the workers say

    package func configurationChanged() {
        generation.wrappingAdd(1, ordering: .releasing)
        isr.bitwiseOr(2, ordering: .releasing)
        signalConfiguration()
    }

    package func needsReset(_ reason: String) {
        environment.report(device.id, reason)
        // Ordering: the flag is looked at after the interrupt that follows it.
        stopped.store(true, ordering: .releasing)
        isr.bitwiseOr(2, ordering: .releasing)
        signalConfiguration()
    }

    private func signalConfiguration() {
        let vector = Int(configurationVector.load(ordering: .acquiring))
        if vector < vectors.count { vectors[vector].signal() }
    }

    // MARK: Configuration space

    package func readConfiguration(_ offset: Int, size: Int) -> UInt32 {
        guarded.withLock { guarded in
            guard !guarded.isGone else { return .max }
            if let access = windowAccess(guarded, offset, size) {
                return UInt32(truncatingIfNeeded: readRegisters(&guarded, access.offset, size: access.size))
            }
            return guarded.registers.configuration.read(offset, size: size)
        }
    }

    package func writeConfiguration(_ offset: Int, size: Int, value: UInt32) {
        guarded.withLock { guarded in
            guard !guarded.isGone else { return }
            if let access = windowAccess(guarded, offset, size) {
                return writeRegisters(&guarded, access.offset, size: access.size, UInt64(value))
            }
            guarded.registers.configuration.write(offset, size: size, value: value)
            let control = guarded.registers.configuration.read(msixOffset + 2, size: 2)
            report {
                try guarded.msix.setControl(enabled: control & 0x8000 != 0, functionMasked: control & 0x4000 != 0)
            }
        }
    }

    /// An access through the window of the configuration access capability (4.1.4.9): where in the registers it goes.
    private func windowAccess(_ guarded: Guarded, _ offset: Int, _ size: Int) -> (offset: Int, size: Int)? {
        guard windowOffset > 0, offset >= windowOffset + 16, offset < windowOffset + 20 else { return nil }
        let space = guarded.registers.configuration
        let target = Int(space.read(windowOffset + 8, size: 4))
        let length = Int(space.read(windowOffset + 12, size: 4))
        guard space.read(windowOffset + 4, size: 1) == 0, [1, 2, 4].contains(length), target % length == 0,
            target <= Int(PCITransportLayout.barSize) - length
        else { return nil }
        return (target, min(length, size))
    }

    package var decoded: [PCIConfiguration.Decoded] { guarded.withLock { $0.registers.configuration.decoded } }

    package func placed(bar: Int, at address: UInt64?) {
        guarded.withLock { guarded in
            if let old = guarded.address { watch(old, assign: false) }
            let place = guarded.isGone ? nil : address
            if let note = environment.note, guarded.address != place {
                note(
                    device.id,
                    place.map { "its registers are at 0x\(String($0, radix: 16))" } ?? "its registers are off")
            }
            guarded.address = place
            if let place { watch(place, assign: true) }
        }
    }

    private func watch(_ address: UInt64, assign: Bool) {
        for (queue, kick) in kicks.enumerated() {
            let place = address + UInt64(PCITransportLayout.notify + queue * PCITransportLayout.notifyStride)
            report { try environment.notifier.notify(kick, at: place, assign: assign) }
        }
    }

    /// A request to KVM that fails here leaves the device without interrupts or notifications; the log says so.
    func report(_ body: () throws -> Void) {
        do { try body() } catch { environment.report(device.id, "\(error)") }
    }

    // MARK: The register range

    package func read(bar: Int, offset: UInt64, size: Int) -> UInt64 {
        guard bar == PCITransportLayout.bar, let offset = Int(exactly: offset) else { return .max }
        return guarded.withLock { $0.isGone ? .max : readRegisters(&$0, offset, size: size) }
    }

    package func write(bar: Int, offset: UInt64, size: Int, value: UInt64) {
        guard bar == PCITransportLayout.bar, let offset = Int(exactly: offset) else { return }
        guarded.withLock { guarded in
            if !guarded.isGone { writeRegisters(&guarded, offset, size: size, value) }
        }
    }

    private func readRegisters(_ guarded: inout Guarded, _ offset: Int, size: Int) -> UInt64 {
        typealias Layout = PCITransportLayout
        switch offset {
        case Layout.common..<Layout.common + Layout.commonSize:
            return readCommon(guarded, offset - Layout.common, size: size)
        case Layout.device..<Layout.device + Layout.deviceSize:
            let bytes = device.configuration()
            let start = offset - Layout.device
            var value: UInt64 = 0
            for index in 0..<min(size, 8) where start + index < bytes.count {
                value |= UInt64(bytes[start + index]) << UInt64(8 * index)
            }
            return value
        case Layout.isr: return UInt64(isr.exchange(0, ordering: .acquiringAndReleasing))
        case Layout.table..<Layout.table + guarded.msix.tableSize:
            return guarded.msix.readTable(offset - Layout.table, size: size)
        case Layout.pending..<Layout.pending + guarded.msix.pendingSize:
            return guarded.msix.readPending(offset - Layout.pending, size: size)
        default: return 0
        }
    }

    private func writeRegisters(_ guarded: inout Guarded, _ offset: Int, size: Int, _ value: UInt64) {
        typealias Layout = PCITransportLayout
        switch offset {
        case Layout.common..<Layout.common + Layout.commonSize:
            writeCommon(&guarded, offset - Layout.common, size: size, value)
        case Layout.device..<Layout.device + Layout.deviceSize:
            let start = offset - Layout.device
            guard (1...8).contains(size), start + size <= device.configurationSize else { return }
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
            device.writeConfiguration(offset: start, bytes: bytes)
        case Layout.notify..<Layout.notify + kicks.count * Layout.notifyStride:
            // Only where KVM does not watch the address, for instance through the configuration access window.
            kicks[(offset - Layout.notify) / Layout.notifyStride].signal()
        case Layout.table..<Layout.table + guarded.msix.tableSize:
            report { try guarded.msix.writeTable(offset - Layout.table, size: size, value: value) }
        default: break
        }
    }

    /// Stops the device's workers and brings all registers but configuration space back to their start.
    package func reset() { guarded.withLock { resetDevice(&$0) } }

    /// Stops the workers for good, when the device or the machine goes away: no interrupt or notification is connected
    /// any more, and the registers answer like an empty slot.
    package func shutDown() {
        guarded.withLock { guarded in
            guarded.isGone = true
            resetDevice(&guarded)
            if let address = guarded.address { watch(address, assign: false) }
            guarded.address = nil
            report { try guarded.msix.reset() }
        }
    }
}
