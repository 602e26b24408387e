import Foundation
import Host
import TestSupport
import Testing

/// A connection to the API that sends exactly the bytes that it is given.
final class RawConnection {
    private let stream: UnixStream
    private var buffer: [UInt8] = []

    /// Connects; what goes over the connection later has deadlines of its own.
    init(_ path: String) throws {
        stream = try UnixStream.connect(path: path)
        try stream.setNonBlocking(true)
    }

    /// The other end of what `stream` is, which a client that is gone leaves to its deinit.
    var isOpen: Bool { stream.raw >= 0 }

    /// Sends a text, with descriptors beside its first byte.
    func send(_ text: String, descriptors: [Int32] = []) throws {
        let bytes = Array(text.utf8)
        var sent = 0
        let deadline = Deadline.seconds(10)
        while sent < bytes.count {
            do {
                sent += try stream.send(
                    bytes.span.extracting(sent..<bytes.count), descriptors: sent == 0 ? descriptors : [])
            } catch {
                guard error == .wouldBlock, !deadline.hasPassed else { throw error }
                var entries = [PollEntry(stream.raw, forWriting: true)]
                PollEntry.wait(&entries, timeout: 100)
            }
        }
    }

    /// Sends a request as Kata's client writes it: a length only where there is a body.
    func send(_ method: String, _ name: String, _ body: String? = nil, descriptors: [Int32] = []) throws {
        var text = "\(method) /api/v1/\(name) HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        if let body { text += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n" }
        try send(text + "\r\n" + (body ?? ""), descriptors: descriptors)
    }

    /// One request and its reply.
    func call(_ method: String, _ name: String, _ body: String? = nil, descriptors: [Int32] = []) throws -> APIReply {
        try send(method, name, body, descriptors: descriptors)
        return try reply()
    }

    /// The next reply on the connection.
    func reply(by deadline: Deadline = .seconds(20)) throws -> APIReply {
        let end = Array("\r\n\r\n".utf8)
        var range = buffer.firstRange(of: end)
        while range == nil {
            guard try receive(by: deadline) else { throw RawConnectionError(what: "no reply", after: buffer) }
            range = buffer.firstRange(of: end)
        }
        let head = String(decoding: buffer[..<(range?.lowerBound ?? 0)], as: UTF8.self)
        buffer.removeFirst(range?.upperBound ?? 0)
        let length = Int(APIReply(head: head, body: []).header("Content-Length") ?? "0") ?? 0
        while buffer.count < length {
            guard try receive(by: deadline) else { throw RawConnectionError(what: "half a body", after: buffer) }
        }
        defer { buffer.removeFirst(length) }
        return APIReply(head: head, body: Array(buffer[..<length]))
    }

    /// Whether the server closes the connection without a byte more.
    func isClosed(by deadline: Deadline = .seconds(5)) throws -> Bool {
        while try receive(by: deadline) { if !buffer.isEmpty { return false } }
        return !deadline.hasPassed
    }

    /// Receives once; false at the end of the stream or of the time.
    private func receive(by deadline: Deadline) throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            do {
                var span = chunk.mutableSpan
                let count = try stream.receive(into: &span).count
                buffer += chunk[..<count]
                return count > 0
            } catch {
                guard error == .wouldBlock else { throw error }
                guard !deadline.hasPassed else { return false }
                var entries = [PollEntry(stream.raw, forReading: true)]
                PollEntry.wait(&entries, timeout: 100)
            }
        }
    }
}

/// A connection that did not bring what was waited for.
struct RawConnectionError: Error, CustomStringConvertible {
    let what: String
    let after: [UInt8]
    var description: String { "\(what) after \"\(String(decoding: after, as: UTF8.self))\"" }
}
