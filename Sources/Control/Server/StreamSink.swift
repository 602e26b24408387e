import Synchronization

/// The queue between whoever has something to tell a client and the connection that tells it.
final class StreamSink: ByteSink {
    private struct State {
        var queue: [UInt8] = []
        var isFinished = false, isClosed = false
        /// Whether the server's thread has been told of what the queue holds.
        var isAnnounced = false
        var closeBodies: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())
    private let limit: Int
    private let announce: @Sendable () -> Void

    /// - Parameters:
    ///   - limit: the most bytes in the queue.
    ///   - announce: wakes the server's thread.
    init(limit: Int, announce: @escaping @Sendable () -> Void) { (self.limit, self.announce) = (limit, announce) }

    func send(_ bytes: [UInt8]) -> Bool {
        change { state in
            guard !state.isClosed, !state.isFinished, state.queue.count + bytes.count <= limit else { return false }
            state.queue += bytes
            return true
        }
    }

    func finish() {
        _ = change { state in
            guard !state.isFinished else { return false }
            state.isFinished = true
            return true
        }
    }

    /// Changes the state and, when something new is there to be fetched, wakes the server's thread once.
    private func change(_ body: (inout State) -> Bool) -> Bool {
        let (changed, news) = state.withLock { state in
            let changed = body(&state)
            let news = changed && !state.isAnnounced
            if news { state.isAnnounced = true }
            return (changed, news)
        }
        if news { announce() }
        return changed
    }

    func onClose(_ body: @escaping @Sendable () -> Void) {
        let now = state.withLock { state in
            if !state.isClosed { state.closeBodies.append(body) }
            return state.isClosed
        }
        if now { body() }
    }

    /// Takes all that waits; nothing announces itself until then. Whether the end comes after it.
    func take() -> (bytes: [UInt8], isLast: Bool) {
        state.withLock { state in
            state.isAnnounced = false
            defer { state.queue = [] }
            return (state.queue, state.isFinished)
        }
    }

    /// The connection is gone: nothing is taken any more, and whoever asked is told.
    func close() {
        let bodies = state.withLock { state in
            defer { (state.isClosed, state.queue, state.closeBodies) = (true, [], []) }
            return state.closeBodies
        }
        for body in bodies { body() }
    }
}
