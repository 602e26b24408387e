internal import FoundationEssentials

/// Calls of the API that block the calling thread: what the asynchronous ones and `swiftlet ctl` are made of.
package enum BlockingCall {
    /// The longest reply, in bytes.
    package static let replyLimit = 16 << 20

    /// Sends a request and waits for its reply.
    ///
    /// - Throws: an error of kind `.api` for a status from 400 on.
    package static func perform(
        _ request: WireRequest, at path: String, _ patience: Patience
    ) throws(VMMClientError) -> VMMReply {
        let connection = try APIConnection(to: path, for: request, patience)
        try connection.send()
        let head = try connection.head()
        let body = try connection.body(limit: replyLimit)
        guard head.status < 300 else { throw refusal(head.status, body, connection) }
        return VMMReply(status: head.status, body: body)
    }

    /// Opens a stream: waits for a reply with that status and leaves what follows to be received.
    package static func open(
        _ request: WireRequest, expecting status: Int, at path: String, _ patience: Patience
    ) throws(VMMClientError) -> APIConnection {
        let connection = try APIConnection(to: path, for: request, patience)
        try connection.send()
        let head = try connection.head()
        guard head.status == status else {
            if head.status < 300 {
                throw connection.failure(.protocolError, ["its status is \(head.status), not \(status)"])
            }
            throw refusal(head.status, try connection.body(limit: replyLimit), connection)
        }
        return connection
    }

    /// An error reply's body is the chain of errors; whatever else it is, is shown as it is.
    private static func refusal(_ status: Int, _ body: [UInt8], _ connection: APIConnection) -> VMMClientError {
        if let chain = try? JSONDecoder().decode([String].self, from: Data(body)) {
            return connection.failure(.api(status: status), chain)
        }
        let text = String(decoding: body.prefix(1024), as: UTF8.self)
        return connection.failure(.api(status: status), text.isEmpty ? [] : [text])
    }

    /// The value of a reply's JSON body.
    package static func decode<Value: Decodable>(
        _ type: Value.Type, _ body: [UInt8], operation: String, socketPath: String
    ) throws(VMMClientError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(body))
        } catch {
            let cause = words(error)
            throw VMMClientError(.protocolError, operation: operation, socketPath: socketPath, causes: [cause])
        }
    }

    private static func words(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let steps = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }
            return "$" + steps.joined()
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context): return "\(place(context)): no \(key.stringValue)"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
            return "\(place(context)): \(context.debugDescription)"
        default: return "its body is not JSON"
        }
    }
}
