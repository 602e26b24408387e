import CLinux
import Host
import Legacy
import Logging

/// A VM in the foreground: its plan, its host resources, and the guest's lives one after the other.
///
/// All that happens to it comes as messages to one thread, the one that calls `run`.
package final class VirtualMachine {
    private enum Message: Sendable {
        case request(GuestRequest)
        case failed(Int, VCPUFailure)
        case quit
    }

    private let plan: MachinePlan
    private let selfTest: SelfTestGuest
    private let logger: Logger
    private var reboots = 0

    /// Where the first life's progress port was first written, in ns of the monotonic clock; 0 before it.
    package private(set) var firstProgress: UInt64 = 0

    /// How long the VM may run, in ms; nil for ever.
    private let limit: UInt64?

    /// - Parameter limit: ms after which the VM is stopped and taken for dead.
    package init(_ plan: MachinePlan, selfTest: SelfTestGuest, logger: Logger, limit: UInt64? = nil) {
        (self.plan, self.selfTest, self.logger, self.limit) = (plan, selfTest, logger, limit)
    }

    /// Runs the VM until it ends. Signals of the process are taken over from here on; the caller has no other threads.
    ///
    /// - Throws: what kept the machine from being made; nothing of it is left then.
    package func run() throws(MachineError) -> MachineOutcome {
        try MachineError.sorted {
            let signals = try SignalFD([SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGWINCH])
            let mailbox = try Mailbox<Message>()
            let epoll = try Epoll()
            try epoll.add(signals.raw, .readable, token: 1)
            try epoll.add(mailbox.event.raw, .readable, token: 2)
            let logger = logger
            let backends = try openBackends(mailbox)
            defer { backends.lines.close() }
            announce(backends)
            // All lives of the guest together.
            let deadline = limit.map { HostClock.monotonic + $0 * 1_000_000 }
            while true {
                let instance = try build(backends, mailbox)
                try instance.start()
                logger.info("the guest runs", metadata: ["vcpus": "\(plan.processors.boot)"])
                let outcome = wait(epoll, signals, mailbox, instance, until: deadline)
                firstProgress = firstProgress == 0 ? instance.debugPort.observed.firstAt : firstProgress
                let clean = instance.stop()
                if !clean { logger.error("a vCPU did not leave the guest; the process's end will take it along") }
                if let outcome { return outcome }
                guard clean else { return .died("the guest's reboot found a vCPU that KVM does not let go") }
                // Messages of the life that is over are of no interest to the next one.
                _ = mailbox.receive()
                reboots += 1
                logger.info("the guest reboots", metadata: ["count": "\(reboots)"])
            }
        }
    }

    /// Opens the consoles, then the rest; a failure of the rest gives the terminal back before its message is printed.
    private func openBackends(_ mailbox: Mailbox<Message>) throws -> Backends {
        let logger = logger
        let lines = try ConsoleBackends(
            plan,
            ConsoleBackends.Events(report: { logger.warning("\($0)") }, quit: { mailbox.send(.quit) }))
        do {
            return try Backends(plan, selfTest: selfTest, lines: lines)
        } catch {
            lines.close()
            throw error
        }
    }

    private func announce(_ backends: Backends) {
        for (name, path) in backends.lines.terminals.sorted(by: { $0.key < $1.key }) {
            logger.notice("\(name) is at \(path)")
        }
        for (id, name) in backends.interfaces { logger.info("\(id) is the interface \(name)") }
    }

    private func build(_ backends: Backends, _ mailbox: Mailbox<Message>) throws -> MachineInstance {
        let logger = logger
        return try MachineInstance(
            backends,
            InstanceEvents(
                request: { mailbox.send(.request($0)) },
                failed: { mailbox.send(.failed($0, $1)) },
                report: { logger.warning("\($1)", metadata: ["device": "\($0)"]) },
                phase: { logger.info("\($0) ready: \($1)") }))
    }

    /// Waits for what ends this life of the guest: an outcome, or nil for a reboot.
    private func wait(
        _ epoll: borrowing Epoll, _ signals: borrowing SignalFD, _ mailbox: Mailbox<Message>,
        _ instance: MachineInstance, until deadline: UInt64?
    ) -> MachineOutcome? {
        while true {
            var timeout: Int32 = -1
            if let deadline {
                let now = HostClock.monotonic
                guard now < deadline else { return .died("it did not end within \(limit ?? 0) ms") }
                timeout = Int32(clamping: (deadline - now) / 1_000_000 + 1)
            }
            epoll.wait(timeout: timeout) { _ in }
            while let signal = signals.next() {
                switch signal {
                case SIGUSR1:
                    logger.info("the power button is pressed")
                    instance.pressPowerButton()
                case SIGWINCH:
                    if let size = Terminal.size(1) { instance.resizeConsoles(columns: size.columns, rows: size.rows) }
                default: return .signal(signal)
                }
            }
            for message in mailbox.receive() {
                switch message {
                case .quit: return .powerOff
                case .request(.powerOff): return .powerOff
                case .request(.reset): return nil
                case .request(.exit(let code)): return .selfTest(code)
                case .failed(let vcpu, let failure): return .died(failure.message(vcpu: vcpu))
                }
            }
        }
    }
}
