import Host
import KVM
import Snapshot
import Spec

/// The commands, on the control thread.
extension VMM {
    /// Carries a command out.
    func carryOut(_ command: VMCommand) -> Result<VMReply, VMError> {
        do {
            try refuseWhileMigrating(command)
            return .success(try perform(command))
        } catch let error as VMError {
            return .failure(error.during(command.words))
        } catch let error as SnapshotError {
            return .failure(VMError(error).during(command.words))
        } catch let error as SpecError {
            return .failure(VMError(error).during(command.words))
        } catch {
            return .failure(VMError(MachineError(sorting: error)).during(command.words))
        }
    }

    private func perform(_ command: VMCommand) throws -> VMReply {
        switch command {
        case .create(let parsed): try create(parsed)
        case .boot:
            guard let vm else { throw VMError.notCreated }
            guard vm.instance == nil else { throw VMError(.failed, ["VM is already booted"]) }
            try boot()
        case .shutdown:
            _ = try running()
            shutDown()
        case .delete:
            guard vm != nil else { break }
            delete()
            emit(.deleted)
        case .reboot:
            guard vm?.instance != nil else { throw VMError(.notFound, ["VM is not booted"]) }
            try reboot()
        case .pause: try pause()
        case .resume: try resume()
        case .powerButton: try running().pressPowerButton()
        case .nmi: try running().raiseNMI()
        case .coredump(let path): try coredump(path)
        case .snapshot(let request): try snapshot(request)
        case .restore(let request, let descriptors): try restore(request, descriptors)
        case .fork(let request): return try fork(request)
        case .addDisk(let disk): return try add(disk)
        case .addNet(let net, let descriptors): return try add(net, descriptors)
        case .addVsock(let vsock): return try add(vsock)
        case .removeDevice(let id): try removeDevice(id)
        case .resizeDisk(let id, let size): try resizeDisk(id, to: size)
        case .measureDirtying(let on): try running().measureDirtying(on)
        case .resolveMigration(let request): try resolveMigration(request)
        case .sendMigration, .checkMigration, .receiveMigration, .quit: break
        }
        return .done
    }

    /// The guest's life at hand.
    func running() throws(VMError) -> MachineInstance {
        guard let vm else { throw .notCreated }
        guard let instance = vm.instance else { throw .notBooted }
        return instance
    }

    func emit(_ event: VMEvent, _ properties: [String: String] = [:]) { options.emit(event, properties) }

    // MARK: Creation

    /// Takes a configuration: chooses ids and addresses, plans the machine, opens the consoles.
    ///
    /// - Parameter goesOn: whether the guest comes from elsewhere: the consoles' files keep what is in them.
    func create(_ parsed: ParsedConfig, goesOn: Bool = false) throws {
        vm = try make(parsed, goesOn: goesOn)
        publish()
    }

    /// Makes what `create` creates; nobody sees it yet.
    ///
    /// - Parameter isStandby: whether another process still has what only one can have.
    func make(_ parsed: ParsedConfig, goesOn: Bool, isStandby: Bool = false) throws -> CreatedVM {
        guard vm == nil else { throw VMError(.failed, ["VM is already created"]) }
        var (config, names) = (parsed.config, DeviceNames())
        let plan = try MachinePlanner().plan(completing: &config, &names)
        try SharedFiles.refuse(plan, options.files)
        logger.info("the machine is planned", metadata: ["pci": "\(plan.devices.count)"])
        let (logger, mailbox) = (logger, controller.mailbox)
        let events = ConsoleBackends.Events(report: { logger.warning("\($0)") }, quit: { mailbox.send(.quit) })
        let lines: ConsoleBackends
        do { lines = try ConsoleBackends(plan, events, goesOn: goesOn, isStandby: isStandby) } catch {
            throw PlannedFiles.completed(error, plan)
        }
        for (name, path) in lines.terminals.sorted(by: { $0.key < $1.key }) { logger.notice("\(name) is at \(path)") }
        return CreatedVM(config, names, plan, lines)
    }

    /// Ends the guest if it runs, closes the consoles, forgets the configuration.
    func delete() {
        shutDown()
        vm?.lines.close()
        vm = nil
        publish()
    }

    /// Shows the VM as it is now to those who ask from other threads.
    func publish() {
        let state: VMStatus.State =
            vm?.instance == nil ? .created : vm?.isPaused == true ? .paused : .running
        controller.status.update { content in
            content.config = vm?.config
            content.plan = vm?.backends?.plan ?? vm?.plan
            content.instance = vm?.instance
            content.lines = vm?.lines
            content.paging = vm?.paging
            content.state = state
        }
    }

    // MARK: The guest's lives

