import Host
import Logging
import Migration
import SecureStream
import Snapshot
import Spec
import Synchronization

/// Moving the VM to another process and taking one from it; the control thread begins it, and other threads do it.
extension VMM {
    /// Begins what a command asks of a migration; its reply comes when that is over.
    ///
    /// - Returns: whether it is such a command.
    func beginMigration(_ command: VMCommand, _ reply: @escaping VMReplyHandler) -> Bool {
        do throws(VMError) {
            switch command {
            case .sendMigration(let request): try send(request, reply)
            case .checkMigration(let request): try check(request, reply)
            case .receiveMigration(let request, let descriptors): try receive(request, descriptors, reply)
            default: return false
            }
        } catch {
            reply(.failure(error.during(command.words)))
        }
        return true
    }

    /// Refuses a command that a machine on its way has no place for.
    func refuseWhileMigrating(_ command: VMCommand) throws(VMError) {
        switch command {
        case .powerButton, .nmi, .measureDirtying, .quit, .resolveMigration, .sendMigration, .checkMigration,
            .receiveMigration:
            return
        default: break
        }
        if let words = controller.migration.report?.postcopyObstacle { throw VMError(.failed, [words]) }
        if controller.migration.unresolved != nil {
            throw VMError(
                .failed, [controller.migration.report?.decision ?? "a migration waits for vm.migration.resolve"])
        }
        if controller.migration.isBusy {
            throw VMError(
                .failed, ["a migration is under way; wait for its end or call it off with vm.migration.cancel"])
        }
    }

    private static func address(_ text: String, _ field: String) throws(VMError) -> StreamAddress {
        guard let address = StreamAddress(text) else {
            throw VMError(.invalid, ["$.\(field): got \"\(text)\", expected \(StreamAddress.syntax)"])
        }
        return address
    }

    private static func options(_ request: SendMigrationRequest) throws(VMError) -> SenderOptions {
        var options = SenderOptions(try address(request.destination, "destination_url"))
        (options.downtime, options.timeout) = (request.downtime, request.timeout * 1000)
        options.timeUp = request.timeoutStrategy == .cancel ? .cancel : .ignore
        (options.connections, options.isLocal) = (request.connections, request.isLocal)
        (options.mayThrottle, options.bandwidth) = (request.autoConverge, request.bandwidth)
        (options.isPostcopy, options.reconnect) = (request.isPostcopy, request.reconnect * 1000)
        options.compresses = request.compression == .zstd
        if options.compresses, !Zstd.isBuiltIn {
            throw VMError(
                .invalid, ["$.compression: this swiftlet was built without libzstd: \(Zstd.remedy), or leave it out"])
        }
        if case .tcp(let number, _) = options.address {
            let host = StreamAddress.host(in: request.destination) ?? number
            options.security = try security(request.tlsDirectory, .client(host: host, address: number))
        }
        return options
    }

    private static func security(
        _ directory: String?, _ role: SecureCredentials.Role
    ) throws(VMError) -> (any StreamSecurity)? {
        guard let directory else { return nil }
        do throws(CredentialError) { return try SecureCredentials(directory: directory, role: role) } catch {
            throw VMError(.failed, ["$.tls_dir: \(error)"])
        }
    }

    private func leaving(_ request: SendMigrationRequest) throws(VMError) -> LeavingMachine {
        let instance = try running()
        guard controller.migration.unresolved == nil else {
            throw VMError(.failed, ["the last migration waits for vm.migration.resolve"])
        }
        // What is not there cannot be sent, and what cannot be had must not be sent as zeroes.
        try finishMemory()
        var disks: LeavingDisks?
        if request.disks == .mirror, let vm {
            do throws(MigrationError) { disks = try LeavingDisks(vm) } catch {
                throw VMError(.failed, error.reasons)
            }
        }
        return LeavingMachine(
            controller, instance, writer: options.writer, wasPaused: vm?.isPaused == true, disks: disks)
    }

    // MARK: Sending

