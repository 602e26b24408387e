import Host
import NIOCore
import NIOHTTP1

/// A request as it came, before anybody asked whether the API has such a method.
struct WireRequest {
    let method: String
    let target: String
    /// Whether the client speaks HTTP/1.0, without chunks.
    let isHTTP10: Bool
    /// Whether the client may send another request behind it.
    let keepsAlive: Bool
    /// Whether the client would go over to another protocol; the parser stops behind such a request.
    let asksForUpgrade: Bool
    /// The protocols that it would go over to, in lower case.
    let upgrades: [String]
    var body: [UInt8] = []
    var descriptors = ReceivedDescriptors()

    init(_ head: HTTPRequestHead) {
        (method, target) = (head.method.rawValue, Self.path(of: head.uri))
        isHTTP10 = head.version.minor == 0
        keepsAlive = head.isKeepAlive
        let asks = head.headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
        asksForUpgrade = asks && head.headers.contains(name: "upgrade")
        upgrades = asks ? head.headers[canonicalForm: "upgrade"].map { $0.lowercased() } : []
    }

    /// The path of a target in the absolute form, `http://host/path` (RFC 9112, 3.2.2), and any other as it is.
    private static func path(of target: String) -> String {
        guard target.hasPrefix("http://") else { return target }
        return target.dropFirst(7).firstIndex(of: "/").map { String(target[$0...]) } ?? target
    }
}

/// What came over a connection: a request, or something after which nothing more can be read there.
enum WireItem {
    case request(WireRequest)
    case failure(status: Int, String)
}

/// Bytes of unfinished bodies, all connections together.
final class BodyBudget {
    private var used = 0
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    func take(_ count: Int) -> Bool {
        guard used + count <= limit else { return false }
        used += count
        return true
    }

    func giveBack(_ count: Int) { used -= count }
}

/// The parser's next stage: puts the parts of requests together, within the limits.
final class RequestAssembler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart

    /// What is complete, oldest first.
    private(set) var items: [WireItem] = []
    /// Whether a part came since this was last reset.
    var sawPart = false
    /// Whether nothing more is read.
    private(set) var hasFailed = false
    /// Whether the client waits for `100 Continue` before it sends the body.
    private(set) var awaitsProceed = false
    private var partial: WireRequest?
    private var expectedLength: Int?
    private var descriptors = ReceivedDescriptors()
    private let limits: APILimits
    private let budget: BodyBudget

    init(_ limits: APILimits, _ budget: BodyBudget) { (self.limits, self.budget) = (limits, budget) }

    deinit { budget.giveBack(partial?.body.count ?? 0) }

    /// Whether a request's head has come and its end has not.
    var isWithinBody: Bool { partial != nil }

    func takeItem() -> WireItem? { items.isEmpty ? nil : items.removeFirst() }

    func proceed() { awaitsProceed = false }

    /// Descriptors that came with the byte that is parsed next: they go to the request that this byte belongs to.
    func attach(_ received: ReceivedDescriptors) {
        guard !hasFailed else { return }
        descriptors.append(received)
        guard descriptors.count > limits.descriptors else { return }
        fail(400, "\(descriptors.count) descriptors came with a request; at most \(limits.descriptors) are accepted")
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        sawPart = true
        guard !hasFailed else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head)
        case .body(let buffer): append(buffer)
        case .end: finish()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error as? HTTPParserError {
        case .headerOverflow: fail(431, "The request's headers are too long; at most \(limits.head) bytes are accepted")
        case .some(let error): fail(400, "The request is not HTTP/1.1: \(Self.words(error))")
        case nil: fail(400, "The request is not HTTP/1.1: \(error)")
        }
    }

    /// What the parser found, in a client's terms.
    private static func words(_ error: HTTPParserError) -> String {
        switch error {
        case .invalidMethod: "its method is none that there is"
        case .invalidURL, .invalidPath, .invalidHost, .invalidPort, .invalidQueryString, .invalidFragment:
            "its target is no path"
        case .invalidVersion, .paused: "its first line does not end with HTTP/1.0 or HTTP/1.1 and CR LF"
        case .lfExpected: "a line does not end with CR LF"
        case .invalidHeaderToken: "a header has a character that none may have"
        case .invalidContentLength, .unexpectedContentLength:
            "its Content-Length is not a number that fits, or stands beside a Transfer-Encoding"
        case .invalidChunkSize: "a chunk's size is not a hexadecimal number that fits"
        case .closedConnection, .invalidEOFState: "bytes follow the last request of the connection"
        default:
            "its line, its headers or its Transfer-Encoding are malformed; lines end with CR LF, and the only "
                + "Transfer-Encoding is chunked"
        }
    }

    /// Reads nothing more after what is complete.
    func fail(_ status: Int, _ message: String) {
        guard !hasFailed else { return }
        hasFailed = true
        budget.giveBack(partial?.body.count ?? 0)
        partial = nil
        awaitsProceed = false
        descriptors = ReceivedDescriptors()
        items.append(.failure(status: status, message))
    }

    /// The client sends nothing more.
    func end(isMidRequest: Bool) {
        if let partial {
            let expected = expectedLength.map { " of \($0)" } ?? ""
            fail(400, "The request ended within its body, after \(partial.body.count)\(expected) bytes")
        } else if isMidRequest {
            fail(400, "The request ended within its headers")
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        let request = WireRequest(head)
        guard request.method != "HEAD", request.method != "CONNECT" else {
            // What follows them is not what follows others, so their connections end here.
            return fail(400, Self.unknownMethod(request.method))
        }
        // The parser lets other codings stand in front of `chunked`, and leaves their bytes as they are.
        if let coding = head.headers[canonicalForm: "transfer-encoding"].first(where: { $0.lowercased() != "chunked" })
        {
            return fail(501, "The Transfer-Encoding \(coding.prefix(32)) is not supported; only chunked is")
        }
        // The parser has seen to it that it is a number; one beyond these is too large as well.
        expectedLength = head.headers.first(name: "content-length").map { Int($0) ?? .max }
        if let expectedLength, expectedLength > limits.body {
            return fail(400, "The request's body has \(expectedLength) bytes; at most \(limits.body) are accepted")
        }
        let hasBody = (expectedLength ?? 0) > 0 || head.headers.contains(name: "transfer-encoding")
        let expects = head.headers[canonicalForm: "expect"].contains { $0.lowercased() == "100-continue" }
        awaitsProceed = hasBody && expects && !request.isHTTP10
        partial = request
    }

    private func append(_ buffer: ByteBuffer) {
        guard let count = partial?.body.count else { return }
        guard count + buffer.readableBytes <= limits.body else {
            return fail(400, "The request's body is longer than \(limits.body) bytes, the most that is accepted")
        }
        guard budget.take(buffer.readableBytes) else {
            return fail(503, "Too many requests with long bodies at the same time; try again later")
        }
        if count == 0, let expectedLength { partial?.body.reserveCapacity(min(expectedLength, limits.body)) }
        partial?.body.append(contentsOf: buffer.readableBytesView)
        awaitsProceed = false
    }

    private func finish() {
        guard var request = partial else { return }
        partial = nil
        budget.giveBack(request.body.count)
        awaitsProceed = false
        (request.descriptors, descriptors) = (descriptors, ReceivedDescriptors())
        items.append(.request(request))
    }

    static func unknownMethod(_ name: String) -> String {
        "The method \(name.prefix(32)) is not one of the API's: GET, PUT, PATCH, DELETE"
    }
}
