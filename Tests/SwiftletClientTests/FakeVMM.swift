import Foundation
import Glibc
import Host
import Synchronization
import TestSupport

/// A listening socket that answers each connection's first request with what a test says.
final class FakeVMM: Sendable {
    /// A request as it came.
    struct Request: Sendable {
        /// The request line and the headers, as they came.
        let head: String
        let body: [UInt8]

        var line: String { head.split(separator: "\r\n").first.map(String.init) ?? "" }
        var text: String { String(decoding: body, as: UTF8.self) }
    }

    /// What is done on a connection, in order; it is closed at the end.
    enum Step: Sendable {
        case send([UInt8])
        /// Sends a byte at a time.
        case trickle([UInt8])
        case sleep(milliseconds: Int)
        /// Sends back what comes until the client finishes.
        case echo
        /// Waits until the client finishes.
        case hold
        /// Sends that many bytes of a known pattern.
        case flood(Int)
    }

    let path: String
    private let scratch: ScratchDirectory
    private let seen = Mutex<[Request]>([])
    private let answer: @Sendable (Request) -> [Step]

    init(_ answer: @escaping @Sendable (Request) -> [Step]) throws {
        scratch = try ScratchDirectory("fake")
        path = scratch.path("api.sock")
        self.answer = answer
        let listener = try UnixListener(path: path)
        let handed = Mutex<UnixListener?>(listener)
        Foundation.Thread.detachNewThread { [weak self] in
            guard let listener = handed.withLock({ $0.take() }) else { return }
            while true {
                var entries = [PollEntry(listener.raw, forReading: true)]
                PollEntry.wait(&entries, timeout: 20)
                // The test is over when nobody has the fake any more.
                guard let self else { return }
                guard let client = listener.accept() else { continue }
                try? client.setNonBlocking(false)
                let raw = client.release()
                Foundation.Thread.detachNewThread { self.serve(raw) }
            }
        }
    }

    /// A fake that answers every request with the same bytes.
    convenience init(reply: String) throws { try self.init { _ in [.send(Array(reply.utf8))] } }

    /// The requests so far.
    var requests: [Request] { seen.withLock { $0 } }

    private func serve(_ raw: Int32) {
        defer { close(raw) }
        guard let request = Self.read(raw) else { return }
        seen.withLock { $0.append(request) }
        for step in answer(request) { Self.perform(step, raw) }
    }

    private static func perform(_ step: Step, _ raw: Int32) {
        switch step {
        case .send(let bytes): write(raw, bytes)
        case .trickle(let bytes): for byte in bytes { write(raw, [byte]) }
        case .sleep(let milliseconds): usleep(UInt32(milliseconds) * 1000)
        case .echo: while let bytes = receive(raw) { write(raw, bytes) }
        case .hold: while receive(raw) != nil {}
        case .flood(let count): write(raw, pattern(count))
        }
    }

    /// That many bytes whose order can be told: a block that no power of two divides, again and again.
    static func pattern(_ count: Int) -> [UInt8] {
        let block = (0..<65_521).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count { bytes += block.prefix(count - bytes.count) }
        return bytes
    }

    private static func write(_ raw: Int32, _ bytes: [UInt8]) {
        var done = 0
        while done < bytes.count {
            // SAFETY: the pointer and length are the slice's.
            let count = unsafe bytes[done...].withUnsafeBytes { unsafe send(raw, $0.baseAddress, $0.count, 0x4000) }
            if count <= 0 { return }
            done += count
        }
    }

    private static func receive(_ raw: Int32) -> [UInt8]? {
        var room = [UInt8](repeating: 0, count: 65536)
        // SAFETY: the buffer is as long as it says.
        let count = unsafe recv(raw, &room, room.count, 0)
        return count > 0 ? Array(room[..<count]) : nil
    }

    private static func read(_ raw: Int32) -> Request? {
        var bytes: [UInt8] = []
        while true {
            let text = String(decoding: bytes, as: UTF8.self)
            if let end = text.range(of: "\r\n\r\n") {
                let head = String(text[..<end.lowerBound])
                let length =
                    head.split(separator: "\r\n").first { $0.hasPrefix("Content-Length: ") }
                    .flatMap { Int($0.dropFirst("Content-Length: ".count)) } ?? 0
                let body = bytes.dropFirst(head.utf8.count + 4)
                if body.count >= length { return Request(head: head, body: Array(body)) }
            }
            guard let more = receive(raw) else { return nil }
            bytes += more
        }
    }
}

/// Replies as a VMM sends them.
enum Reply {
    static func json(_ body: String, _ status: Int = 200) -> String {
        head(status) + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    static let done = head(204) + "\r\n"

    static func head(_ status: Int) -> String {
        "HTTP/1.1 \(status) \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
    }

    static let upgraded = "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: swiftlet-console\r\n\r\n"
    static let events = "HTTP/1.1 200 \r\nContent-Type: text/event-stream\r\n\r\n"
}
