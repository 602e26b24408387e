import Foundation
import TestSupport

/// Requests to a VM's API, over one connection that stays open.
struct GuestAPI {
    /// What a request came to.
    struct Reply: CustomStringConvertible {
        let status: Int
        let body: String
        var description: String { "\(status) \(body)" }
    }

    private let talk: Conversation
    private let deadline: Deadline

    /// Connects to the socket as soon as it is there.
    init(_ socket: String, by deadline: Deadline) throws {
        talk = try Conversation.connect(socket: socket, by: deadline)
        self.deadline = deadline
    }

    /// Sends a request and waits for its reply.
    func put(_ name: String, _ body: String = "") throws -> Reply { try request("PUT", name, body) }

    /// Waits for a request's reply; its body ends with a brace.
    func get(_ name: String) throws -> Reply { try request("GET", name, "") }

    private func request(_ method: String, _ name: String, _ body: String) throws -> Reply {
        let length = body.utf8.count
        try talk.write(
            "\(method) /api/v1/\(name) HTTP/1.1\r\nHost: vm\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(length)\r\n\r\n\(body)")
        let head = try talk.expect("\r\n\r\n", by: deadline)
        let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        guard let field = head.range(of: "Content-Length: "),
            let count = Int(head[field.upperBound...].prefix(while: \.isNumber)), count > 0
        else { return Reply(status: status, body: "") }
        var text = ""
        while text.utf8.count < count { text += try talk.expect(status >= 400 ? "]" : "}", by: deadline) }
        return Reply(status: status, body: text)
    }
}
