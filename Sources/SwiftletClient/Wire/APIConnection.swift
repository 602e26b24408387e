internal import Host

/// A connection to a VMM for one request and its reply, or for a stream. Blocks; used by one thread.
package final class APIConnection {
    /// What came of looking for bytes without waiting.
    package enum Received {
        /// Some of the body, or of the stream after an upgrade.
        case bytes([UInt8])
        /// The reply, or the stream, is complete.
        case end
        /// Nothing yet.
        case nothing
    }

    /// How long a VMM that does not accept its clients is waited for.
    private static let connectLimit = Duration.seconds(10)

    private let socket: UnixStream
    private let path: String
    private let request: WireRequest
    private var patience: Patience
    private let decoder: ReplyDecoder
    private var waiting: [ReplyDecoder.Part] = []
    private var isOver = false
    private var room = [UInt8](repeating: 0, count: 64 << 10)

    /// Connects.
    package init(to path: String, for request: WireRequest, _ patience: Patience) throws(VMMClientError) {
        (self.path, self.request, self.patience) = (path, request, patience)
        func failure(_ kind: VMMClientError.Kind, _ cause: String) -> VMMClientError {
            VMMClientError(kind, operation: request.operation, socketPath: path, causes: [cause])
        }
        guard request.descriptors.count <= UnixSocketLimits.descriptors else {
            let most = UnixSocketLimits.descriptors
            throw failure(
                .invalidRequest, "\(request.descriptors.count) descriptors; one request takes at most \(most)")
        }
        do {
            decoder = try ReplyDecoder(method: request.method)
        } catch {
            throw failure(.protocolError, error.reason)
        }
        socket = try Self.connect(path, request.operation, patience.atMost(Self.connectLimit))
    }

    private static func connect(
        _ path: String, _ operation: String, _ patience: Patience
    ) throws(VMMClientError) -> UnixStream {
        while true {
            let errno: Errno
            do {
                return UnixStream(owning: try UnixConnection.connect(path))
            } catch {
                errno = error
            }
            if errno != .wouldBlock || patience.hasExpired {
                let kind = VMMClientError.Kind.cannotConnect(errno: errno.number)
                throw VMMClientError(
                    kind, operation: operation, socketPath: path, causes: ConnectFailure.causes(errno, path))
            }
            // Nothing tells when the listener's queue has room again.
            if patience.atMost(.milliseconds(5)).wait() == .interrupted {
                throw VMMClientError(.cancelled, operation: operation, socketPath: path)
            }
        }
    }

    /// The descriptor's number, for poll.
    package var raw: Int32 { socket.raw }

    /// Sends the request whole.
    package func send() throws(VMMClientError) {
        let bytes = request.bytes
        var done = 0
        while done < bytes.count {
            do {
                let rest = bytes.span.extracting(done..<bytes.count)
                done += try socket.send(rest, descriptors: done == 0 ? request.descriptors : [])
            } catch {
                switch error.number {
                case Errno.wouldBlock.number: try wait(writing: true)
                // A VMM that refuses early closes before it has read all: its reply waits to be read.
                case Errno.brokenPipe.number, Errno.connectionReset.number: return
                default: throw failure(.connectionLost(errno: error.number), ["\(error)"])
                }
            }
        }
    }

    /// Sends some of a stream's bytes without waiting and says how many the kernel took.
    package func sendSome(_ bytes: ArraySlice<UInt8>) throws(VMMClientError) -> Int {
        do {
            return try socket.send(bytes.span)
        } catch {
            if error == .wouldBlock { return 0 }
            throw failure(.connectionLost(errno: error.number), ["\(error)"])
        }
    }

    /// Waits for the head of the reply.
    package func head() throws(VMMClientError) -> ReplyHead {
        while true {
            if case .head(let head)? = waiting.first {
                waiting.removeFirst()
                return head
            }
            try more()
        }
    }

    /// Waits for the whole body.
    ///
    /// - Parameter limit: bytes; a longer one is a protocol error.
    package func body(limit: Int) throws(VMMClientError) -> [UInt8] {
        var body: [UInt8] = []
        while true {
            switch try receive() {
            case .bytes(let bytes):
                body += bytes
                if body.count > limit {
                    throw failure(.protocolError, ["its body has more than \(limit >> 20) MiB"])
                }
            case .end: return body
            case .nothing: try wait(reading: true)
            }
        }
    }

    /// Waits for the next bytes, however long; nil at the end.
    package func next() throws(VMMClientError) -> [UInt8]? {
        while true {
            switch try receive() {
            case .bytes(let bytes): return bytes
            case .end: return nil
            case .nothing: try wait(reading: true)
            }
        }
    }

    /// What has come since the last call, without waiting.
    package func receive() throws(VMMClientError) -> Received {
        if waiting.isEmpty, !isOver { _ = try read() }
        guard !waiting.isEmpty else { return isOver ? .end : .nothing }
        switch waiting.removeFirst() {
        case .body(let bytes): return .bytes(bytes)
        case .end:
            isOver = true
            return .end
        case .head: throw failure(.protocolError, ["there is more than one reply"])
        }
    }

    /// From here on the peer may take as long as it likes.
    package func becomeEndless() { patience = patience.endless }

    private func more() throws(VMMClientError) {
        if try !read() { try wait(reading: true) }
    }

    /// Reads once; false when nothing is there.
    private func read() throws(VMMClientError) -> Bool {
        let count: Int
        do {
            var span = room.mutableSpan
            count = try socket.receive(into: &span).count
        } catch {
            if error == .wouldBlock { return false }
            throw failure(.connectionLost(errno: error.number), ["\(error)"])
        }
        do {
            waiting += count == 0 ? try decoder.finish() : try decoder.feed(room[..<count])
        } catch {
            throw count == 0 ? lost("the VMM closed it in the middle") : failure(.protocolError, [error.reason])
        }
        if count == 0, waiting.isEmpty { throw lost("the VMM closed it; has it ended?") }
        return true
    }

    private func lost(_ cause: String) -> VMMClientError { failure(.connectionLost(errno: 0), [cause]) }

    private func wait(reading: Bool = false, writing: Bool = false) throws(VMMClientError) {
        switch patience.wait(for: socket.raw, reading: reading, writing: writing) {
        case .ready: return
        case .expired: throw failure(.timeout, [])
        case .interrupted: throw failure(.cancelled, [])
        }
    }

    /// An error of this connection.
    package func failure(_ kind: VMMClientError.Kind, _ causes: [String]) -> VMMClientError {
        VMMClientError(kind, operation: request.operation, socketPath: path, causes: causes)
    }
}
