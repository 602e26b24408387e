import Host
import Synchronization

/// Where a character device's bytes go.
package enum CharMode: Equatable, Sendable {
    /// Standard input and output.
    case tty
    /// Output into a new file.
    case file(String)
    /// A new pseudo-terminal.
    case pty
    /// A Unix socket at a path.
    case socket(String)
    /// Nowhere but to clients that attach.
    case null
}

/// The process's I/O thread for character devices: all ports share it.
package final class CharLoop: Sendable {
    private struct Line: Sendable {
        let port: CharPort
        let endpoint: any CharEndpoint
    }

    private struct State {
        var lines: [Line] = []
        var stopDeadline: UInt64?
    }

    private let wake: EventFD
    private let state = Mutex(State())
    private let thread: Mutex<Thread?>
    private let report: CharReport
    private let onQuit: @Sendable () -> Void

    /// - Parameters:
    ///   - report: hears of trouble with a backend.
    ///   - onQuit: called when a terminal's user types Ctrl-A x.
    package init(report: @escaping CharReport, onQuit: @escaping @Sendable () -> Void) throws(HostError) {
        wake = try EventFD()
        thread = Mutex(nil)
        self.report = report
        self.onQuit = onQuit
    }

    /// An open port and, for a pseudo-terminal, where its other end is.
    package struct Opened: Sendable {
        /// The guest's side.
        package let port: CharPort
        /// The path that a pseudo-terminal got.
        package let ptyPath: String?
    }

    /// Opens a backend.
    ///
    /// - Parameters:
    ///   - goesOn: whether a file keeps what is in it, since the guest's output so far is there.
    ///   - isStandby: whether a socket's path is another process's until `takeBack`.
    package func open(
        _ mode: CharMode, goesOn: Bool = false, isStandby: Bool = false
    ) throws(HostError) -> Opened {
        let endpoint: any CharEndpoint
        var path: String?
        switch mode {
        case .null: endpoint = NullEndpoint()
        case .tty: endpoint = try TtyEndpoint(onQuit: onQuit)
        case .file(let name): endpoint = try FileEndpoint(path: name, goesOn: goesOn, report: report)
        case .socket(let name): endpoint = try SocketEndpoint(path: name, isStandby: isStandby)
        case .pty:
            let pty = try PtyEndpoint()
            path = pty.path
            endpoint = pty
        }
        let port = CharPort(wake: wake, discards: mode == .null) { [weak self] () throws(HostError) in
            try self?.start()
        }
        state.withLock { $0.lines.append(Line(port: port, endpoint: endpoint)) }
        // A line to nowhere needs no thread until a client attaches.
        if mode != .null { try start() }
        wake.signal()
        return Opened(port: port, ptyPath: path)
    }

    private func start() throws(HostError) {
        let started = thread.withLock { thread -> Result<Void, HostError> in
            guard thread == nil, state.withLock({ $0.stopDeadline == nil }) else { return .success(()) }
            do throws(HostError) {
                thread = try Thread("char-io") { [self] in run() }
                return .success(())
            } catch { return .failure(error) }
        }
        try started.get()
    }

    /// Lets another process have the sockets' paths; clients that are there stay.
    package func letGo() {
        for line in state.withLock({ $0.lines }) { line.endpoint.letGo() }
        // The I/O thread still waits for clients at them.
        wake.signal()
    }

    /// Listens again after `letGo`; nothing where it does.
    package func takeBack() throws(HostError) {
        for line in state.withLock({ $0.lines }) { try line.endpoint.takeBack() }
        wake.signal()
    }

    /// Writes what waits, for at most the given time, then ends the thread and closes all backends.
    package func stop(deadlineMilliseconds: UInt64 = 1000) {
        state.withLock { $0.stopDeadline = HostClock.monotonic + deadlineMilliseconds * 1_000_000 }
        wake.signal()
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
        let lines = state.withLock { state in
            defer { state.lines = [] }
            return state.lines
        }
        for line in lines {
            // What the guest said last, as far as the clients take it.
            _ = line.port.clients.serve(line.port)
            line.port.clients.end()
        }
    }

    private func run() {
        while true {
            let (lines, deadline) = state.withLock { ($0.lines, $0.stopDeadline) }
            var timeout: Int32 = -1
            if let deadline {
                let now = HostClock.monotonic
                guard now < deadline, lines.contains(where: { $0.port.pendingCount > 0 }) else { return }
                timeout = Int32(clamping: (deadline - now) / 1_000_000 + 1)
            }
            serve(lines, timeout: timeout, isStopping: deadline != nil)
        }
    }

    private func serve(_ lines: [Line], timeout: Int32, isStopping: Bool) {
        var entries = [PollEntry(wake.raw, forReading: true)]
        var meaning: [(Int, Kind)] = [(0, .wake)]
        var timeout = timeout
        for (index, line) in lines.enumerated() {
            if let listener = line.endpoint.listener {
                entries.append(PollEntry(listener, forReading: true))
                meaning.append((index, .listener))
            }
            if let again = line.port.clients.serve(line.port) {
                timeout = timeout < 0 ? again : min(timeout, again)
            }
            // As clients' input is delivered.
            while line.endpoint.hasWaiting, line.port.inputRoom > 0 { take(line) }
            if let input = line.endpoint.inputDescriptor, line.port.inputRoom > 0 || line.endpoint.readsAhead {
                entries.append(PollEntry(input, forReading: true))
                meaning.append((index, .input))
            }
            if line.port.pendingCount > 0 {
                if line.endpoint.discardsNow {
                    // All of it: nothing else would wake this thread for the rest.
                    while line.port.pendingCount > 0, line.endpoint.discardsNow { transfer(line) }
                }
                if line.port.pendingCount > 0, let output = line.endpoint.outputDescriptor {
                    entries.append(PollEntry(output, forWriting: true))
                    meaning.append((index, .output))
                    if let patience = line.endpoint.patience {
                        timeout = timeout < 0 ? patience : min(timeout, patience)
                    }
                }
            }
        }
        PollEntry.wait(&entries, timeout: timeout)
        if entries[0].isReadable, !isStopping, lines.contains(where: { $0.port.mayGather }) {
            HostClock.sleep(microseconds: 50)
        }
        for (entry, (index, kind)) in zip(entries, meaning) where entry.isReadable || entry.isWritable {
            switch kind {
            case .wake: wake.drain()
            case .listener: lines[index].endpoint.accept()
            case .input:
                take(lines[index])
            case .output: transfer(lines[index])
            }
        }
    }

    private enum Kind { case wake, listener, input, output }

    private func take(_ line: Line) {
        let bytes = line.endpoint.read(limit: line.port.inputRoom)
        if !bytes.isEmpty { line.port.deliver(bytes) }
    }

    private func transfer(_ line: Line) {
        let bytes = line.port.pending(limit: 16 << 10)
        line.port.consume(line.endpoint.write(bytes))
    }
}
