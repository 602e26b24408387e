import Host
import Virtio

/// The connections of a device and the rules by which packets and sockets move them; it knows neither queues nor
/// threads.
struct VsockCore: Sendable {
    let backend: VsockBackend
    let metrics: VsockMetrics
    /// The guest's context id.
    let cid: UInt64
    var table: StreamTable
    /// Resets to the guest for packets that belong to no connection, oldest first.
    var replies = ReplyQueue()
    /// Clients that have not said which port they want, oldest first, as tokens.
    var newcomers: [UInt64] = []
    /// How many connections wait for room in a listener's backlog.
    var connecting = 0
    /// Whether clients are left in the backlog since the process has no descriptors for them.
    var isExhausted = false

    init(_ backend: VsockBackend) {
        self.backend = backend
        metrics = backend.metrics
        cid = UInt64(backend.settings.cid)
        table = StreamTable(limit: backend.settings.streamLimit)
    }

    /// How long a host program may keep the guest's end of a closed connection waiting, in ns: the guest's own patience
    /// is shorter.
    static let closingPatience: UInt64 = 30_000_000_000
    /// How long a guest's connection waits for room in the listener's backlog, in ns.
    static let connectingPatience: UInt64 = 2_000_000_000

    /// Nanoseconds from now on that a handshake may take.
    var handshakeDeadline: UInt64 { HostClock.monotonic &+ UInt64(max(backend.settings.patience, 0)) &* 1_000_000 }

    /// Whether there is something to be sent to the guest.
    var hasOutput: Bool { !replies.isEmpty || table.hasReady }

    /// Whether another packet of the guest may be taken: its answer has to find room.
    var acceptsPackets: Bool { !replies.isFull }

    /// How often the worker has to look at the clock, in ms; 0 for never.
    var tickInterval: Int { connecting > 0 ? 10 : table.timed > 0 || isExhausted ? 250 : 0 }

    // MARK: Lives

    /// Adds a connection; nil when there are too many.
    mutating func insert(_ stream: VsockStream) -> Int? {
        let slot = table.insert(stream)
        if slot != nil { metrics.open.count() }
        return slot
    }

    /// Closes a connection without a word to the guest.
    mutating func remove(_ slot: Int) {
        let phase = table.streams[slot].phase
        guard phase != .free else { return }
        if phase == .connecting { connecting -= 1 }
        if phase == .handshake { forgetNewcomer(table.token(slot)) }
        table.remove(slot)
        metrics.open.wrappingSubtract(1, ordering: .relaxed)
    }

    /// Closes a connection that the guest knows of: the host's end now, the guest's by a reset.
    mutating func reset(_ slot: Int) {
        let phase = table.streams[slot].phase
        if phase == .connecting { connecting -= 1 }
        table.streams[slot].phase = .closing
        table.streams[slot].socket = nil
        _ = table.streams[slot].buffer.discard()
        table.streams[slot].pending = .reset
        table.setDeadline(slot, 0)
        table.enqueue(slot)
    }

    /// Closes every connection without a word to the guest.
    mutating func removeAll() {
        for slot in table.streams.indices { remove(slot) }
        replies = ReplyQueue()
    }

    mutating func forgetNewcomer(_ token: UInt64) { newcomers.removeAll { $0 == token } }

    // MARK: Time

    /// Ends what took too long and tries again what had no room.
    mutating func tick(_ epoll: borrowing Epoll) {
        let now = HostClock.monotonic
        isExhausted = false
        for slot in table.streams.indices {
            if table.isLate(slot, now) {
                expire(slot)
            } else if table.streams[slot].phase == .connecting {
                connect(slot, epoll)
            }
        }
    }

    private mutating func expire(_ slot: Int) {
        switch table.streams[slot].phase {
        case .handshake:
            metrics.malformed.count()
            remove(slot)
        case .requested:
            metrics.refused.count()
            cancelRequest(slot)
        case .connecting:
            metrics.refused.count()
            reset(slot)
        default: reset(slot)
        }
    }

    /// Gives up on a request to the guest.
    mutating func cancelRequest(_ slot: Int) {
        if table.streams[slot].requestSent { reset(slot) } else { remove(slot) }
    }
}

/// Answers to the guest that wait for its buffers: a ring of fixed size.
struct ReplyQueue: Sendable {
    private static let capacity = 256
    private var storage: [VsockHeader] = []
    private var start = 0, count = 0

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count == Self.capacity }

    mutating func append(_ header: VsockHeader) {
        guard !isFull else { return }
        if storage.isEmpty { storage = Array(repeating: VsockHeader(), count: Self.capacity) }
        storage[(start + count) % Self.capacity] = header
        count += 1
    }

    mutating func popFirst() -> VsockHeader? {
        guard count > 0 else { return nil }
        defer {
            start = (start + 1) % Self.capacity
            count -= 1
        }
        return storage[start]
    }
}
