/// Why a call to a VMM did not do what it was asked for.
public struct VMMClientError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What sort of failure it is.
    public enum Kind: Sendable, Hashable {
        /// No connection to the socket; the kernel's error number says why.
        case cannotConnect(errno: Int32)
        /// The connection ended before the reply was complete; the number is 0 when the VMM closed it.
        case connectionLost(errno: Int32)
        /// What came is not what the API sends.
        case protocolError
        /// The VMM refused, with this HTTP status.
        case api(status: Int)
        /// The reply did not come in time. Whether the VMM has done it, or still will, is not known.
        case timeout
        /// The calling task was cancelled. Whether the VMM has done it, or still will, is not known.
        case cancelled
        /// The request could not be made of what was given; nothing was sent.
        case invalidRequest
    }

    /// What sort of failure it is.
    public let kind: Kind
    /// The request: `PUT /api/v1/vm.boot`.
    public let operation: String
    /// The VMM's socket.
    public let socketPath: String
    /// What led to it, from the nearest to the root; for `.api` what the VMM's reply says.
    public let causes: [String]

    /// An error of the given kind.
    public init(_ kind: Kind, operation: String, socketPath: String, causes: [String] = []) {
        (self.kind, self.operation, self.socketPath, self.causes) = (kind, operation, socketPath, causes)
    }

    /// What happened, without its causes.
    public var summary: String {
        switch kind {
        case .cannotConnect: "cannot connect to \(socketPath)"
        case .connectionLost: "the connection to \(socketPath) ended before the reply to \(operation)"
        case .protocolError: "the reply to \(operation) from \(socketPath) is not one of a VMM"
        case .api(let status): "the VMM refused \(operation) with \(Self.words(status))"
        case .timeout: "no reply to \(operation) from \(socketPath) in time"
        case .cancelled: "\(operation) was cancelled before its reply came"
        case .invalidRequest: "\(operation) was not sent"
        }
    }

    /// The summary and the causes, from the top to the root.
    public var chain: [String] { [summary] + causes }

    /// The whole chain on one line.
    public var description: String { chain.joined(separator: ": ") }

    /// A status as it is known: `404 Not Found`.
    private static func words(_ status: Int) -> String {
        let names = [
            400: "Bad Request", 404: "Not Found", 409: "Conflict", 413: "Content Too Large", 429: "Too Many Requests",
            500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
        ]
        return names[status].map { "\(status) \($0)" } ?? "\(status)"
    }
}
