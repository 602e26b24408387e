import Logging
import Machine

/// Answers the API's requests: finds the route, checks how it is called, and has it answered.
package final class APIService: APIHandler {
    private let routes: [String: [Route]]
    private let context: APIContext

    package init(_ context: APIContext) {
        self.context = context
        let all = Route.vmm + Route.vm + Route.devices + Route.migration + Route.later + Route.observation
        routes = Dictionary(grouping: all) { "/api/v1/\($0.name)" }
    }

    package func handle(_ request: APIRequest, reply: @escaping @Sendable (APIReply) -> Void) {
        guard let candidates = routes[request.target] else {
            return reply(.failure(404, ["There is no route \(Self.printable(request.target))"]))
        }
        guard let route = candidates.first(where: { $0.method == request.method }) else {
            let methods = candidates.map(\.method.rawValue).joined(separator: " or ")
            return reply(
                .failure(400, ["\(candidates[0].name) is called with \(methods), not \(request.method.rawValue)"]))
        }
        switch route.body {
        case .none where !request.body.isEmpty:
            reply(.failure(400, ["\(route.name) takes no body; \(request.body.count) bytes came"]))
        case .required where request.body.isEmpty:
            reply(.failure(400, ["\(route.name) needs a body, a JSON object; none came"]))
        default: route.answer(request, context, reply)
        }
    }

    /// A target as it may stand in a message.
    static func printable(_ target: String) -> String {
        let short = target.unicodeScalars.prefix(100)
        let safe = short.map { $0.isASCII && $0.value > 0x20 && $0.value < 0x7F ? Character($0) : "?" }
        return String(safe) + (target.unicodeScalars.count > 100 ? "…" : "")
    }
}
