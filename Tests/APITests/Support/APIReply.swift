import Foundation

/// A reply of the API, as it came over the socket.
struct APIReply {
    /// The status line, without its end.
    let line: String
    /// The header lines in their order.
    let headers: [String]
    /// The body.
    let body: [UInt8]

    /// A reply from its head, without the empty line, and its body.
    init(head: String, body: [UInt8]) {
        let lines = head.components(separatedBy: "\r\n")
        line = lines[0]
        headers = Array(lines.dropFirst())
        self.body = body
    }

    /// The number in the status line; 0 without one.
    var status: Int { Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0 }
    /// The body as text.
    var text: String { String(decoding: body, as: UTF8.self) }
    /// The body as JSON.
    var json: JSON { JSON(try? JSONSerialization.jsonObject(with: Data(body), options: .fragmentsAllowed)) }
    /// The lines of an error, from the top to the root cause; empty where the body is none.
    var chain: [String] { (json.value as? [Any])?.compactMap { $0 as? String } ?? [] }

    /// A header's value, its name exactly as it is sent.
    func header(_ name: String) -> String? {
        headers.first { $0.hasPrefix("\(name): ") }.map { String($0.dropFirst(name.count + 2)) }
    }
}

/// A value in a JSON text, found by keys and indices.
@dynamicMemberLookup struct JSON {
    let value: Any?

    init(_ value: Any?) { self.value = value }

    subscript(dynamicMember key: String) -> JSON { self[key] }
    subscript(key: String) -> JSON { JSON((value as? [String: Any])?[key]) }
    subscript(index: Int) -> JSON {
        let items = value as? [Any] ?? []
        return JSON(items.indices.contains(index) ? items[index] : nil)
    }

    var string: String? { value as? String }
    var int: Int? { (value as? NSNumber)?.intValue }
    var count: Int { (value as? [Any])?.count ?? 0 }
    var keys: [String] { (value as? [String: Any])?.keys.sorted() ?? [] }
    var exists: Bool { value != nil }
}