    private func send(_ request: SendMigrationRequest, _ reply: @escaping VMReplyHandler) throws(VMError) {
        let sending = try Self.options(request)
        let machine = try leaving(request)
        let (controller, logger, emit) = (controller, logger, options.emit)
        let farewell = SourceFarewell(self, machine)
        let hook = options.migrationHook.map { MigrationHook(path: $0) }
        let words = VMCommand.sendMigration(request).words
        let report = MigrationReport(
            .source, token: machine.token, peer: sending.address.description, state: "connecting")
        try controller.migration.begin(report) { progress, stop in
            emit(.migrationStarted, [:])
            logger.info(
                "the VM is to move",
                metadata: [
                    "to": "\(sending.address)", "tls": "\(sending.security != nil)", "token": "\(machine.token)",
                ])
            let outcome: SenderOutcome
            do throws(MigrationError) {
                try hook?.before(progress.now, heeding: stop.event)
                let sender = MigrationSender(sending, machine, progress, stop) { round in
                    emit(.migrationMemoryIteration, ["id": "\(round)"])
                }
                outcome = sender.run()
            } catch {
                outcome = .returned(error)
                progress.update { report in
                    (report.state, report.isOver, report.problem) = ("returned", true, error.description)
                }
            }
            hook?.after(progress.now)
            let seeking = sending.isPostcopy ? sending : nil
            if case .unresolved = outcome { controller.migration.hold(machine, seeking: seeking) }
            if case .stranded = outcome { controller.migration.hold(machine, seeking: seeking) }
            if case .returned(_, .some) = outcome {
                // Before commands are taken again, which are refused by it.
                progress.update { $0.state = MigrationReport.stuck }
                controller.migration.hold(machine)
            }
            controller.migration.finish()
            switch outcome {
            case .moved:
                farewell.moved(progress.now)
                reply(.success(.done))
                farewell.endProcess()
            case .returned(let error, let stuck):
                var chain = error.reasons
                if let stuck {
                    chain.append("and the VM stands still: \(stuck); vm.migration.resolve with run-here tries again")
                }
                logger.warning("the VM did not move: \(chain.joined(separator: "; "))")
                emit(.migrationFailed, stuck == nil ? [:] : ["token": machine.token])
                reply(.failure(VMError(error.kind == .invalid ? .invalid : .failed, chain).during(words)))
            case .stranded(let error):
                let chain = farewell.waits(MigrationReport.stranded(error, token: machine.token))
                reply(.failure(VMError(.failed, chain).during(words)))
            case .unresolved(let error):
                let chain = farewell.waits([
                    "the destination did not answer to the commit: \(error)",
                    "the VM stands still here, and whether it runs there has to be looked up: GET vm.migration there, of "
                        + "token \(machine.token); then vm.migration.resolve here. One that does not answer there is ended "
                        + "first: it may have the commit, and run when it wakes",
                ])
                reply(.failure(VMError(.failed, chain).during(words)))
            }
        }
    }

    private func check(_ request: SendMigrationRequest, _ reply: @escaping VMReplyHandler) throws(VMError) {
        let sending = try Self.options(request)
        let machine = try leaving(request)
        guard !controller.migration.isBusy else { throw VMError(.failed, ["a migration is under way"]) }
        let words = VMCommand.checkMigration(request).words
        // It is none, and is not told of as one.
        let progress = MigrationProgress(MigrationReport(.source, token: machine.token, peer: "", state: "checking"))
        do throws(HostError) {
            let stop = try MigrationStop()
            checkThread = try Thread("check", stackSize: 1 << 20) {
                do throws(MigrationError) {
                    let reasons = try MigrationSender(sending, machine, progress, stop).check()
                    reply(.success(.reasons(reasons)))
                } catch {
                    reply(.failure(VMError(.failed, error.reasons).during(words)))
                }
            }
        } catch {
            throw VMError(.failed, ["\(error)"])
        }
    }

    /// Carries out what a person decided on a machine of which nobody knew where it is.
    func resolveMigration(_ request: ResolveMigrationRequest) throws {
        if try resolveArrival(request) { return }
        guard let machine = controller.migration.unresolved, machine.token == request.token else {
            throw VMError(
                .notFound, ["no migration of the token \"\(request.token.prefix(64))\" waits for a decision here"])
        }
        guard !controller.migration.isBusy else {
            throw VMError(.failed, ["the destination is being sought; GET vm.migration tells how that ends"])
        }
        switch request.action {
        case .reconnect: try seekDestination(machine)
        case .runHere:
            if controller.migration.report?.owner == "destination" { throw MigrationReport.refusedRun }
            let instance = try running()
            guard let vm else { throw VMError.notCreated }
            try vm.backends?.takeBack()
            if vm.isPaused, !machine.wasPaused {
                try instance.resume()
                vm.isPaused = false
            }
            try? instance.endLeaving()
            machine.mirror?.end()
            controller.migration.resolve("returned", owner: "source")
            publish()
            logger.notice("the guest runs on here, as was decided", metadata: ["token": "\(machine.token)"])
            emit(.resumed)
        case .discard:
            controller.migration.resolve("moved", owner: "destination")
            logger.notice("the guest is dropped here, as was decided", metadata: ["token": "\(machine.token)"])
            delete()
            emit(.deleted)
        }
    }

