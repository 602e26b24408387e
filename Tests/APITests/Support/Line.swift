import Host
import Synchronization

/// A line between two processes that is cut when a test says so, and may stay broken.
final class Line: Sendable {
    private struct State {
        var connections: [StreamConnection] = []
        var isBroken = false
        /// Waited for when the line goes.
        var threads: [Thread] = []
    }
    private let state = Mutex(State())
    private let listener: StreamListener
    private let target: String
    private let stop: EventFD

    init(_ path: String, to target: String) throws {
        listener = try StreamListener(.unix(path))
        stop = try EventFD()
        self.target = target
        let thread = try Thread("line") { [listener, stop, weak self] in
            while let client = try? listener.accept(within: nil, heeding: stop) { self?.take(client) }
        }
        state.withLock { $0.threads.append(thread) }
    }

    deinit {
        stop.signal()
        cut()
    }

    /// Whether nobody gets through, from now on or any more.
    var isBroken: Bool {
        get { state.withLock { $0.isBroken } }
        set {
            state.withLock { $0.isBroken = newValue }
            if newValue { cut() }
        }
    }

    /// Ends the connections that there are.
    func cut() {
        let all = state.withLock { state in
            defer { state.connections = [] }
            return state.connections
        }
        for connection in all { connection.shutDown() }
    }

    private func take(_ client: StreamConnection) {
        guard !isBroken, let server = try? StreamConnection.connect(.unix(target), within: 2000, heeding: stop) else {
            client.shutDown()
            return
        }
        state.withLock { $0.connections += [client, server] }
        for (from, to) in [(client, server), (server, client)] {
            guard let thread = try? Thread("relay", { Self.relay(from, to) }) else { return }
            state.withLock { $0.threads.append(thread) }
        }
    }

    /// Relays whole frames.
    private static func relay(_ from: StreamConnection, _ to: StreamConnection) {
        defer {
            from.shutDown()
            to.shutDown()
        }
        guard let room = try? ScratchMemory(count: 4 << 20) else { return }
        while (try? from.receive(into: room.range.part(0..<32), within: nil)) != nil {
            let head = room.bytes(0..<32)
            let length = (0..<4).reduce(0) { $0 | Int(head[16 + $1]) << (8 * $1) }
            guard length <= (4 << 20) - 32,
                (try? from.receive(into: room.range.part(32..<32 + length), within: 5000)) != nil,
                (try? to.send(room.range.part(0..<32 + length), within: 5000)) != nil
            else { return }
        }
    }
}
