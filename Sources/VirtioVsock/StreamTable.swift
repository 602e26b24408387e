import Host

/// The connections of a device: their places, which of them the guest knows by which ports, and whose turn it is.
///
/// Places are numbers from 0 up. A place's epoll token also holds how often it was given out, so that an event for a
/// connection that is gone does not reach the next one.
struct StreamTable: Sendable {
    var streams: [VsockStream] = []
    private var generations: [UInt32] = []
    private var deadlines: [UInt64] = []
    private var isQueued: [Bool] = []
    private var free: [Int] = []
    private var byPorts: [VsockPorts: Int] = [:]
    private var ready = IndexQueue()
    private var budget = WindowBudget()
    private var nextPort: UInt32 = 0
    let limit: Int
    /// How many places are in use, and how many of those have a deadline.
    private(set) var count = 0, timed = 0

    /// Tokens below are the worker's own.
    static let firstToken: UInt64 = 16

    init(limit: Int) { self.limit = limit }

    // MARK: Places

    /// Takes a place; nil when all are taken.
    mutating func insert(_ stream: VsockStream) -> Int? {
        guard count < limit else { return nil }
        count += 1
        if let slot = free.popLast() {
            streams[slot] = stream
            return slot
        }
        streams.append(stream)
        generations.append(0)
        deadlines.append(0)
        isQueued.append(false)
        return streams.count - 1
    }

    /// Closes the connection's socket and frees its place.
    mutating func remove(_ slot: Int) {
        guard streams[slot].phase != .free else { return }
        unbind(slot)
        budget.giveBack(streams[slot].credit.window)
        setDeadline(slot, 0)
        streams[slot] = VsockStream()
        generations[slot] &+= 1
        count -= 1
        // A place in the queue is given out again only when its turn has come and gone.
        if !isQueued[slot] { free.append(slot) }
    }

    func token(_ slot: Int) -> UInt64 { UInt64(generations[slot]) << 32 | (UInt64(slot) + Self.firstToken) }

    /// The place of a token; nil when its connection is gone.
    func slot(_ token: UInt64) -> Int? {
        let low = token & 0xFFFF_FFFF
        guard low >= Self.firstToken, low - Self.firstToken < UInt64(streams.count) else { return nil }
        let slot = Int(low - Self.firstToken)
        return generations[slot] == UInt32(token >> 32) && streams[slot].phase != .free ? slot : nil
    }

    // MARK: The guest's names

    subscript(ports: VsockPorts) -> Int? { byPorts[ports] }

    /// Gives a connection its ports and its window.
    mutating func bind(_ slot: Int, _ ports: VsockPorts) {
        byPorts[ports] = slot
        let window = budget.take()
        streams[slot].ports = ports
        streams[slot].credit = Credit(window: window)
        streams[slot].buffer = ByteRing(capacity: Int(window))
    }

    /// Lets the guest use the ports for another connection.
    mutating func unbind(_ slot: Int) {
        let ports = streams[slot].ports
        if byPorts[ports] == slot { byPorts[ports] = nil }
    }

    /// A port of the host that no connection to the guest's port uses: from 2^30 on, in turn.
    mutating func freePort(towards guest: UInt32) -> UInt32 {
        while true {
            let port = 1 << 30 | nextPort & 0x3FFF_FFFF
            nextPort &+= 1
            if byPorts[VsockPorts(host: port, guest: guest)] == nil { return port }
        }
    }

    // MARK: Turns

    /// Puts a connection at the end of the queue of those that have something for the guest.
    mutating func enqueue(_ slot: Int) {
        guard !isQueued[slot], streams[slot].hasWork else { return }
        isQueued[slot] = true
        ready.append(slot)
    }

    /// The next connection whose turn it is.
    mutating func nextReady() -> Int? {
        while let slot = ready.popFirst() {
            isQueued[slot] = false
            if streams[slot].phase != .free { return slot }
            free.append(slot)
        }
        return nil
    }

    var hasReady: Bool { !ready.isEmpty }

    // MARK: Time

    /// Sets when the connection has to have come on, in ns of the monotonic clock; 0 for never.
    mutating func setDeadline(_ slot: Int, _ time: UInt64) {
        timed += (time == 0 ? 0 : 1) - (deadlines[slot] == 0 ? 0 : 1)
        deadlines[slot] = time
    }

    /// Whether a connection's time is up.
    func isLate(_ slot: Int, _ now: UInt64) -> Bool { deadlines[slot] != 0 && deadlines[slot] <= now }
}

/// Numbers in the order in which they came; its memory grows and is used again.
struct IndexQueue: Sendable {
    private var storage = [Int](repeating: 0, count: 64)
    private var start = 0, count = 0

    var isEmpty: Bool { count == 0 }

    mutating func append(_ index: Int) {
        if count == storage.count {
            storage = Array(storage[start...] + storage[..<start]) + [Int](repeating: 0, count: count)
            start = 0
        }
        storage[(start + count) & (storage.count - 1)] = index
        count += 1
    }

    mutating func popFirst() -> Int? {
        guard count > 0 else { return nil }
        defer {
            start = (start + 1) & (storage.count - 1)
            count -= 1
        }
        return storage[start]
    }
}
