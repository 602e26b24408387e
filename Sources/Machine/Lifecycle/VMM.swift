import CLinux
import Host
import Legacy
import Logging
import Snapshot
import Spec

/// Takes what happens to a VM, with details.
package typealias VMEventHandler = @Sendable (VMEvent, [String: String]) -> Void

/// The process's one VM, from its creation over the guest's lives to its deletion.
///
/// All that changes it happens on one thread, the one that calls `run`, and comes to it as messages.
package final class VMM {
    /// How the VM is run.
    package struct Options: Sendable {
        /// What boots without a payload.
        package var selfTest: SelfTestGuest
        /// The program and its version, as snapshots name their writer.
        package var writer = "swiftlet"
        /// ms from the first boot on after which the VM is stopped and taken for dead; nil for ever.
        package var limit: UInt64?
        /// Whether the process goes on, for its API's clients, when the guest powers off or dies.
        package var survivesGuest = false
        /// Whether anybody can command the VM. Where nobody can, the machine has no slots beyond its devices': to each
        /// that stands empty for a device to come Linux gives half a ms of its boot in the lab.
        package var isCommanded = true
        /// The program that is told of migrations and may object; nil for none.
        package var migrationHook: String?
        /// What the process writes for itself, which no VM may have.
        package var files: [ProcessFile] = []
        /// The words that start a process for a VM that is made of this one; nil where none can be.
        package var childArguments: (@Sendable (ForkRequest.Child) -> [String])?
        /// Is called when a VM of a snapshot stands there, before anything else happens to it; what it throws ends it.
        package var restored: @Sendable () throws -> Void = {}
        /// Hears what happens to the VM, on any thread; must not block.
        package var emit: VMEventHandler = { _, _ in }

        package init(selfTest: SelfTestGuest) { self.selfTest = selfTest }
    }

    let options: Options
    let logger: Logger
    /// The way to this VM from other threads.
    package let controller: VMController
    /// The VM that was created; nil without one.
    var vm: CreatedVM?
    /// The state of the machine that arrives, read and not used yet.
    var arriving: StateDocument?
    /// The machine that is to have that state, if it was made before.
    var standby: StandbyMachine?
    /// Asks a migration's destination whether it would work.
    var checkThread: Thread?
    /// Counts the guest's lives: messages of one that is over are of no interest.
    var life = 0
    var reboots = 0
    private var deadline: UInt64?
    /// When what a life's boot has left behind is put away, in ns of the monotonic clock; nil when it is.
    var tidyAt: UInt64?
    /// How the process ends as soon as the destination of its VM has all of the memory; nil while nobody asked.
    private var putOff: MachineOutcome?

    /// When the first life's progress port was first written, in ns of the monotonic clock; 0 before it.
    package private(set) var firstProgress: UInt64 = 0

    /// A VM that is not created yet. Signals of the process are taken over when it runs.
    package init(_ options: Options, logger: Logger) throws(HostError) {
        (self.options, self.logger) = (options, logger)
        controller = try VMController()
    }

    /// The signals that are heard.
    private static let signals = VMController.endSignals + [SIGUSR1, SIGWINCH]

    /// Has those signals wait until `run` hears them. On the process's first thread, before it makes what a signal's end
    /// would leave behind: threads, sockets, locks.
    package static func holdSignals() { hold(signals) }

    /// Runs until the guest, a client, the terminal's user or a signal ends the VM.
    ///
    /// - Parameters:
    ///   - config: a VM to create and boot at once; nil waits for the commands of clients.
    ///   - saved: a snapshot to make the VM of instead.
    /// - Throws: what keeps that VM from being made; nothing of it is left then.
    package func run(
        _ config: ParsedConfig? = nil, restoring saved: RestoreRequest? = nil
    ) throws(MachineError) -> MachineOutcome {
        try MachineError.sorted {
            let signals = try SignalFD(Self.signals)
            let epoll = try Epoll()
            try epoll.add(signals.raw, .readable, token: 1)
            try epoll.add(controller.mailbox.event.raw, .readable, token: 2)
            defer { close() }
            if let config {
                try create(config)
                do { try boot() } catch {
                    // What is in the way of the boot is the end that is asked for: it comes below.
                    guard controller.isEnding else { throw error }
                }
            }
            if let saved {
                do {
                    try restore(saved, ReceivedDescriptors())
                    try options.restored()
                } catch {
                    guard controller.isEnding else { throw error }
                }
            }
            while true {
                if let outcome = wait(epoll, signals) { return outcome }
            }
        }
    }

    private func wait(_ epoll: borrowing Epoll, _ signals: borrowing SignalFD) -> MachineOutcome? {
        var timeout: Int32 = -1
        if let deadline {
            let now = HostClock.monotonic
            guard now < deadline else { return .died("it did not end within \(options.limit ?? 0) ms") }
            timeout = Int32(clamping: (deadline - now) / 1_000_000 + 1)
        }
        if let putOff {
            guard controller.migration.report?.reasonToStay != nil else { return putOff }
            timeout = timeout < 0 ? 200 : min(timeout, 200)
        }
        if let tidyAt {
            let now = HostClock.monotonic
            if now < tidyAt {
                let rest = Int32(clamping: (tidyAt - now) / 1_000_000 + 1)
                timeout = timeout < 0 ? rest : min(timeout, rest)
            } else {
                vm?.instance?.memory.releaseSources()
                self.tidyAt = nil
            }
        }
        epoll.wait(timeout: timeout) { _ in }
        while let signal = signals.next() {
            switch signal {
            case SIGUSR1:
                logger.info("the power button is pressed")
                vm?.instance?.pressPowerButton()
            case SIGWINCH:
                if let size = Terminal.size(1) { vm?.instance?.resizeConsoles(columns: size.columns, rows: size.rows) }
            default: if let outcome = end(.signal(signal)) { return outcome }
            }
        }
        let messages = controller.mailbox.receive()
        if vm?.instance?.memory.arrival.isLost == true, let words = lostMemory,
            let outcome = guestEnded(.died(words))
        {
            controller.close(messages)
            return outcome
        }
        for (index, message) in messages.enumerated() {
            if let outcome = handle(message) {
                controller.close(messages[(index + 1)...])
                return outcome
            }
        }
        return nil
    }

    private func handle(_ message: VMMessage) -> MachineOutcome? {
        switch message {
        case .quit: return end(.powerOff)
        case .command(.quit, let reply):
            if let words = controller.migration.report?.reasonToStay {
                controller.stays()
                reply(.failure(VMError(.conflict, [words]).during(VMCommand.quit.words)))
                return nil
            }
            reply(.success(.done))
            return .quit
        case .command(let command, let reply):
            logger.debug("command", metadata: ["name": "\(command.name)"])
            if !beginMigration(command, reply) { reply(carryOut(command)) }
            return nil
        case .errand(let errand):
            errand.carryOut(self)
            return nil
        case .request(let from, let request): return from == life ? guestAsks(request) : nil
        case .ejected(let from, let slot):
            if from == life { deviceEjected(slot) }
            return nil
        case .failed(let from, let vcpu, let failure):
            guard from == life else { return nil }
            // KVM cannot enter a guest whose page is lost.
            return guestEnded(.died(lostMemory ?? failure.message(vcpu: vcpu)))
        }
    }

    /// Ends the process, unless that would lose a guest whose memory is on its way from here: then it ends when that is
    /// over, or when it is asked again.
    private func end(_ outcome: MachineOutcome) -> MachineOutcome? {
        guard putOff == nil, let words = controller.migration.report?.reasonToStay else { return outcome }
        putOff = outcome
        logger.warning("the process does not end yet: \(words)")
        return nil
    }

    private func guestAsks(_ request: GuestRequest) -> MachineOutcome? {
        switch request {
        case .powerOff: return guestEnded(.powerOff)
        case .exit(let code): return guestEnded(.selfTest(code))
        case .reset:
            do throws(MachineError) {
                try reboot()
                return nil
            } catch {
                return guestEnded(.died("it asked for a reboot, and that failed: \(error)"))
            }
        }
    }

    /// That pages of the guest's memory are lost, and why; nil as long as they are not.
    private var lostMemory: String? { vm?.paging?.failure.map { "its memory is lost: \($0)" } }

    /// The guest is over: so is the process, unless it is to survive its guest.
    private func guestEnded(_ outcome: MachineOutcome) -> MachineOutcome? {
        noteProgress()
        guard options.survivesGuest else { return outcome }
        logger.notice("the guest is over", metadata: ["outcome": "\(outcome)"])
        shutDown()
        return nil
    }

    /// The first boot starts the time that the VM has.
    func startLimit() {
        guard deadline == nil, let limit = options.limit else { return }
        deadline = HostClock.monotonic + limit * 1_000_000
    }

    /// Keeps when the guest first made itself heard.
    func noteProgress() {
        if firstProgress == 0, let port = vm?.instance?.debugPort { firstProgress = port.observed.firstAt }
    }

    /// Whatever is left of the VM goes.
    private func close() {
        controller.close([])
        controller.migration.end()
        noteProgress()
        dropStandby()
        delete()
    }
}
