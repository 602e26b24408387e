import ArgumentParser
import Host
import SwiftletClient

/// A user at a guest's terminal, until one of them leaves.
struct TerminalSession {
    static let help = """
        What the guest wrote last comes first. At a terminal, Ctrl-A d detaches and Ctrl-A Ctrl-A sends one Ctrl-A; any \
        number of users may be attached. Without a terminal, standard input goes to the guest as it is, and its end does \
        not end the session.
        """

    /// SIGHUP, SIGINT, SIGQUIT and SIGTERM end the session with the terminal as it was.
    private static let signals: [Int32] = [1, 2, 3, 15]
    /// How much typed input waits for the guest at most, in bytes.
    private static let pendingLimit = 64 << 10

    private let connection: APIConnection
    private let atTerminal: Bool
    private var escape = EscapeKeys()
    private var pending: [UInt8] = []
    private var inputIsOpen = true
    private var room = [UInt8](repeating: 0, count: 16 << 10)

    /// How a session ended.
    private enum End {
        case detached, closed
        case signal(Int32)
    }

    static func run(_ options: VMMOptions, _ route: String, _ name: String) throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(options)
            do {
                let input = try FileDescriptor.duplicate(number: 0)
                let signals = try SignalFD(Self.signals)
                let request = WireRequest("GET", route, upgrade: WireRequest.terminalProtocol)
                let connection = try BlockingCall.open(request, expecting: 101, at: call.socket, Patience(nil))
                var session = TerminalSession(connection: connection, atTerminal: input.isTerminal)
                try session.finish(try session.begin(input, signals, name), name)
            } catch let error as CtlFailure {
                throw error
            } catch let error as VMMClientError {
                throw CtlFailure(error)
            } catch {
                throw CtlFailure(["\(error)"], status: ExitStatus.hostLacks)
            }
        }
    }

    private init(connection: APIConnection, atTerminal: Bool) {
        (self.connection, self.atTerminal) = (connection, atTerminal)
    }

    private mutating func begin(
        _ input: borrowing FileDescriptor, _ signals: borrowing SignalFD, _ name: String
    ) throws -> End {
        if atTerminal {
            StandardStreams.error("attached to \(name); Ctrl-A d detaches")
            try Terminal.makeRaw(input.raw)
        }
        defer { if atTerminal { Terminal.restore() } }
        return try loop(input, signals)
    }

    /// Says how the session ended, with the terminal as it was.
    private func finish(_ end: End, _ name: String) throws {
        if atTerminal { StandardStreams.error("") }
        switch end {
        case .detached: StandardStreams.error("detached from \(name)")
        case .closed: if atTerminal { StandardStreams.error("\(name) is closed") }
        case .signal(let number): throw CtlFailure([], status: ExitStatus.signalBase + number)
        }
    }

    private mutating func loop(_ input: borrowing FileDescriptor, _ signals: borrowing SignalFD) throws -> End {
        while true {
            // Everything is looked at before anything is waited for: the first bytes came with the reply's head.
            switch try connection.receive() {
            case .bytes(let bytes):
                if !StandardStreams.write(bytes) { return .closed }
                continue
            case .end: return .closed
            case .nothing: break
            }
            if !pending.isEmpty { pending.removeFirst(try connection.sendSome(pending[...])) }
            var entries = [
                PollEntry(signals.raw, forReading: true),
                PollEntry(connection.raw, forReading: true, forWriting: !pending.isEmpty),
            ]
            if inputIsOpen, pending.count < Self.pendingLimit { entries.append(PollEntry(input.raw, forReading: true)) }
            PollEntry.wait(&entries)
            if entries[0].isReadable, let number = signals.next() { return .signal(number) }
            if entries.count > 2, entries[2].isReadable || entries[2].isHungUp, try read(input) { return .detached }
        }
    }

    /// Reads what is typed; true when the user detaches.
    private mutating func read(_ input: borrowing FileDescriptor) throws -> Bool {
        let count: Int
        do {
            var span = room.mutableSpan
            count = try input.read(into: &span)
        } catch {
            if error == .wouldBlock { return false }
            // A terminal that went away reads as an error.
            inputIsOpen = false
            return atTerminal
        }
        if count == 0 {
            inputIsOpen = false
            return atTerminal
        }
        guard atTerminal else {
            pending += room[..<count]
            return false
        }
        let (bytes, detaches) = escape.take(room[..<count])
        pending += bytes
        return detaches
    }
}
