/// What one client, and all of them together, may ask of the server.
package struct APILimits: Sendable {
    /// The most connections at a time; further ones are answered 503 and closed.
    package var connections = 128
    /// How long the server has waited for a client, for its next request or for the rest of one, before the connection
    /// makes room for a new one when there are too many, in nanoseconds.
    package var evictableAfter: UInt64 = 1_000_000_000
    /// The most bytes of a request's line and headers, and of anything else between them and the body's bytes.
    package var head = 64 << 10
    /// The most bytes of a body.
    package var body = 4 << 20
    /// The most bytes of unfinished bodies, all connections together.
    package var bodiesTogether = 64 << 20
    /// The most descriptors with one request: as many as one message on a Unix socket carries (unix(7), SCM_RIGHTS).
    package var descriptors = 253
    /// The most bytes that wait in a stream's queue.
    package var streamQueue = 256 << 10
    /// How long a request may stand half sent without another byte, and altogether, in nanoseconds.
    package var requestIdle: UInt64 = 30_000_000_000, requestTotal: UInt64 = 300_000_000_000
    /// How long a client may leave a reply unread, in nanoseconds.
    package var replyIdle: UInt64 = 30_000_000_000
    /// How long a client has to close a connection that the server is done with, in nanoseconds.
    package var linger: UInt64 = 1_000_000_000

    package init() {}
}
