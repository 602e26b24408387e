import Spec
import SwiftletClient

/// A verb that sends one request.
struct CtlCall {
    let socket: String
    /// Whether replies are printed as they are.
    let json: Bool

    init(_ options: VMMOptions) throws(CtlFailure) {
        socket = try options.socket()
        json = options.json
    }

    /// Sends a request and waits for its reply, however long it takes.
    func perform(_ request: WireRequest, _ patience: Patience = Patience(nil)) throws(CtlFailure) -> VMMReply {
        do {
            return try BlockingCall.perform(request, at: socket, patience)
        } catch {
            throw CtlFailure(error)
        }
    }

    /// The value of a reply.
    func decode<Value: Decodable>(
        _ type: Value.Type, _ reply: VMMReply, _ request: WireRequest
    ) throws(CtlFailure) -> Value {
        do {
            return try BlockingCall.decode(
                type, reply.body, operation: request.operation, socketPath: socket)
        } catch {
            throw CtlFailure(error)
        }
    }

    /// Sends a request with a body and prints what is to be printed of the reply.
    ///
    /// - Parameter text: the reply in words.
    func act(
        _ route: String, _ body: JSONObject? = nil, descriptors: [Int32] = [],
        _ text: (VMMReply, WireRequest) throws(CtlFailure) -> String? = { _, _ in nil }
    ) throws(CtlFailure) {
        let bytes = body.map { Array(JSONValue.object($0).text().utf8) }
        try act(route, bytes: bytes, descriptors: descriptors, text)
    }

    /// The same with the body's bytes.
    func act(
        _ route: String, bytes: [UInt8]?, descriptors: [Int32] = [],
        _ text: (VMMReply, WireRequest) throws(CtlFailure) -> String?
    ) throws(CtlFailure) {
        let request = WireRequest("PUT", route, body: bytes, descriptors: descriptors)
        try show(try perform(request), request, text)
    }

    /// Asks and prints the answer.
    func ask(_ route: String, _ text: (VMMReply, WireRequest) throws(CtlFailure) -> String?) throws(CtlFailure) {
        let request = WireRequest("GET", route)
        try show(try perform(request), request, text)
    }

    private func show(
        _ reply: VMMReply, _ request: WireRequest, _ text: (VMMReply, WireRequest) throws(CtlFailure) -> String?
    ) throws(CtlFailure) {
        if json {
            if !reply.body.isEmpty { StandardStreams.out(String(decoding: reply.body, as: UTF8.self)) }
        } else if let text = try text(reply, request) {
            StandardStreams.out(text)
        }
    }
}
