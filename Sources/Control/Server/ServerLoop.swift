import Host

/// The server's thread: one epoll loop over the listener, the mailbox and the connections.
///
/// Level-triggered: whatever is reported is either consumed or no longer asked for before the next wait.
final class ServerLoop {
    private let shared: ServerShared
    private let context: ConnectionContext
    private let epoll: Epoll
    private var connections: [UInt64: APIConnection] = [:]
    private var lastID: UInt64 = 1
    private var listens = false
    /// When to listen again after there were no descriptors left (monotonic, ns).
    private var listensAgain: UInt64?
    /// Whether the log has been told of the shortage that lasts.
    private var isShort = false
    private var stopDeadline: UInt64?
    /// Rounds with several clients, less those with one or none: `pace` counts them, up to `patience`.
    private var crowded = 0
    /// How many such rounds make clients wait, and how long they do, in µs.
    private static let patience = 50, gathering = 300

    private static let listenerToken: UInt64 = 0, mailboxToken: UInt64 = 1

    init(_ shared: ServerShared, _ epoll: consuming Epoll) {
        self.shared = shared
        self.epoll = epoll
        context = ConnectionContext(shared)
    }

    /// Clients that ask at the same time and without a pause are served together after a short wait: they keep fewer
    /// processors busy so, and the guest gets those. A client that is alone never waits.
    private func pace(_ ready: Int) {
        crowded = ready > 1 ? min(crowded + 1, Self.patience) : max(crowded - 1, 0)
        if crowded == Self.patience { HostClock.sleep(microseconds: Self.gathering) }
    }

    func run() {
        listen()
        while !isOver {
            var events: [Epoll.Event] = []
            epoll.wait(timeout: timeout) { events.append($0) }
            pace(events.count)
            shared.metrics.add(shared.metrics.rounds)
            for event in events {
                switch event.token {
                case Self.listenerToken: accept()
                case Self.mailboxToken: readMail()
                case let id: work(on: id) { $0.handle(event.ready) }
                }
            }
            expire()
        }
        for connection in connections.values { connection.close() }
        shared.metrics.open.store(0, ordering: .relaxed)
    }

    static func makeEpoll(_ mailbox: Mailbox<ServerMessage>) throws(HostError) -> Epoll {
        let epoll = try Epoll()
        try epoll.add(mailbox.event.raw, .readable, token: mailboxToken)
        return epoll
    }

    private var isOver: Bool {
        guard let stopDeadline else { return false }
        return connections.isEmpty || HostClock.monotonic >= stopDeadline
    }

    // MARK: Time

    /// Milliseconds until something is due, rounded up so that it is due then; -1 when nothing is.
    private var timeout: Int32 {
        var next = min(stopDeadline ?? .max, listensAgain ?? .max)
        for connection in connections.values { next = min(next, connection.deadline ?? .max) }
        guard next != .max else { return -1 }
        let now = HostClock.monotonic
        return next <= now ? 0 : Int32(clamping: (next - now + 999_999) / 1_000_000)
    }

    private func expire() {
        let now = HostClock.monotonic
        if let listensAgain, listensAgain <= now {
            self.listensAgain = nil
            listen()
        }
        for (id, connection) in connections {
            if let deadline = connection.deadline {
                if deadline <= now { work(on: id) { $0.expire() } }
            }
        }
    }

    // MARK: Connections

    /// Lets a connection do something, and asks epoll for what it then waits for.
    private func work(on id: UInt64, _ body: (APIConnection) -> Void) {
        guard let connection = connections[id] else { return }
        body(connection)
        connection.updateInterest(epoll)
        guard connection.isClosed else { return }
        connections[id] = nil
        shared.metrics.open.store(connections.count, ordering: .relaxed)
    }

    private func readMail() {
        for message in shared.mailbox.receive() {
            switch message {
            case .reply(let connection, let request, let reply):
                work(on: connection) { $0.answer(reply, to: request) }
            case .wake(let connection): work(on: connection) { $0.advance() }
            case .stop(let deadline): stop(deadline)
            }
        }
    }

    private func stop(_ deadline: UInt64) {
        stopDeadline = min(stopDeadline ?? .max, deadline)
        if listens { epoll.remove(shared.socket.raw) }
        (listens, listensAgain) = (false, nil)
        shared.socket.close()
        for id in connections.keys { work(on: id) { $0.stop() } }
    }

    private func listen() {
        guard stopDeadline == nil, !listens else { return }
        do {
            try epoll.add(shared.socket.raw, .readable, token: Self.listenerToken)
            listens = true
        } catch {
            shared.logger.error("the API accepts no connections for a while: \(error)")
            listensAgain = HostClock.monotonic + 1_000_000_000
        }
    }

    private func accept() {
        // Bounded, so that those who connect cannot keep those who are connected from being served.
        for _ in 0..<64 where listens {
            do {
                guard let stream = try shared.socket.accept() else { return }
                isShort = false
                admit(stream)
            } catch {
                outOfDescriptors(error)
            }
        }
    }

    private func admit(_ stream: consuming UnixStream) {
        guard connections.count < shared.limits.connections || evict(after: shared.limits.evictableAfter) else {
            return refuse(stream)
        }
        lastID += 1
        shared.metrics.add(shared.metrics.accepted)
        let connection = APIConnection(id: lastID, stream, context)
        connections[lastID] = connection
        shared.metrics.open.store(connections.count, ordering: .relaxed)
        work(on: lastID) { $0.handle(.readable) }
    }

    /// Answers a connection too many. What the client has sent is read first: left unread, it would cut the answer off.
    private func refuse(_ stream: consuming UnixStream) {
        shared.metrics.add(shared.metrics.refused)
        _ = try? context.receive(stream)
        let reason = "Too many connections: \(shared.limits.connections) are open; close one or try again later"
        let body = APIReply.failure(503, [reason]).body
        let head = ReplyHead.response(503, type: "application/json", length: body.count, .close)
        _ = try? stream.send((head + body).span)
        shared.metrics.replied(503)
    }

    /// Closes the connection whose client the server has waited for longest, at least for a time (ns); false when there
    /// is none. Requests that come slowly are no better than none at all: else a few of them would keep everybody out.
    private func evict(after time: UInt64) -> Bool {
        let now = HostClock.monotonic
        var longest: (id: UInt64, since: UInt64)?
        for (id, connection) in connections {
            guard let since = connection.awaitedSince, since < longest?.since ?? .max else { continue }
            longest = (id, since)
        }
        guard let longest, now >= longest.since, now - longest.since >= time else { return false }
        shared.metrics.add(shared.metrics.evicted)
        work(on: longest.id) { $0.giveWay() }
        return true
    }

    private func outOfDescriptors(_ error: Errno) {
        if evict(after: 0) { return }
        if !isShort { shared.logger.warning("the API accepts no more connections for now: \(error)") }
        isShort = true
        epoll.remove(shared.socket.raw)
        listens = false
        listensAgain = HostClock.monotonic + 100_000_000
    }
}
