import Machine
import Spec

extension APIReply {
    /// The reply to an action that is done (204).
    static var done: APIReply { .response(status: 204, body: nil) }

    /// A JSON reply.
    static func json(_ value: JSONValue, status: Int = 200) -> APIReply {
        .response(status: status, body: Array(value.text().utf8))
    }

    /// An error: a JSON array from the top error to its root cause.
    static func failure(_ status: Int, _ chain: [String]) -> APIReply {
        .json(.array((["Error from API"] + chain).map { .string($0) }), status: status)
    }

    /// An error of the VM.
    static func failure(_ error: VMError) -> APIReply {
        let status =
            switch error.kind {
            case .notFound: 404
            case .conflict: 409
            case .invalid: 400
            case .unsupported: 501
            case .failed: 500
            }
        return .failure(status, error.chain)
    }
}
