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
    private let target: StreamAddress
    private let stop: EventFD
    private let parts: Parts

    /// What goes over as a whole, by how many bytes say how long it is.
    enum Parts: Int {
        case frames = 32
        /// Of TLS. (RFC 8446, 5.1)
        case records = 5

        /// The bytes behind a head.
        func length(_ head: [UInt8]) -> Int {
            switch self {
            case .frames: (0..<4).reduce(0) { $0 | Int(head[16 + $1]) << (8 * $1) }
            case .records: Int(head[3]) << 8 | Int(head[4])
            }
        }
    }

    convenience init(_ path: String, to target: String) throws {
        try self.init(.unix(path), to: .unix(target), .frames)
    }

    init(_ address: StreamAddress, to target: StreamAddress, _ parts: Parts) throws {
        listener = try StreamListener(address)
        stop = try EventFD()
        (self.target, self.parts) = (target, parts)
        let thread = try Thread("line") { [listener, stop, weak self] in
            while let client = try? listener.accept(within: nil, heeding: stop) { self?.take(client) }
        }
        state.withLock { $0.threads.append(thread) }
    }

    deinit {
        stop.signal()
        cut()
    }

    /// Where it begins.
    var address: StreamAddress { listener.address }

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
        guard !isBroken, let server = try? StreamConnection.connect(target, within: 2000, heeding: stop) else {
            client.shutDown()
            return
        }
        state.withLock { $0.connections += [client, server] }
        for (from, to) in [(client, server), (server, client)] {
            guard let thread = try? Thread("relay", { [parts] in Self.relay(parts, from, to) }) else { return }
            state.withLock { $0.threads.append(thread) }
        }
    }

    private static func relay(_ parts: Parts, _ from: StreamConnection, _ to: StreamConnection) {
        defer {
            from.shutDown()
            to.shutDown()
        }
        let head = parts.rawValue
        guard let room = try? ScratchMemory(count: 4 << 20) else { return }
        while (try? from.receive(into: room.range.part(0..<head), within: nil)) != nil {
            let length = parts.length(room.bytes(0..<head))
            guard length <= (4 << 20) - head,
                (try? from.receive(into: room.range.part(head..<head + length), within: 5000)) != nil,
                (try? to.send(room.range.part(0..<head + length), within: 5000)) != nil
            else { return }
        }
    }
}
