import Boot
import CharBackend
import Host
import KVM
import Legacy
import Memory
import PCI
import Snapshot
import Synchronization
import Virtio
import VirtioConsole

/// What a running guest tells its VM, from any thread.
struct InstanceEvents: Sendable {
    /// The guest asked for something by a register.
    var request: @Sendable (GuestRequest) -> Void
    /// A vCPU cannot go on.
    let failed: @Sendable (Int, VCPUFailure) -> Void
    /// A device has something for the log: its id and what happened.
    let report: @Sendable (String, String) -> Void
    /// A phase of the build is done: its name, and what makes the details for those who read them.
    let phase: @Sendable (String, () -> String) -> Void
    /// Takes what the machine is made of.
    let details: BootDetails
    /// The guest let go of the device in a slot, which waits for `MachineInstance.finishRemoval`.
    var ejected: @Sendable (UInt8) -> Void = { _ in }
    /// A driver has set a device up (true) or reset it: its id.
    var driverChanged: @Sendable (String, Bool) -> Void = { _, _ in }
    /// Whether the process is to end, asked while the machine is built.
    var isCancelled: @Sendable () -> Bool = { false }
}

/// One life of the guest, from its payload's first instruction to power-off or reboot.
final class MachineInstance: Sendable {
    private let plan: MachinePlan
    let machine: VMHandle
    let memory: GuestMemory
    /// The virtio devices in their slots of the PCI bus.
    let slots: DeviceSlots
    let runners: [VCPURunner]
    let stopping: StopFlag
    /// The devices at I/O ports.
    let legacy: LegacyDevices
    var acpi: ACPIRegisters { legacy.acpi }
    var hotPlug: HotPlugRegisters { legacy.hotPlug }
    /// Where the guest's progress codes go.
    var debugPort: DebugPort { legacy.debugPort }
    private let serialPort: CharPort?
    /// KVM's own log of what the guest writes.
    let dirtyLog: DirtyLog
    /// How fast the guest writes its memory, while somebody wants to know.
    let dirtyMeter = DirtyMeter()
    /// What was written since the last snapshot that a diff may build upon.
    let writtenPages = WrittenPages()
    /// What was written since a migration last looked, while there is one.
    let leavingPages = LeavingPages()
    /// The guest's time while it stands still; nil while it runs.
    let stoppedTime = Mutex<StoppedTime?>(nil)
    /// What KVM says of a vCPU's state: the sizes of its structures and the MSRs; nil before it was asked.
    let knownShape = Mutex<(sizes: VCPUStateSizes, msrs: [UInt32])?>(nil)

    /// Builds the machine, and loads its payload or gives it what another one was; nothing runs yet.
    ///
    /// - Parameters:
    ///   - saved: what it goes on from; nil boots it. It stands still then, as after `pause`.
    ///   - isCommanded: whether devices may come while it runs: the guest that boots has slots for them then.
    init(
        _ backends: Backends, _ events: InstanceEvents, from saved: MachineSource? = nil, isCommanded: Bool = true
    ) throws {
        plan = backends.plan
        let creation = try saved?.creation ?? VMCreation(KVMFile())
        let system = creation.system
        let details = events.details
        details.capabilities(system.kvm)
        try VMCreation.check(system.kvm)
        let memory = try saved?.memory ?? Self.makeMemory(plan, unless: events.isCancelled)
        creation.take(memory)
        self.memory = memory
        details.memory(memory)
        events.phase("memory") { "\(memory.size >> 20) MiB in \(memory.ranges.count) range(s)" }

        let entry: EntryState?
        if let saved {
            try saved.loadMemory(memory)
            if !saved.isSameMachine { try Self.renewGeneration(memory) }
            events.phase("payload") { "the memory of the snapshot" }
            entry = nil
        } else {
            let loaded = try Self.loadPayload(backends, memory, isCommanded: isCommanded, details)
            events.phase("payload") { loaded.words }
            entry = loaded.entry
        }
        let (machine, registration) = try creation.finish()
        self.machine = machine
        if plan.dirtyLog == .ring { try DirtyRings.enable(machine) }

        let stopping = StopFlag()
        self.stopping = stopping
        var heard = events
        heard.request = { wish in
            // The guest is not to run on behind its own last word.
            stopping.set()
            events.request(wish)
        }
        slots = DeviceSlots(PCIRoot(windows: plan.windows), machine, memory, events)
        let builder = DeviceBuilder(backends: backends)
        let devices = plan.devices
        for planned in devices { try slots.insert(builder.make(planned), planned, at: planned.registers) }
        events.phase("devices") { "\(devices.count) on the PCI bus" }

        legacy = try LegacyDevices(plan, backends, machine: machine, slots: slots, heard)
        serialPort = backends.lines.serial

        let handles =
            if let entry {
                try Self.createVCPUs(plan, system.kvm, machine, entry: entry, details)
            } else {
                try Self.createBareVCPUs(plan, system.kvm, machine, saved?.leaves ?? [])
            }
        if let first = handles.first { legacy.pci.deferAddresses(machine, first) }
        try registration.finish()
        dirtyLog = DirtyLog(machine, memory, rings: DirtyRings(machine, handles))
        let buses = (legacy.ports, MemoryBus(pci: slots.root, ram: memory.ranges))
        let log = dirtyLog
        runners = try handles.enumerated().map { index, handle in
            try VCPURunner(index, handle, buses: buses, log: log, stopping: stopping) { vcpu, failure in
                stopping.set()
                events.failed(vcpu, failure)
            }
        }
        events.phase("vcpus") { "\(handles.count)" }
        if let saved {
            guard let document = saved.document else { return }
            try restore(document, isSameMachine: saved.isSameMachine)
        }
        connectSerial()
    }

