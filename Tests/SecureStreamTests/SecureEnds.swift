import Host
import Synchronization
import TestSupport

@testable import SecureStream

/// Two ends that shake hands over a socket pair.
struct SecureEnds {
    let client: Result<any ByteStream, StreamFault>
    let server: Result<any ByteStream, StreamFault>

    private final class Outcome: Sendable {
        let value = Mutex<Result<any ByteStream, StreamFault>?>(nil)
    }

    /// - Parameter line: the ends of the line between them; nil for a socket pair.
    init(
        _ client: SecureCredentials, _ server: SecureCredentials,
        over line: (StreamConnection, StreamConnection)? = nil, milliseconds: Int = 60_000
    ) throws {
        let (left, right) = try line ?? StreamConnection.pair()
        let outcome = Outcome()
        let thread = try Thread("server", stackSize: 1 << 20) {
            let result = Self.attempt(server, right, milliseconds)
            outcome.value.withLock { $0 = result }
        }
        self.client = Self.attempt(client, left, milliseconds)
        // What failed is closed, which the other end sees.
        if case .failure = self.client { left.shutDown() }
        thread.join()
        self.server = outcome.value.withLock { $0 } ?? .failure(.timeUp)
        if case .failure = self.server { right.shutDown() }
    }

    private static func attempt(
        _ credentials: SecureCredentials, _ line: StreamConnection, _ milliseconds: Int
    ) -> Result<any ByteStream, StreamFault> {
        do throws(StreamFault) {
            return .success(try credentials.secure(line, within: milliseconds, heeding: nil))
        } catch { return .failure(error) }
    }

    /// What each end says is wrong: at its handshake, or at what it receives first.
    var complaints: (client: String, server: String) { (Self.complaint(client), Self.complaint(server)) }

    private static func complaint(_ result: Result<any ByteStream, StreamFault>) -> String {
        do throws(StreamFault) {
            guard let room = try? ScratchMemory(count: 1) else { return "no memory" }
            try result.get().receive(into: room.range, within: 10_000, heeding: nil)
            return "nothing"
        } catch { return "\(error)" }
    }

    /// A client of localhost with the files of a directory.
    static func client(_ directory: String, host: String = "localhost", now: Int64 = tests) throws -> SecureCredentials
    {
        try SecureCredentials(directory: directory, role: .client(host: host, address: "127.0.0.1"), now: now)
    }

    static func server(_ directory: String, now: Int64 = tests) throws -> SecureCredentials {
        try SecureCredentials(directory: directory, role: .server, now: now)
    }

    /// Within the years of all fixtures: in 2020.
    static let tests: Int64 = 1_590_000_000
}

/// Passes bytes on between two connections, and does something to the one of a number, counted over both directions.
final class ByteRelay: Sendable {
    enum Deed: Sendable { case cut, flip }

    private let count = Mutex(0)
    private let threads = Mutex<[Thread]>([])

    init(_ left: StreamConnection, _ right: StreamConnection, at number: Int, _ deed: Deed) throws {
        for (name, from, to) in [("there", left, right), ("back", right, left)] {
            let thread = try Thread(name) { [self] in
                defer {
                    from.shutDown()
                    to.shutDown()
                }
                while var bytes = try? from.receiveSome(upTo: 4096, within: nil) {
                    let start = count.withLock { count in
                        defer { count += bytes.count }
                        return count
                    }
                    if start..<start + bytes.count ~= number {
                        if deed == .cut {
                            try? to.send(Array(bytes[..<(number - start)]), within: 5000)
                            return
                        }
                        bytes[number - start] ^= 0x04
                    }
                    guard (try? to.send(bytes, within: 5000)) != nil else { return }
                }
            }
            threads.withLock { $0.append(thread) }
        }
    }

    func join() { for thread in threads.withLock({ $0 }) { thread.join() } }
}