    // MARK: Receiving

    private func receive(
        _ request: ReceiveMigrationRequest, _ descriptors: ReceivedDescriptors, _ reply: @escaping VMReplyHandler
    ) throws(VMError) {
        let address = try Self.address(request.receiver, "receiver_url")
        let security = try Self.security(request.tlsDirectory, .server)
        guard vm == nil else { throw VMError(.failed, ["VM is already created"]) }
        try Self.checkCount(descriptors, request.net)
        guard !controller.migration.isBusy else { throw VMError(.failed, ["another migration is under way"]) }
        let listener: StreamListener
        do throws(HostError) { listener = try StreamListener(address, backlog: 160) } catch {
            throw VMError(.failed, ["$.receiver_url: \(error)"])
        }
        let hook = options.migrationHook.map { MigrationHook(path: $0) }
        let machine = ArrivingMachine(controller, request, descriptors, hook)
        let (controller, logger, emit) = (controller, logger, options.emit)
        let words = VMCommand.receiveMigration(request, descriptors).words
        let place = listener.address.description
        // Nobody listens there any more when the reply goes out: whoever gets it may ask again at once.
        let held = HeldListener(listener)
        let report = MigrationReport(.destination, token: "", peer: place, state: "waiting")
        try controller.migration.begin(report) { progress, stop in
            emit(.migrationReceiveReady, ["url": place])
            logger.notice("waiting for a VM", metadata: ["at": "\(place)"])
            let reply = OneReply(reply)
            let outcome = held.use { listener in
                let receiver = MigrationReceiver(
                    listener, machine, progress, stop, onStart: { emit(.migrationReceiveStarted, [:]) },
                    report: { logger.warning("\($0)") })
                receiver.onStarved = { error in
                    logger.error("\(error)")
                    emit(.migrationReceiveFailed, ["token": progress.now.token])
                    reply(.failure(VMError(.failed, error.reasons).during(words)))
                }
                receiver.security = security
                return receiver.run()
            }
            hook?.after(progress.now)
            controller.migration.finish()
            switch outcome {
            case .arrived(let problem):
                if let problem { logger.error("the VM is here and stands still: \(problem)") }
                if progress.now.isPostcopy { emit(.postcopyMigrationCompleted, [:]) }
                emit(.migrationReceiveFinished, [:])
                reply(.success(.done))
            case .ended:
                let words = "the VM that came ended before all of its memory was here"
                logger.warning("\(words)")
                emit(.migrationReceiveFailed, [:])
                reply(.failure(VMError(.failed, [words])))
            case .failed(let error):
                logger.warning("no VM came: \(error)")
                emit(.migrationReceiveFailed, [:])
                reply(.failure(VMError(error.kind == .invalid ? .invalid : .failed, error.reasons).during(words)))
            }
        }
    }
}

/// Tells of a migration's end at the source, on the migration's thread.
struct SourceFarewell: Sendable {
    private let controller: VMController
    private let logger: Logger
    private let emit: VMEventHandler
    private let token: String
    private let endsProcess: Bool

    init(_ vmm: VMM, _ machine: LeavingMachine) {
        (controller, logger, emit) = (vmm.controller, vmm.logger, vmm.options.emit)
        (token, endsProcess) = (machine.token, !vmm.options.survivesGuest)
    }

    func moved(_ report: MigrationReport) {
        logger.info("the VM has moved", metadata: ["downtime_ms": "\(report.downtime ?? 0)"])
        if report.isPostcopy { emit(.postcopyMigrationCompleted, [:]) }
        emit(.migrationFinished, [:])
    }

    /// Ends the process, unless it outlives its guests.
    func endProcess() { if endsProcess { controller.end() } }

    /// The machine waits for a person's word.
    ///
    /// - Returns: the words.
    @discardableResult
    func waits(_ chain: [String]) -> [String] {
        logger.error("\(chain.joined(separator: "; "))")
        emit(.migrationFailed, ["token": token])
        return chain
    }
}

/// A listener until it has been used.
private final class HeldListener: Sendable {
    private let listener: Mutex<StreamListener?>

    init(_ listener: StreamListener) { self.listener = Mutex(listener) }

    /// Hands it out, and lets go of it then.
    func use(_ body: (StreamListener) -> ReceiverOutcome) -> ReceiverOutcome {
        let taken = listener.withLock { $0.take() }
        guard let taken else { return .failed(MigrationError(.machine, "nobody listens any more")) }
        return body(taken)
    }
}
