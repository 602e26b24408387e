import Foundation
import Synchronization

/// A program to start, with all that it is given.
package struct Command: Sendable {
    /// A path, or a name looked up in `PATH`.
    package var program: String
    /// What follows the program's name.
    package var arguments: [String]
    /// All environment variables of the new process; this process's own unless changed.
    package var environment = ProcessInfo.processInfo.environment
    /// Where it starts; here unless changed.
    package var directory: String?

    /// A program with its arguments.
    package init(_ program: String, _ arguments: [String] = []) {
        self.program = program
        self.arguments = arguments
    }

    /// The command as a person would type it.
    package var line: String { ([program] + arguments).joined(separator: " ") }
}

/// How a child process's standard streams are connected.
package enum Connection: Sendable {
    /// Three pipes.
    case pipes
    /// One pseudo-terminal for all three, the process's controlling terminal; its output counts as standard output.
    case terminal
}

/// A running process in a session of its own, whose output is collected by threads of ours.
///
/// The whole process group is killed when this object goes.
package final class ChildProcess: Sendable {
    private struct State {
        var input: Int32?
        var ending: Ending?
    }

    /// What was started.
    package let command: Command
    /// The process's id, which is its group's too. Signals go through `signal`, which knows whether it lives.
    package let id: pid_t
    private let state = Mutex(State())
    private let started = ContinuousClock.now
    private let collectors: [Collector]

    /// Starts the program.
    package init(_ command: Command, _ connection: Connection = .pipes) throws {
        ignoreWriteSignals
        self.command = command
        switch connection {
        case .pipes:
            let (input, output, errors) = (try makePipe(), try makePipe(), try makePipe())
            defer { for file in [input.read, output.write, errors.write] { close(file) } }
            let ours = [output.read, errors.read]
            do { id = try spawn(command, SpawnFiles(standard: [input.read, output.write, errors.write])) } catch {
                for file in ours + [input.write] { close(file) }
                throw error
            }
            collectors = ours.map { Collector(file: $0) }
            state.withLock { $0.input = input.write }
        case .terminal:
            let terminal = try makeTerminal()
            do { id = try spawn(command, SpawnFiles(terminal: terminal.path)) } catch {
                close(terminal.controller)
                throw error
            }
            collectors = [Collector(file: terminal.controller)]
            state.withLock { $0.input = dup(terminal.controller) }
        }
        for collector in collectors { collector.start() }
    }

    deinit {
        kill()
        closeInput()
    }

    /// Standard output so far; with a terminal, everything.
    package var outputBytes: [UInt8] { collectors[0].bytes }
    /// Standard output so far as text.
    package var output: String { String(decoding: outputBytes, as: UTF8.self) }
    /// Standard error so far as text; empty with a terminal.
    package var errors: String { collectors.count > 1 ? String(decoding: collectors[1].bytes, as: UTF8.self) : "" }
    /// The time since the start.
    package var age: Duration { started.duration(to: .now) }

    /// How the process ended, or nil while it runs.
    package var ending: Ending? {
        state.withLock { state in
            if state.ending == nil {
                var status: Int32 = 0
                // SAFETY: waitpid fills the integer that it is given.
                if unsafe waitpid(id, &status, WNOHANG) == id { state.ending = Ending(waitStatus: status) }
            }
            return state.ending
        }
    }

    /// Writes to its standard input, waiting until all is taken.
    package func write(_ text: String) throws { try write(Array(text.utf8)) }

    /// Writes to its standard input, waiting until all is taken.
    package func write(_ bytes: [UInt8]) throws {
        guard let file = state.withLock({ $0.input }) else {
            throw SpawnError(action: "write to \(command.program)", number: EPIPE)
        }
        try FileHandle(fileDescriptor: file, closeOnDealloc: false).write(contentsOf: Data(bytes))
    }

    /// Closes its standard input, so that it reads the end of the file. A terminal has no such end.
    package func closeInput() {
        let file = state.withLock { state in
            defer { state.input = nil }
            return state.input
        }
        if let file { close(file) }
    }

    /// Gives the process's terminal another size; the kernel sends SIGWINCH.
    package func resize(columns: UInt16, rows: UInt16) throws {
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        // SAFETY: the request reads the local.
        let result = state.withLock { state in unsafe ioctl(state.input ?? -1, UInt(TIOCSWINSZ), &size) }
        guard result == 0 else { throw SpawnError(action: "resize the terminal of \(command.program)", number: errno) }
    }

    /// Sends a signal to the process alone, unless it has ended.
    package func signal(_ number: Int32) {
        _ = ending
        state.withLock { if $0.ending == nil { _ = Glibc.kill(id, number) } }
    }

    /// Kills the process and its group, and waits until the process is gone.
    package func kill() {
        _ = Glibc.kill(-id, SIGKILL)
        _ = Deadline.seconds(10).wait { ending != nil }
    }

    /// Waits until the output holds the text after what earlier calls consumed, and consumes it.
    ///
    /// - Returns: the output from where the last call stopped to the end of the text.
    /// - Throws: ``ExpectationError`` when the time is up or the process ended without saying it.
    @discardableResult
    package func expect(_ text: String, by deadline: Deadline) throws -> String {
        try collectors[0].expect(text, by: deadline, whileOpen: collectors) { evidence }
    }

    /// Waits until the process has ended and its output is complete.
    ///
    /// - Throws: ``ExpectationError`` when the time is up; the process goes on running.
    package func waitForEnd(by deadline: Deadline) throws -> Ending {
        if deadline.wait(until: { ending != nil }), let ending {
            // A grandchild may hold the pipes open: it has this long to finish.
            _ = Deadline.seconds(2).wait { collectors.allSatisfy(\.atEnd) }
            return ending
        }
        throw ExpectationError(expected: "its end", evidence: evidence, isTimeout: true)
    }

    /// What happened so far, for a person: the command, its state and the end of what it printed.
    package var evidence: String {
        let seconds = age.components.seconds
        let state = ending.map { "it \($0)" } ?? "it still ran"
        return """
            after \(seconds) s \(state)
            command: \(command.line)
            --- standard output (end) ---
            \(output.suffix(6000))
            --- standard error (end) ---
            \(errors.suffix(3000))
            ---
            """
    }
}

/// Writing to a process that has gone is an error here, not the end of the tests.
private let ignoreWriteSignals: Void = { _ = signal(SIGPIPE, SIG_IGN) }()
