/// A request to a VMM.
package struct WireRequest: Sendable {
    /// `GET` or `PUT`.
    package let method: String
    /// The route below `/api/v1/`: `vm.boot`.
    package let route: String
    /// The JSON body; nil sends none.
    package let body: [UInt8]?
    /// Descriptors that travel with it; they stay the caller's.
    package let descriptors: [Int32]
    /// The protocol to upgrade to, or nil.
    package let upgrade: String?

    /// What a guest's terminal is upgraded to: its bytes, both ways.
    package static let terminalProtocol = "swiftlet-console"

    /// A request.
    package init(
        _ method: String, _ route: String, body: [UInt8]? = nil, descriptors: [Int32] = [], upgrade: String? = nil
    ) {
        (self.method, self.route, self.body, self.descriptors) = (method, route, body, descriptors)
        self.upgrade = upgrade
    }

    /// The request as errors name it.
    package var operation: String { "\(method) /api/v1/\(route)" }

    /// The request as it is sent.
    package var bytes: [UInt8] {
        var lines = ["\(method) /api/v1/\(route) HTTP/1.1", "Host: localhost", "Accept: */*"]
        if let upgrade { lines += ["Connection: Upgrade", "Upgrade: \(upgrade)"] }
        if body != nil { lines.append("Content-Type: application/json") }
        // A PUT without a body says so, as clients of the API do.
        if body != nil || method != "GET" { lines.append("Content-Length: \(body?.count ?? 0)") }
        return Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8) + (body ?? [])
    }
}
