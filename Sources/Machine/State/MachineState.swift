import Host
import KVM
import Legacy
import PCI
import Snapshot
import Virtio

/// All that a machine that stands still is, but its memory; and the way back.
extension MachineInstance {
    /// Takes the state of everything.
    ///
    /// - Parameters:
    ///   - plan: the machine's, with the devices that are there now.
    ///   - adopted: the devices whose queues came as descriptors.
    /// - Throws: when the machine does not stand still, or KVM does not tell.
    func saveState(_ plan: MachinePlan, adopted: Set<String> = []) throws -> StateDocument {
        guard let stopped = stoppedTime.withLock({ $0 }) else {
            throw MachineError.host("the VM runs; pause it first")
        }
        var document = StateDocument()
        try document.add(SavedMachine(plan, adopted: adopted), as: StateName.machine)
        if let clock = stopped.clock { try document.add(clock, as: StateName.clock) }
        let (sizes, listed) = try stateShape()
        for runner in runners {
            // The counter is as it was when the vCPU stopped.
            let state = try runner.handle.save(listed, sizes, hostTSC: stopped.hostTSC)
            try document.add(state, as: StateName.vcpu(runner.index))
        }
        try saveDevices(&document)
        return document
    }

    /// What KVM says of a state, which it is asked for once.
    private func stateShape() throws(KVMError) -> (sizes: VCPUStateSizes, msrs: [UInt32]) {
        if let known = knownShape.withLock({ $0 }) { return known }
        let shape = (sizes: try VCPUStateSizes(machine), msrs: try KVMSystem().stateMSRs())
        knownShape.withLock { $0 = shape }
        return shape
    }

    /// Takes what the machine is while it runs: all but what its vCPUs are at this moment.
    ///
    /// - Parameters: as of `saveState`.
    func outline(_ plan: MachinePlan, adopted: Set<String>) throws -> StateDocument {
        var document = StateDocument()
        try document.add(SavedMachine(plan, adopted: adopted), as: StateName.machine)
        if let clock = try? machine.clockReading() { try document.add(clock, as: StateName.clock) }
        _ = try stateShape()
        for runner in runners { try document.add(runner.handle.outline, as: StateName.vcpu(runner.index)) }
        try saveDevices(&document)
        return document
    }

    private func saveDevices(_ document: inout StateDocument) throws {
        try document.add(machine.saveInterruptChips(), as: StateName.chips)
        try saveLegacy(&document)
        for (_, id, transport) in slots.occupied {
            try document.add(transport.save(), as: id)
            try transport.device.save(to: &document, as: StateName.device(id))
        }
        legacy.pci.catchUp()
        try document.add(slots.root.saved, as: StateName.bus)
    }

    private func saveLegacy(_ document: inout StateDocument) throws {
        if let serial = legacy.serial { try document.add(serial.snapshot, as: StateName.serial) }
        try document.add(legacy.clock.snapshot, as: StateName.cmos)
        try document.add(legacy.keyboard.saved, as: StateName.keyboard)
        try document.add(legacy.debugPort.saved, as: StateName.debugPort)
        try document.add(acpi.saved, as: StateName.acpi)
        try document.add(hotPlug.saved, as: StateName.hotPlug)
    }

    /// Gives a new machine, whose memory is loaded and whose vCPUs have not run, what another one was. It stands still
    /// then, as after `pause`.
    ///
    /// The order: the interrupt chips before the vCPUs' local APICs, these before anything that may raise an interrupt.
    ///
    /// - Throws: `SnapshotError` naming the device and the field that does not fit.
    /// - Parameter isSameMachine: whether it is the one that was saved, which is nowhere else now, and not a copy.
    func restore(_ document: StateDocument, isSameMachine: Bool = false) throws {
        _ = try document.read(SavedMachine.self, of: StateName.machine)
        let now = HostTSC.now
        var clock: ClockReading?
        if document.contains(StateName.clock) {
            let reading = try document.read(ClockReading.self, of: StateName.clock)
            // Before the vCPUs, whose clock pages follow it; it is set again when they go on.
            _ = try machine.setClock(goneOnSince: reading)
            clock = reading
        }
        try machine.restore(document.read(SavedInterruptChips.self, of: StateName.chips), StateName.chips)
        let sizes = try VCPUStateSizes(machine)
        for runner in runners {
            let name = StateName.vcpu(runner.index)
            try runner.handle.restore(document.read(SavedVCPU.self, of: name), name, sizes, hostTSC: now)
        }
        try restoreLegacy(document)
        for (_, id, transport) in slots.occupied {
            // The device first: what its transport has to say may depend on it.
            try transport.device.restore(from: document, as: StateName.device(id))
            try transport.restore(document.read(SavedTransport.self, of: id), id)
        }
        try slots.root.restore(document.read(PCIRootState.self, of: StateName.bus), StateName.bus)
        try document.checkAllRead()
        stoppedTime.withLock {
            $0 = StoppedTime(clock: clock, hostTSC: now, isRestored: true, isSameMachine: isSameMachine)
        }
    }

    private func restoreLegacy(_ document: StateDocument) throws {
        if let serial = legacy.serial {
            try serial.restore(document.read(SerialState.self, of: StateName.serial), StateName.serial)
        }
        try legacy.clock.restore(document.read(CMOSState.self, of: StateName.cmos), StateName.cmos)
        try legacy.keyboard.restore(document.read(I8042State.self, of: StateName.keyboard))
        try legacy.debugPort.restore(document.read(DebugPortState.self, of: StateName.debugPort))
        try acpi.restore(document.read(ACPIState.self, of: StateName.acpi))
        try hotPlug.restore(document.read(HotPlugState.self, of: StateName.hotPlug))
    }
}
