import Host
import Synchronization

@testable import Migration

/// What happens to one frame on its way.
enum LineFault: CaseIterable, Sendable {
    case cutBefore, cutInside, cutAfter, flipHeader, flipPayload, drop, twice, swap, hold, hugeLength, wrongKind
}

/// A line between a sender and a receiver that knows where frames end, and does something to one of them.
final class FaultyLine: Sendable {
    private struct State {
        var count = 0
        var connections: [StreamConnection] = []
        var threads: [Thread] = []
    }
    private let state = Mutex(State())
    private let listener: StreamListener
    private let target: StreamAddress
    private let fault: (frame: Int, LineFault)?
    private let stop: EventFD
    /// Behind how many frames it is cut, again and again; nil for never.
    private let cutEvery: Int?

    /// - Parameter fault: which frame of all, counted from 1 over both directions and all streams, and what becomes of it.
    init(_ path: String, to target: StreamAddress, fault: (frame: Int, LineFault)?, cutEvery: Int? = nil) throws {
        self.cutEvery = cutEvery
        listener = try StreamListener(.unix(path))
        self.target = target
        self.fault = fault
        stop = try EventFD()
        let thread = try Thread("line") { [self] in accept() }
        state.withLock { $0.threads.append(thread) }
    }

    var address: StreamAddress { listener.address }
    var frames: Int { state.withLock { $0.count } }

    private func accept() {
        while let client = try? listener.accept(within: nil, heeding: stop) {
            guard let server = try? StreamConnection.connect(target, within: 2000, heeding: stop) else {
                client.shutDown()
                continue
            }
            let there = try? Thread("there") { [self] in relay(client, server) }
            let back = try? Thread("back") { [self] in relay(server, client) }
            state.withLock { state in
                state.connections += [client, server]
                state.threads += [there, back].compactMap { $0 }
            }
        }
    }

    /// Closes everything and waits for it.
    func end() {
        stop.signal()
        let all = state.withLock { $0.connections }
        for connection in all { connection.shutDown() }
        let threads = state.withLock { state in
            defer { state.threads = [] }
            return state.threads
        }
        for thread in threads { thread.join() }
        for connection in state.withLock({ $0.connections }) { connection.shutDown() }
    }

    private func relay(_ from: StreamConnection, _ to: StreamConnection) {
        defer {
            from.shutDown()
            to.shutDown()
        }
        var kept: [UInt8]?
        while let frame = next(from) {
            var bytes = frame
            let number = state.withLock { state in
                state.count += 1
                return state.count
            }
            if let cutEvery, number > 12, number % cutEvery == 0 { return }
            if let fault, fault.frame == number {
                switch fault.1 {
                case .cutBefore: return
                case .cutInside:
                    try? to.send(Array(bytes[..<(bytes.count / 2)]), within: 1000)
                    return
                case .cutAfter:
                    try? to.send(bytes, within: 1000)
                    return
                case .flipHeader: bytes[number % 28] ^= 0x10
                case .flipPayload: bytes[bytes.count - 1] ^= 0x10
                case .drop: continue
                case .twice: bytes += bytes
                case .swap:
                    kept = bytes
                    continue
                case .hold:
                    // Until the other end gives up.
                    _ = try? from.receive(into: ScratchMemory(count: 1).range, within: 5000, heeding: stop)
                    return
                case .hugeLength: bytes.replaceSubrange(16..<24, with: [0, 0, 0, 0, 0, 0, 0, 0x80])
                case .wrongKind: bytes[4] = 77
                }
                if fault.1 == .hugeLength || fault.1 == .wrongKind {
                    var sum: [UInt8] = []
                    LittleEndian.append(UInt64(Checksum.crc32c(Array(bytes[..<28]))), 4, to: &sum)
                    bytes.replaceSubrange(28..<32, with: sum)
                }
            }
            guard (try? to.send(bytes, within: 2000, heeding: stop)) != nil else { return }
            if let late = kept {
                kept = nil
                guard (try? to.send(late, within: 2000, heeding: stop)) != nil else { return }
            }
        }
    }

    /// A whole frame.
    private func next(_ from: StreamConnection) -> [UInt8]? {
        guard let head = bytes(from, FrameHeader.size) else { return nil }
        let length = Int(clamping: LittleEndian.number(head, 16, 8))
        guard length <= 4 << 20, let payload = bytes(from, length) else { return nil }
        return head + payload
    }

    private func bytes(_ from: StreamConnection, _ count: Int) -> [UInt8]? {
        guard count > 0 else { return [] }
        guard let room = try? ScratchMemory(count: count),
            (try? from.receive(into: room.range, within: nil, heeding: stop)) != nil
        else { return nil }
        return room.bytes(0..<count)
    }
}
