import Boot
import Host
import KVM
import Memory
import Migration
import Snapshot
import Spec
import Synchronization
import VirtioBlock
import VirtioNet

/// A machine that comes from elsewhere, as a migration's sink. All that changes the VM is done by the control thread.
final class ArrivingMachine: MigrationSink {
    let controller: VMController
    private let request: ReceiveMigrationRequest
    private let descriptors: ReceivedDescriptors
    private let hook: MigrationHook?

    struct State {
        var parsed: ParsedConfig?
        var memory: GuestMemory?
        var creation: VMCreation?
        var disks: ArrivingDisks?
        /// What the machine was while it ran, and the making of one that stands by.
        var outline: [UInt8]?
        var errand: ControlErrand?
        var isBuilt = false
        var isPaused = false
        /// What it is made on, and where its pages come from, of a machine whose memory follows it.
        var backing: MemoryBacking?
        var pager: PostcopyPager?
        /// Whether it stands still since its pages do not come.
        var isHeld = false
    }
    let state = Mutex(State())
    var postcopy: (any PostcopySink)? { self }

    /// - Parameter descriptors: the tap queues that came with the request.
    init(
        _ controller: VMController, _ request: ReceiveMigrationRequest, _ descriptors: ReceivedDescriptors,
        _ hook: MigrationHook? = nil
    ) {
        (self.controller, self.request, self.descriptors, self.hook) = (controller, request, descriptors, hook)
    }

    // MARK: Judging

    func reasonsAgainst(_ hello: Hello) -> [String] {
        var reasons: [String] = []
        func note(_ body: () throws -> Void) {
            do { try body() } catch { reasons += MigrationError(sorting: error).reasons }
        }
        note {
            try controller.onControl { vmm in
                if vmm.vm != nil { throw VMError(.failed, ["VM is already created"]) }
            }
        }
        note { reasons += try VMM.missing(hello.needs).map { "the guest needs what this host does not have: \($0)" } }
        reasons += MovedState.unreadable(hello.states)
        note {
            let parsed = try parse(hello)
            let plan = try Self.plan(parsed)
            let own = plan.memory.ranges.map { Hello.Region(address: $0.address, size: $0.size) }
            if own != hello.memory { reasons.append("the memory does not lie where the configuration says") }
            if !hello.isLocal {
                let (ram, swap) = HostProbe.memory
                if plan.memory.ranges.reduce(0, { $0 + $1.size }) > ram &+ swap {
                    reasons.append("the guest has more memory than this host has RAM and swap space")
                }
                note { try FieldErrors.checkHugePages(plan) }
            }
            reasons += obstacles(plan, hello)
            reasons += try ArrivingImages(parsed.config, plan, hello)?.obstacles() ?? []
            if hello.postcopy != nil { reasons += Self.obstaclesToPostcopy(plan) }
        }
        return reasons
    }

    /// The files and taps that could not be had here, as far as that can be seen while their other user has them.
    private func obstacles(_ plan: MachinePlan, _ hello: Hello) -> [String] {
        var found: [String] = []
        func note(_ obstacle: String?) { if let obstacle { found.append(obstacle) } }
        for device in plan.devices {
            switch device.kind {
            case .block(let options, _):
                // Those that come along are not here yet.
                if hello.disks != nil { break }
                do throws(DiskError) {
                    let size = try DiskImage.check(options, ignoringLock: true)
                    let there = hello.devices.first { $0.id == device.id }?.size
                    if let there, size != there {
                        found.append(
                            "the disk \"\(device.id)\" has \(size) bytes here (\(options.path)) and \(there) at the "
                                + "source: this is another image; name the same one, or have it copied with "
                                + "\"disks\": \"mirror\"")
                    }
                } catch {
                    found.append("\(error)")
                }
            case .entropy(let source):
                do throws(MachineError) { try FieldErrors.checkEntropy(source) } catch { found.append("\(error)") }
            case .net(let settings):
                if hello.devices.contains(where: { $0.id == device.id && $0.isAdopted == true }) {
                    if !request.net.contains(where: { $0.id == device.id }) {
                        found.append(
                            "the queues of \(device.id) came as descriptors when the VM was made; send new ones with "
                                + "vm.receive-migration (net_fds)")
                    }
                } else if let mistake = NetBackend.mistake(settings) {
                    found.append("\(mistake)")
                }
            case .console(let mode): note(FieldErrors.obstacle(to: mode, at: "$.console"))
            case .vsock(let settings): note(FieldErrors.obstacle(to: .socket(settings.socket), at: "$.vsock"))
            }
        }
        if let mode = plan.serial { note(FieldErrors.obstacle(to: mode, at: "$.serial")) }
        if let console = plan.debugConsole { note(FieldErrors.obstacle(to: console.mode, at: "$.debug_console")) }
        return found
    }

    private func parse(_ hello: Hello) throws -> ParsedConfig {
        try VMConfig.parse(Array(hello.config.utf8), moved: ArrivingImages.changes(request, hello))
    }

    static func plan(_ parsed: ParsedConfig) throws -> MachinePlan {
        var (config, names) = (parsed.config, DeviceNames())
        return try MachinePlanner().plan(completing: &config, &names)
    }

    // MARK: Arriving

