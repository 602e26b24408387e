/// The bytes in front of a reply's body, as Cloud Hypervisor's clients read them: no reason phrase, and these headers in
/// this order with this capitalisation.
enum ReplyHead {
    /// What follows the reply on its connection.
    enum Connection: String {
        case keepAlive = "keep-alive"
        case close = "close"
    }

    private static func start(_ status: Int, _ connection: String) -> String {
        "HTTP/1.1 \(status) \r\nServer: Cloud Hypervisor API\r\nConnection: \(connection)\r\n"
    }

    /// The head of a whole reply.
    static func response(
        _ status: Int, type: String, length: Int, _ connection: Connection = .keepAlive
    ) -> [UInt8] {
        var text = start(status, connection.rawValue)
        if status != 204, status >= 200 { text += "Content-Type: \(type)\r\nContent-Length: \(length)\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// What a client waits for before it sends a body (`Expect: 100-continue`).
    static let proceed = Array((start(100, "keep-alive") + "\r\n").utf8)

    /// The head of a reply without end: in chunks, or up to the connection's end for an HTTP/1.0 client.
    static func stream(type: String, chunked: Bool) -> [UInt8] {
        var text = start(200, chunked ? "keep-alive" : "close") + "Content-Type: \(type)\r\nCache-Control: no-cache\r\n"
        if chunked { text += "Transfer-Encoding: chunked\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// The head after which the bytes are another protocol's.
    static func upgrade(to name: String) -> [UInt8] {
        Array((start(101, "Upgrade") + "Upgrade: \(name)\r\n\r\n").utf8)
    }

    /// The head of the refusal of a request that had to ask for an upgrade (RFC 9110, 15.5.22).
    static func upgradeRequired(to name: String, length: Int) -> [UInt8] {
        let type = "Content-Type: application/json\r\nContent-Length: \(length)\r\n"
        return Array((start(426, "keep-alive") + "Upgrade: \(name)\r\n" + type + "\r\n").utf8)
    }
}
