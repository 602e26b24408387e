import CharBackend
import Host

/// The host's ends of the guest's character devices: opened when the VM is created, since clients look up the
/// pseudo-terminals then, and kept until it is deleted, so that no output is lost between two boots.
package final class ConsoleBackends: Sendable {
    /// The serial port's line; nil without a port.
    let serial: CharPort?
    /// The debug console's line; nil without one.
    let debugConsole: CharPort?
    /// The virtio consoles' lines, by device.
    let consoles: [String: CharPort]
    /// The other end of each pseudo-terminal, by the name of its section (`serial`, `console`, `debug_console`).
    package let terminals: [String: String]
    private let loop: CharLoop
    /// The lines that go into files.
    private let files: [CharPort]

    /// What the lines tell the VM.
    package struct Events: Sendable {
        /// Trouble with a line, for the log.
        let report: @Sendable (String) -> Void
        /// The terminal's user ends the VM.
        let quit: @Sendable () -> Void
    }

    /// Opens the lines that the plan names.
    ///
    /// - Parameters:
    ///   - goesOn: whether files keep what is in them: the guest's output so far is there.
    ///   - isStandby: whether another process still has the sockets' paths: nobody listens there before `takeBack`.
    /// - Throws: `MachineError` with the section's field; nothing stays open then.
    init(_ plan: MachinePlan, _ events: Events, goesOn: Bool = false, isStandby: Bool = false) throws {
        let loop = try CharLoop(report: events.report, onQuit: events.quit)
        var terminals: [String: String] = [:]
        var files: [CharPort] = []
        func open(_ mode: CharMode, _ name: String) throws -> CharPort {
            let opened: CharLoop.Opened
            do throws(HostError) { opened = try loop.open(mode, goesOn: goesOn, isStandby: isStandby) } catch {
                throw FieldErrors.console(name, mode, error)
            }
            if let path = opened.ptyPath { terminals[name] = path }
            if case .file = mode { files.append(opened.port) }
            return opened.port
        }
        do {
            var consoles: [String: CharPort] = [:]
            debugConsole = try plan.debugConsole.map { try open($0.mode, "debug_console") }
            serial = try plan.serial.map { try open($0, "serial") }
            for device in plan.devices {
                if case .console(let mode) = device.kind { consoles[device.id] = try open(mode, "console") }
            }
            self.consoles = consoles
        } catch {
            loop.stop(deadlineMilliseconds: 0)
            throw error
        }
        (self.terminals, self.files) = (terminals, files)
        self.loop = loop
    }

    /// A character device that clients of the API attach to.
    package enum Line: String, Sendable {
        case serial, console
    }

    /// The line of a device; nil where the guest has none.
    package func port(_ line: Line) -> CharPort? {
        switch line {
        case .serial: serial
        case .console: consoles.min { $0.key < $1.key }?.value
        }
    }

    /// Lets another process have the lines of a guest that stands still: its output so far is in its files, given a
    /// moment, for somebody else may write behind it, and nobody listens at its sockets any more.
    func letGo() {
        loop.letGo()
        let deadline = HostClock.monotonic + 200_000_000
        while files.contains(where: { $0.pendingCount > 0 }), HostClock.monotonic < deadline {
            HostClock.sleep(microseconds: 200)
        }
    }

    /// Takes them again after `letGo`.
    func takeBack() throws(HostError) { try loop.takeBack() }

    /// Writes what the guest's consoles still hold and closes them; the terminal gets its state back.
    package func close() { loop.stop() }
}