    func prepare(
        _ hello: Hello, memory given: consuming ReceivedMemory?
    ) throws(MigrationError) -> [MemoryRegion] {
        if let hook, let report = controller.migration.report {
            try hook.before(report, heeding: controller.migration.stop?.event)
        }
        do {
            let parsed = try parse(hello)
            let plan = try Self.plan(parsed)
            let disks = try ArrivingImages(parsed.config, plan, hello)?.make()
            var backing = plan.backing
            let memory: GuestMemory
            if let given {
                backing.adopted = given.file.raw
                memory = try GuestMemory(plan.memory.ranges, backing)
            } else {
                try FieldErrors.checkHugePages(plan)
                try FieldErrors.checkMemory(plan)
                // Pages that are there before they come would be taken for those that are to come.
                if hello.postcopy != nil { backing.prefault = false }
                memory = try GuestMemory(plan.memory.ranges, backing)
            }
            let creation = VMCreation(try KVMFile())
            creation.take(memory)
            state.withLock { state in
                (state.parsed, state.memory, state.creation) = (parsed, memory, creation)
                (state.isPaused, state.disks) = (hello.isPaused, disks)
                state.backing = backing
            }
            return memory.snapshotRegions
        } catch {
            throw MigrationError(sorting: error)
        }
    }

    func standBy(_ outline: [UInt8]) {
        let (parsed, memory, creation, disks) = state.withLock { ($0.parsed, $0.memory, $0.creation, $0.disks) }
        // Images that come along are not at their places before, and queues that came as descriptors cannot be let go of.
        guard let parsed, let memory, let creation, disks == nil else { return }
        let hasQueues = !request.net.isEmpty
        let errand = try? ControlErrand { vmm in
            guard !hasQueues else {
                vmm.logger.info("the machine is not made ahead: it gets queues of taps by descriptor (net_fds)")
                return
            }
            vmm.standBy(outline, parsed, MachineSource(of: memory, in: creation))
        }
        guard let errand else { return }
        state.withLock { ($0.outline, $0.errand) = (outline, errand) }
        controller.send(errand)
    }

    func rehearse() {
        guard let (outline, errand) = state.withLock({ state in state.outline.map { ($0, state.errand) } }) else {
            return
        }
        try? errand?.wait()
        try? controller.onControl { vmm in
            guard let standby = vmm.standby else { return }
            _ = try MachineOutline(outline, processors: standby.outline.leaves.count)
        }
    }

    var disks: ArrivingDisks? { state.withLock { $0.disks } }

    func load(_ bytes: [UInt8]) throws(MigrationError) {
        let parsed = state.withLock { $0.parsed }
        guard let parsed else { throw MigrationError(.machine, "a state came before its machine") }
        do {
            try controller.onControl { vmm in
                // Its sections are read when the machine is made; what does not fit at all shows itself here.
                let document = try StateDocument(moved: bytes, Self.name)
                let saved = try document.read(SavedMachine.self, of: StateName.machine)
                if vmm.standby?.outline.machine != saved { _ = try Self.plan(parsed).placed(as: saved) }
                vmm.arriving = document
            }
        } catch {
            throw MigrationError(sorting: error)
        }
    }

    /// What the state is called in errors.
    private static let name = "the state that came"

    func build() throws(MigrationError) {
        let (parsed, memory, creation) = state.withLock { ($0.parsed, $0.memory, $0.creation) }
        let pager = state.withLock { $0.pager }
        guard let parsed, let memory else { throw MigrationError(.machine, "there is no machine to build") }
        let (net, descriptors) = (request.net, descriptors)
        try disks?.install()
        state.withLock { $0.isBuilt = true }
        try controller.onControl { vmm in
            guard let document = vmm.arriving.take() else {
                throw MigrationError(.machine, "there is no state to build a machine with")
            }
            if vmm.takeStandby(document, { vm in if let pager { vm.paging = pager } }) { return }
            var source = MachineSource(document: document) { _ in
                if let pager { vmm.vm?.paging = pager }
            }
            (source.memory, source.isSameMachine) = (memory, true)
            // A machine that stood by and was of no use had that.
            if creation?.isUsed == false { source.creation = creation }
            try vmm.buildArriving(parsed, document, source, net, descriptors)
        }
    }

    func start() throws(MigrationError) {
        disks?.keep()
        let isPaused = state.withLock { $0.isPaused }
        try controller.onControl { vmm in try vmm.goOnArrived(isPaused: isPaused) }
    }

    func discard() {
        let (wasBuilt, disks) = state.withLock { state in
            defer { state = State() }
            return (state.isBuilt, state.disks)
        }
        try? controller.onControl { vmm in
            vmm.arriving = nil
            vmm.dropStandby()
            if wasBuilt { vmm.delete() }
        }
        disks?.discard()
    }
}

extension VMM {
    /// Makes the VM of a machine that arrives; it stands still then.
    ///
    /// - Throws: what keeps it from being made; nothing of it is left then.
    func buildArriving(
        _ parsed: ParsedConfig, _ document: StateDocument, _ source: MachineSource,
        _ net: [RestoreRequest.NetDescriptors],
        _ descriptors: ReceivedDescriptors
    ) throws {
        try create(parsed, goesOn: true)
        do {
            guard let vm else { throw VMError.notCreated }
            startLimit()
            let plan = try vm.plan.placed(as: document.read(SavedMachine.self, of: StateName.machine))
            vm.taps = try adopt(descriptors, net, plan)
            let backends = try Backends(
                plan, selfTest: options.selfTest, lines: vm.lines, taps: vm.taps, isRestored: true)
            if let problem = backends.payloadProblem { logger.warning("the VM that came cannot reboot: \(problem)") }
            vm.backends = backends
            try startLife(from: source)
        } catch {
            delete()
            throw error
        }
    }

    /// Tells the network where the machine that arrived is, and lets it go on; one that stood still at the source speaks for
    /// itself when it is resumed.
    func goOnArrived(isPaused: Bool) throws {
        let instance = try running()
        guard let vm, vm.isPaused else { return }
        for card in instance.slots.devices(NetDevice.self) { card.announceArrival() }
        if isPaused { return }
        try instance.resume()
        vm.isPaused = false
        publish()
        logger.info("the guest runs on here")
    }
}
