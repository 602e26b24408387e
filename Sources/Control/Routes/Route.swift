import Machine
import Spec

/// One route of the API: how it is called, and what answers it.
struct Route: Sendable {
    /// Whether the request has a body.
    enum Body: Sendable {
        case none, required
        /// It does not matter.
        case any
    }

    /// The name behind `/api/v1/`.
    let name: String
    let method: APIRequest.Method
    let body: Body
    let answer: @Sendable (APIRequest, APIContext, @escaping @Sendable (APIReply) -> Void) -> Void

    /// A route that answers at once, on the server's thread.
    static func get(_ name: String, _ answer: @escaping @Sendable (APIContext) -> APIReply) -> Route {
        Route(name: name, method: .get, body: .none) { _, context, reply in reply(answer(context)) }
    }

    /// A command without arguments.
    static func action(_ name: String, _ command: VMCommand) -> Route {
        Route(name: name, method: .put, body: .none) { _, context, reply in context.send(command, reply) }
    }

    /// A command whose argument is the body.
    static func command<Config>(
        _ name: String,
        _ read: @escaping @Sendable (APIRequest, APIContext) throws(SpecError) -> Parsed<Config>,
        _ command: @escaping @Sendable (Parsed<Config>, APIRequest) -> VMCommand
    ) -> Route {
        Route(name: name, method: .put, body: .required) { request, context, reply in
            do throws(SpecError) {
                let parsed = try read(request, context)
                for warning in parsed.warnings { context.logger.warning("\(name): \(warning)") }
                context.send(command(parsed, request), reply)
            } catch {
                reply(.failure(VMError(error).during("The request's body cannot be used")))
            }
        }
    }

    /// A route of the contract that comes with a later version.
    static func later(_ name: String, _ missing: String) -> Route {
        Route(name: name, method: .put, body: .any) { _, _, reply in
            reply(.failure(501, ["\(name) is not supported by this version of swiftlet", missing]))
        }
    }
}
