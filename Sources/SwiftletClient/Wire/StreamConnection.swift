internal import Host
internal import Synchronization

/// A connection that stays open, with a thread of its own: tasks take what came and leave what is to be sent.
///
/// What nobody takes is not read from the socket beyond a limit, so a slow reader slows its own stream alone.
final class StreamConnection: Sendable {
    private struct State {
        var incoming: [UInt8] = []
        var outgoing: [UInt8] = []
        /// How many bytes were ever left to be sent, and how many the kernel has taken.
        var queued: UInt64 = 0, sent: UInt64 = 0
        /// Set when nothing comes any more: why, or nil at the stream's regular end.
        var end: VMMClientError??
        /// Set when nothing can be sent any more.
        var cannotSend: VMMClientError?
        var isClosing = false
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0

        /// Gives the waiting tasks away, to be resumed outside the lock.
        mutating func takeWaiters() -> [CheckedContinuation<Void, Never>] {
            defer { waiters = [:] }
            return Array(waiters.values)
        }
    }

    /// How many bytes wait for their reader at most, beyond one read.
    private static let incomingLimit = 256 << 10
    /// How many bytes go to the kernel at once.
    private static let outgoingPiece = 64 << 10

    private let state = Mutex(State())
    private let wake: EventFD
    private let failure: @Sendable (VMMClientError.Kind) -> VMMClientError

    init(wake: EventFD, _ failure: @escaping @Sendable (VMMClientError.Kind) -> VMMClientError) {
        (self.wake, self.failure) = (wake, failure)
    }

    /// Ends the connection and its thread.
    func close() {
        state.withLock { $0.isClosing = true }
        wake.signal()
    }

    // MARK: the tasks' side

    /// The next bytes; nil at the end.
    func next() async throws(VMMClientError) -> [UInt8]? {
        while true {
            let (bytes, end) = state.withLock { state in
                defer { state.incoming = [] }
                return (state.incoming, state.end)
            }
            if !bytes.isEmpty {
                wake.signal()
                return bytes
            }
            if let end {
                if let end { throw end }
                return nil
            }
            if Task.isCancelled { throw failure(.cancelled) }
            await wait { !$0.incoming.isEmpty || $0.end != nil }
        }
    }

    /// Sends bytes and waits until the kernel has them all.
    func send(_ bytes: [UInt8]) async throws(VMMClientError) {
        if bytes.isEmpty { return }
        let target = state.withLock { state in
            state.outgoing += bytes
            state.queued += UInt64(bytes.count)
            return state.queued
        }
        wake.signal()
        while true {
            let (isSent, error) = state.withLock { ($0.sent >= target, $0.cannotSend) }
            if isSent { return }
            if let error { throw error }
            if Task.isCancelled { throw failure(.cancelled) }
            await wait { $0.sent >= target || $0.cannotSend != nil }
        }
    }

    /// Suspends until something has changed, unless the condition holds already or the task is cancelled.
    private func wait(until condition: @Sendable (borrowing State) -> Bool) async {
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    // Cancelling sets the flag before it runs the handler: one of the two sees the other.
                    if condition(state) || Task.isCancelled { return true }
                    state.waiters[id] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
        }
    }

    // MARK: the thread's side

    /// Moves bytes until either side has finished.
    func serve(_ connection: APIConnection) {
        connection.becomeEndless()
        var end: VMMClientError?
        do throws(VMMClientError) {
            while try step(connection) {}
        } catch {
            end = error
        }
        let waiters = state.withLock { state in
            state.end = .some(end)
            state.cannotSend = state.cannotSend ?? end ?? failure(.connectionLost(errno: 0))
            return state.takeWaiters()
        }
        for waiter in waiters { waiter.resume() }
    }

    /// One round; false when the stream is over.
    private func step(_ connection: APIConnection) throws(VMMClientError) -> Bool {
        let (isClosing, takesMore, piece) = state.withLock { state in
            let piece = state.cannotSend == nil ? Array(state.outgoing.prefix(Self.outgoingPiece)) : []
            return (state.isClosing, state.incoming.count < Self.incomingLimit, piece)
        }
        if isClosing { return false }
        var isBusy = false
        if !piece.isEmpty { isBusy = send(piece, connection) > 0 }
        if takesMore {
            switch try connection.receive() {
            case .bytes(let bytes):
                isBusy = true
                change { $0.incoming += bytes }
            case .end: return false
            case .nothing: break
            }
        }
        if !isBusy { sleep(connection, reading: takesMore, writing: !piece.isEmpty) }
        return true
    }

    private func send(_ piece: [UInt8], _ connection: APIConnection) -> Int {
        do {
            let count = try connection.sendSome(piece[...])
            if count > 0 {
                change { state in
                    state.outgoing.removeFirst(count)
                    state.sent += UInt64(count)
                }
            }
            return count
        } catch {
            // What the peer has said before it went is still to be read.
            change { state in
                state.cannotSend = error
                state.outgoing = []
            }
            return 1
        }
    }

    private func change(_ body: (inout State) -> Void) {
        let waiters = state.withLock { state in
            body(&state)
            return state.takeWaiters()
        }
        for waiter in waiters { waiter.resume() }
    }

    private func sleep(_ connection: APIConnection, reading: Bool, writing: Bool) {
        var entries = [PollEntry(wake.raw, forReading: true)]
        // A peer that hung up makes poll return at once: only who will notice may ask.
        if reading || writing {
            entries.append(PollEntry(connection.raw, forReading: reading, forWriting: writing))
        }
        PollEntry.wait(&entries)
        wake.drain()
    }
}

/// Owns a stream's thread: the connection ends with it.
final class OpenStream: Sendable {
    let connection: StreamConnection
    private let thread: Mutex<Thread?>

    private init(_ connection: StreamConnection, _ thread: Thread?) {
        self.connection = connection
        self.thread = Mutex(thread)
    }

    deinit {
        connection.close()
        thread.withLock { $0 }?.join()
    }

    /// Opens a stream.
    ///
    /// - Parameter status: what the reply has to have.
    static func open(
        _ request: WireRequest, expecting status: Int, at path: String, timeout: Duration?
    ) async throws(VMMClientError) -> OpenStream {
        let failure: @Sendable (VMMClientError.Kind) -> VMMClientError = { kind in
            VMMClientError(kind, operation: request.operation, socketPath: path)
        }
        let wake: EventFD
        do {
            wake = try EventFD()
        } catch {
            throw failure(.cannotConnect(errno: error.errno.number))
        }
        let connection = StreamConnection(wake: wake, failure)
        let thread = Mutex<Thread?>(nil)
        let result: Result<Void, VMMClientError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                do throws(HostError) {
                    let started = try Thread("swiftlet-stream") {
                        do throws(VMMClientError) {
                            let patience = Patience(timeout, interrupt: wake)
                            let wire = try BlockingCall.open(request, expecting: status, at: path, patience)
                            continuation.resume(returning: .success(()))
                            connection.serve(wire)
                        } catch {
                            continuation.resume(returning: .failure(error))
                        }
                    }
                    thread.withLock { $0 = started }
                } catch {
                    continuation.resume(returning: .failure(failure(.cannotConnect(errno: error.errno.number))))
                }
            }
        } onCancel: {
            connection.close()
        }
        let stream = OpenStream(connection, thread.withLock { $0 })
        try result.get()
        return stream
    }
}
