import CLinux
import Host
import Logging
import Synchronization
import TestSupport

@testable import Control

/// Answers as a closure says.
final class FakeHandler: APIHandler {
    typealias Answer = @Sendable (APIRequest, @escaping @Sendable (APIReply) -> Void) -> Void
    private let answer: Answer
    init(_ answer: @escaping Answer) { self.answer = answer }
    func handle(_ request: APIRequest, reply: @escaping @Sendable (APIReply) -> Void) { answer(request, reply) }

    /// Tells what it was asked: `PUT /target 5 bytes 0 descriptors`; the body of `/empty` is nil, `/done` is 204.
    static let echo = FakeHandler { request, reply in
        switch request.target {
        case "/empty": reply(.response(status: 200, body: nil))
        case "/done": reply(.response(status: 204, body: nil))
        default: reply(.response(status: 200, body: Array(describe(request).utf8)))
        }
    }

    static func describe(_ request: APIRequest) -> String {
        "\(request.method.rawValue) \(request.target) \(request.body.count) bytes \(request.descriptors.count) descriptors"
    }
}

/// Gathers log lines.
struct LogLines: LogHandler {
    final class Store: Sendable {
        let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
    }
    let store: Store
    var logLevel = Logger.Level.debug
    var metadata: Logger.Metadata = [:]
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        store.lines.withLock { $0.append("\(event.level) \(event.message)\(fields)") }
    }
}

/// A running server on a socket of its own.
final class TestServer: Sendable {
    let directory: ScratchDirectory
    let path: String
    let log = LogLines.Store()
    let server: APIServer

    init(_ handler: any APIHandler = FakeHandler.echo, limits: APILimits = APILimits()) throws {
        directory = try ScratchDirectory("api")
        path = directory.path("api.sock")
        let store = log
        var logger = Logger(label: "api") { _ in LogLines(store: store) }
        logger.logLevel = .debug
        server = try APIServer(
            listening: APISocket(.path(path)), handler: handler, logger: logger, limits: limits)
        try server.start()
    }

    func connect() throws -> RawClient { try RawClient(path) }

    var openConnections: Int { server.metrics.open.load(ordering: .relaxed) }

    /// Whether a client is answered within a second.
    func answers() throws -> Bool {
        let client = try connect()
        try client.send("GET /alive HTTP/1.1\r\n\r\n")
        return try client.reply(by: .seconds(1)).status == 200
    }

    deinit { server.stop(within: 500) }
}

/// A client that says exactly what it is told to.
final class RawClient {
    struct Reply: Equatable {
        let head: String
        let body: String
        var status: Int { Int(head.split(separator: " ").dropFirst().first ?? "") ?? 0 }
    }
    struct Ended: Error { let after: String }

    private let stream: UnixStream
    private(set) var received: [UInt8] = []
    private(set) var atEnd = false

    init(_ path: String) throws {
        stream = try UnixStream.connect(path: path)
        try stream.setNonBlocking(true)
    }

    var raw: Int32 { stream.raw }

    func send(_ text: String, descriptors: [Int32] = []) throws { try send(Array(text.utf8), descriptors: descriptors) }

    /// Sends all of it; throws `EAGAIN` when the server takes nothing for the time given.
    func send(_ bytes: [UInt8], descriptors: [Int32] = [], by deadline: Deadline = .seconds(10)) throws {
        var done = 0
        while done < bytes.count {
            do {
                let rest = bytes.span.extracting(done..<bytes.count)
                done += try stream.send(rest, descriptors: done == 0 ? descriptors : [])
            } catch {
                guard error == .wouldBlock, !deadline.hasPassed else { throw error }
                var entries = [PollEntry(stream.raw, forWriting: true)]
                PollEntry.wait(&entries, timeout: 50)
            }
        }
    }

    func finishSending() { stream.finishSending() }

    /// Receives once, waiting at most that long.
    @discardableResult func receive(milliseconds: Int32 = 50) -> Bool {
        var entries = [PollEntry(stream.raw, forReading: true)]
        PollEntry.wait(&entries, timeout: milliseconds)
        guard entries[0].isReadable else { return false }
        var chunk = [UInt8](repeating: 0, count: 65536)
        var span = chunk.mutableSpan
        do {
            let got = try stream.receive(into: &span).count
            if got == 0 { atEnd = true }
            received += chunk[..<got]
            return got > 0
        } catch {
            if error != .wouldBlock { atEnd = true }
            return false
        }
    }

    /// The next whole reply, by its length.
    func reply(by deadline: Deadline = .seconds(10)) throws -> Reply {
        while true {
            if let reply = takeReply() { return reply }
            guard !atEnd, !deadline.hasPassed else { throw Ended(after: String(decoding: received, as: UTF8.self)) }
            receive()
        }
    }

    private func takeReply() -> Reply? {
        let end = Array("\r\n\r\n".utf8)
        guard let split = received.indices.first(where: { received[$0...].starts(with: end) }) else { return nil }
        let head = String(decoding: received[..<(split + 4)], as: UTF8.self)
        let length =
            head.split(separator: "\r\n").first { $0.hasPrefix("Content-Length: ") }
            .flatMap { Int($0.dropFirst(16)) } ?? 0
        guard received.count >= split + 4 + length else { return nil }
        let body = String(decoding: received[(split + 4)..<(split + 4 + length)], as: UTF8.self)
        received.removeFirst(split + 4 + length)
        return Reply(head: head, body: body)
    }

    /// All up to the end of the connection.
    func rest(by deadline: Deadline = .seconds(10)) throws -> String {
        while !atEnd {
            guard !deadline.hasPassed else { throw Ended(after: String(decoding: received, as: UTF8.self)) }
            receive()
        }
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    /// Takes bytes until so many are there.
    func text(_ count: Int, by deadline: Deadline = .seconds(10)) throws -> String {
        while received.count < count {
            guard !atEnd, !deadline.hasPassed else { throw Ended(after: String(decoding: received, as: UTF8.self)) }
            receive()
        }
        defer { received.removeFirst(count) }
        return String(decoding: received[..<count], as: UTF8.self)
    }
}

func request(_ method: String, _ target: String, _ body: String? = nil, headers: [String] = []) -> String {
    let length = body.map { ["Content-Length: \($0.utf8.count)"] } ?? []
    return (["\(method) \(target) HTTP/1.1"] + headers + length).map { $0 + "\r\n" }.joined() + "\r\n" + (body ?? "")
}

func head(_ status: Int, length: Int?, connection: String = "keep-alive") -> String {
    "HTTP/1.1 \(status) \r\nServer: Cloud Hypervisor API\r\nConnection: \(connection)\r\n"
        + (length.map { "Content-Type: application/json\r\nContent-Length: \($0)\r\n" } ?? "") + "\r\n"
}
