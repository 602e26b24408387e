import Host

/// A request as its connection read it, whole.
package struct APIRequest: Sendable {
    /// The methods that the API has; others are refused before they get here.
    package enum Method: String, Sendable, CaseIterable {
        case get = "GET", put = "PUT", patch = "PATCH", delete = "DELETE"
    }

    /// The method.
    package let method: Method
    /// The request target, byte for byte: `/api/v1/vm.info`. A query string makes it another target.
    package let target: String
    /// The body; empty without one.
    package let body: [UInt8]
    /// The descriptors that came with any part of it.
    package let descriptors: ReceivedDescriptors
    /// Who is at the other end.
    package let peer: PeerCredentials?

    package init(
        method: Method, target: String, body: [UInt8] = [], descriptors: ReceivedDescriptors = ReceivedDescriptors(),
        peer: PeerCredentials? = nil
    ) {
        (self.method, self.target, self.body) = (method, target, body)
        (self.descriptors, self.peer) = (descriptors, peer)
    }
}

/// What a request is answered with.
package enum APIReply: Sendable {
    /// A status and a body. Without a body: `Content-Length: 0`, or no length where the status allows none (204).
    case response(status: Int, contentType: String = "application/json", body: [UInt8]?)
    /// A reply without end, sent as it comes (server-sent events): the connection calls `attach` with its sink.
    case stream(contentType: String, attach: @Sendable (any ByteSink) -> Void)
    /// `101` and from then on bytes both ways: the connection calls `attach` with its sink and sends what the client
    /// writes to the receiver that `attach` returns.
    case upgrade(protocol: String, attach: @Sendable (any ByteSink) -> any ByteReceiver)
}

/// The way out to a client, from any thread.
package protocol ByteSink: AnyObject, Sendable {
    /// Queues bytes; false when the connection is gone or its queue is full, and then none of them are sent.
    func send(_ bytes: [UInt8]) -> Bool
    /// Ends the connection after what is queued.
    func finish()
    /// Asks to be told, once, when the connection is gone; at once if it is already.
    func onClose(_ body: @escaping @Sendable () -> Void)
}

/// What takes a client's bytes after an upgrade. Called on the server's thread; must not block.
package protocol ByteReceiver: AnyObject, Sendable {
    /// How many bytes it takes now; with 0 the connection stops reading and asks again
    /// a few times a second.
    var room: Int { get }
    /// Bytes of the client, at most `room`.
    func receive(_ bytes: [UInt8])
}

/// What answers requests.
package protocol APIHandler: AnyObject, Sendable {
    /// Answers a request by calling `reply` exactly once, from any thread, now or later. Called on the server's
    /// thread: it must not block. A connection's next request comes only after the reply to the one before.
    func handle(_ request: APIRequest, reply: @escaping @Sendable (APIReply) -> Void)
}