    /// Opens the host's resources and starts the guest's first life.
    func boot() throws {
        guard let vm else { throw VMError.notCreated }
        startLimit()
        let backends: Backends
        do { backends = try Backends(vm.plan, selfTest: options.selfTest, lines: vm.lines, taps: vm.taps) } catch {
            throw PlannedFiles.completed(error, vm.plan)
        }
        for (id, name) in backends.interfaces { logger.info("\(id) is the interface \(name)") }
        vm.backends = backends
        // Everything that the configuration names was found and opened: from here on the machine comes to be.
        emit(.booting)
        do {
            try startLife()
        } catch {
            vm.backends = nil
            throw error
        }
        emit(.booted)
    }

    /// Starts a life of the guest: from its payload, or from where a saved one stood, and then standing still.
    func startLife(from source: MachineSource? = nil) throws {
        guard let vm, let backends = vm.backends else { throw VMError.notBooted }
        let instance = try makeInstance(backends, from: source)
        if source == nil { try instance.start() } else { try instance.startPaused() }
        begin(instance, isRestored: source != nil)
    }

    /// Makes the machine of a life of the guest; nothing of it runs.
    func makeInstance(_ backends: Backends, from source: MachineSource?) throws -> MachineInstance {
        life += 1
        let (life, mailbox, logger, emit) = (life, controller.mailbox, logger, options.emit)
        return try MachineInstance(
            backends,
            InstanceEvents(
                request: { mailbox.send(.request(life: life, $0)) },
                failed: { mailbox.send(.failed(life: life, vcpu: $0, $1)) },
                report: { logger.warning("\($1)", metadata: ["device": "\($0)"]) },
                phase: { logger.info("\($0) ready: \($1())") }, details: BootDetails(logger: logger),
                ejected: { mailbox.send(.ejected(life: life, slot: $0)) },
                driverChanged: { emit($1 ? .deviceActivated : .deviceReset, ["id": $0]) },
                isCancelled: { [controller] in controller.isEnding }), from: source, isCommanded: options.isCommanded)
    }

    /// The VM's guest lives in this machine from now on.
    func begin(_ instance: MachineInstance, isRestored: Bool) {
        guard let vm else { return }
        vm.instance = instance
        vm.isPaused = isRestored
        tidyAt = HostClock.monotonic + 3_000_000_000
        logger.info(
            isRestored ? "the guest is restored" : "the guest runs",
            metadata: ["vcpus": "\(vm.plan.processors.boot)"])
        publish()
    }

    /// Stops the guest's life at hand.
    private func endLife() -> Bool {
        guard let vm, let instance = vm.instance else { return true }
        noteProgress()
        let clean = instance.stop(vm.paging)
        vm.paging?.stop()
        (vm.paging, vm.snapshot) = (nil, nil)
        finishRemovals(vm, instance)
        if !clean { logger.error("a vCPU did not leave the guest; the process's end will take it along") }
        // Messages of this life that still come are not heard.
        life += 1
        vm.instance = nil
        vm.isPaused = false
        return clean
    }

    /// Ends the guest; the configuration and the consoles stay.
    func shutDown() {
        guard let vm, vm.instance != nil || vm.backends != nil else { return }
        _ = endLife()
        // Of a life that did not begin.
        vm.paging?.stop()
        (vm.backends, vm.paging, vm.snapshot) = (nil, nil, nil)
        publish()
        emit(.shutdown)
    }

    /// Ends the guest's life and starts the next one from the payload.
    func reboot() throws(MachineError) {
        guard vm?.instance != nil else { return }
        emit(.rebooting)
        reboots += 1
        logger.info("the guest reboots", metadata: ["count": "\(reboots)"])
        guard endLife() else { throw .host("a vCPU did not leave the guest: KVM holds it") }
        do {
            try MachineError.sorted { try startLife() }
        } catch {
            shutDown()
            throw error
        }
        emit(.rebooted)
    }

    // MARK: Standing still

    func pause() throws {
        let instance = try running()
        guard vm?.isPaused == false else { throw VMError(.failed, ["VM is already paused"]) }
        emit(.pausing)
        try instance.pause()
        vm?.isPaused = true
        publish()
        logger.info("the guest stands still")
        emit(.paused)
    }

    private func coredump(_ path: String) throws {
        let instance = try running()
        try finishMemory()
        let file = try Coredump.create(path)
        emit(.coredumping)
        let wasPaused = vm?.isPaused == true
        do {
            if !wasPaused { try instance.pause() }
        } catch {
            FileDescriptor.remove(path)
            throw error
        }
        let failure: MachineError?
        do throws(MachineError) {
            try Coredump.write(instance.memory, instance.runners.map(\.handle), to: file, at: path)
            failure = nil
        } catch { failure = error }
        if !wasPaused { try instance.resume() }
        if let failure { throw failure }
        do throws(VMError) { try checkMemory() } catch {
            FileDescriptor.remove(path)
            throw error
        }
    }

    func resume() throws {
        let instance = try running()
        guard vm?.isPaused == true else { throw VMError(.failed, ["VM is not paused"]) }
        emit(.resuming)
        try instance.resume()
        vm?.paging?.guestRuns()
        vm?.isPaused = false
        publish()
        logger.info("the guest runs on")
        emit(.resumed)
    }
}