    /// Gives a machine that was made without a state the one that it was to have.
    ///
    /// - Throws: as `restore` does.
    func take(_ document: StateDocument) throws {
        try restore(document, isSameMachine: true)
        connectSerial()
    }

    /// Last of all: the two hold each other from here until `stop`.
    private func connectSerial() {
        if let serial = legacy.serial { serialPort?.connect(serial) }
    }

    private static func makeMemory(_ plan: MachinePlan, unless isCancelled: () -> Bool) throws -> GuestMemory {
        try FieldErrors.checkHugePages(plan)
        try FieldErrors.checkMemory(plan)
        return try GuestMemory(plan.memory.ranges, plan.backing, unless: isCancelled)
    }

    /// Gives the VM an id that no other has: by it a guest from a snapshot learns that it is not the only one.
    private static func renewGeneration(_ memory: GuestMemory) throws {
        try memory.write(UInt64.random(in: .min ... .max), at: MachineLayout.generationID)
        try memory.write(UInt64.random(in: .min ... .max), at: MachineLayout.generationID + 8)
    }

    private static func loadPayload(
        _ backends: Backends, _ memory: GuestMemory, isCommanded: Bool, _ details: BootDetails
    ) throws -> LoadedPayload {
        let plan = backends.plan
        // Not as a list, for which the runtime looks through all conformances of the executable.
        var devices = ACPIMachine.LegacyDevices.clock
        if plan.serial != nil { devices.insert(.serial) }
        let lastSlot = plan.devices.map(\.address.device).max() ?? 0
        let description = ACPIMachine(
            processors: ACPIMachine.Processors(
                apicIDs: Array(plan.processors.apicIDs.prefix(plan.processors.boot)),
                bootCount: plan.processors.boot),
            pci: ACPIMachine.PCIRoot(
                memory64: plan.windows.memory64.isEmpty ? nil : plan.windows.memory64,
                lastSlot: isCommanded ? MachineLayout.pciSlots.upperBound : lastSlot),
            devices: devices)
        let tables = try ACPITables.build(description)
        for block in tables.blocks { try memory.write(block.bytes, at: block.address) }
        try memory.write(ResetVector.code, at: MachineLayout.resetVector)
        try renewGeneration(memory)
        details.tables(tables)
        let loaded = try PayloadLoader.load(backends.payload(), into: memory, map: plan.memory, rsdp: tables.rsdp)
        details.payload(loaded)
        return loaded
    }

    /// Makes vCPUs that get their state from a snapshot.
    ///
    /// - Parameter leaves: of each its CPUID leaves, where they are known before its state.
    private static func createBareVCPUs(
        _ plan: MachinePlan, _ system: borrowing KVMSystem, _ machine: VMHandle, _ leaves: [[CPUIDEntry]]
    ) throws -> [VCPUHandle] {
        try checkVCPUs(plan, system)
        return try plan.processors.apicIDs.prefix(plan.processors.boot).enumerated().map { index, id in
            let handle = try machine.createVCPU(id: id)
            if leaves.indices.contains(index) { try handle.setCPUID(leaves[index]) }
            return handle
        }
    }

