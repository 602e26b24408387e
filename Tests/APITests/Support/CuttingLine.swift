import Host
import Synchronization

/// A line between two processes that knows frames and closes at one of a kind, before or after it passes.
final class CuttingLine: Sendable {
    private let listener: StreamListener
    private let stop: EventFD
    private let threads = Mutex<[Thread]>([])

    /// - Parameter kind: of the frame, as the protocol numbers them: 13 is the commit, 14 its answer.
    init(_ path: String, to target: String, at kind: UInt8) throws {
        let listener = try StreamListener(.unix(path))
        let stop = try EventFD()
        (self.listener, self.stop) = (listener, stop)
        let started = try Thread("line") {
            guard let client = try? listener.accept(within: 20_000, heeding: stop),
                let server = try? StreamConnection.connect(.unix(target), within: 2000, heeding: stop)
            else { return }
            let back = try? Thread("back") { Self.relay(server, client, kind, stop) }
            Self.relay(client, server, kind, stop)
            back?.join()
        }
        threads.withLock { $0.append(started) }
    }

    deinit { stop.signal() }

    private static func relay(_ from: StreamConnection, _ to: StreamConnection, _ kind: UInt8, _ stop: EventFD) {
        defer {
            from.shutDown()
            to.shutDown()
        }
        guard let room = try? ScratchMemory(count: 4 << 20) else { return }
        while (try? from.receive(into: room.range.part(0..<32), within: nil, heeding: stop)) != nil {
            let head = room.bytes(0..<32)
            if head[4] == kind { return }
            let length = (0..<4).reduce(0) { $0 | Int(head[16 + $1]) << (8 * $1) }
            guard length <= (4 << 20) - 32,
                (try? from.receive(into: room.range.part(32..<32 + length), within: 5000, heeding: stop)) != nil,
                (try? to.send(room.range.part(0..<32 + length), within: 5000, heeding: stop)) != nil
            else { return }
        }
    }
}