    private static func checkVCPUs(_ plan: MachinePlan, _ system: borrowing KVMSystem) throws {
        let limit = system.value(of: .maximumVCPUs)
        guard limit == 0 || plan.processors.boot <= limit else {
            throw FieldErrors.vcpus(plan.processors.boot, limit: limit)
        }
    }

    private static func createVCPUs(
        _ plan: MachinePlan, _ system: borrowing KVMSystem, _ machine: VMHandle, entry: EntryState,
        _ details: BootDetails
    ) throws -> [VCPUHandle] {
        try checkVCPUs(plan, system)
        let supported = try system.supportedCPUID()
        let tscDeadline = system.value(of: .tscDeadline) != 0
        let hostBrand = GuestCPUID.hasBrand(supported) ? [] : GuestCPUID.brandLeaves.map { CPUIDEntry.host($0) }
        var handles: [VCPUHandle] = []
        for apicID in plan.processors.apicIDs.prefix(plan.processors.boot) {
            let handle = try machine.createVCPU(id: apicID)
            var source = CPUIDSource(
                supported: supported, topology: plan.processors.topology,
                physicalAddressBits: plan.processors.physicalAddressBits,
                tscKilohertz: try? handle.tscKilohertz(), tscDeadline: tscDeadline)
            source.hostBrand = hostBrand
            let leaves = GuestCPUID.entries(source, apicID: apicID)
            details.processor(handles.count, apicID: apicID, leaves)
            try VCPUSetup.prepare(handle, cpuid: leaves)
            handles.append(handle)
        }
        if let first = handles.first { try entry.apply(to: first) }
        return handles
    }

    // MARK: Life

    /// Starts the vCPUs.
    ///
    /// - Throws: when a thread cannot be started; those that were are stopped again.
    func start() throws {
        try KickSignal.install()
        do {
            for runner in runners { try runner.start(plan.processors) }
        } catch {
            _ = endThreads()
            throw error
        }
    }

    /// Starts the vCPUs of a machine from a snapshot, which stand still until `resume`.
    func startPaused() throws {
        for runner in runners { runner.askToPark() }
        try start()
        let deadline = HostClock.monotonic + Self.patience
        while !runners.allSatisfy(\.isParked) {
            guard HostClock.monotonic < deadline else {
                _ = endThreads()
                throw MachineError.host("a vCPU of the restored VM did not come to stand still within 3 s")
            }
            HostClock.sleep(microseconds: 100)
        }
    }

    /// Has the vCPUs leave the guest for good, without waiting for more than a moment: those that wait for a page of the
    /// guest's memory may not leave before they have it, and do so then.
    func halt() {
        stopping.set()
        let deadline = HostClock.monotonic + 100_000_000
        repeat {
            for runner in runners { runner.kick() }
            HostClock.sleep(milliseconds: 1)
        } while !runners.allSatisfy(\.hasEnded) && HostClock.monotonic < deadline
    }

    /// Stops the vCPUs and the device workers for good.
    ///
    /// - Parameter paging: where pages of the guest's memory come from, which is given up when the vCPUs were told.
    /// - Returns: whether every vCPU came out of the guest; one that KVM itself holds is left to the process's end.
    func stop(_ paging: (any GuestPaging)? = nil) -> Bool {
        if memory.arrival.isPending {
            halt()
            memory.arrival.lose()
        }
        paging?.release()
        return endThreads()
    }

    /// Ends what works on the machine; its memory stays what it is, for another machine perhaps.
    ///
    /// - Returns: as `stop` does.
    func endThreads() -> Bool {
        stopping.set()
        let deadline = HostClock.monotonic + 3_000_000_000
        var waiting = runners
        while !waiting.isEmpty, HostClock.monotonic < deadline {
            for runner in waiting { runner.kick() }
            waiting.removeAll { $0.hasEnded }
            if !waiting.isEmpty { HostClock.sleep(milliseconds: 1) }
        }
        for runner in runners where runner.hasEnded { runner.join() }
        serialPort?.connect(nil)
        slots.shutDown()
        return waiting.isEmpty
    }

    /// The virtio functions on the PCI bus now, in the order of their slots.
    var transports: [PCITransport] { slots.transports }

    // MARK: What the outside does to the guest

    /// Presses the power button.
    func pressPowerButton() { acpi.raise(ACPIEvent.powerButton.rawValue) }

    /// Tells the consoles the terminal's size.
    func resizeConsoles(columns: UInt16, rows: UInt16) {
        for console in slots.devices(ConsoleDevice.self) { console.resize(columns: columns, rows: rows) }
    }
}
