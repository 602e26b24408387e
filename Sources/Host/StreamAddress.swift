import CLinux

/// Where a peer on a stream socket is: `unix:/PATH` or `tcp:HOST:PORT`.
package enum StreamAddress: Equatable, Sendable, CustomStringConvertible {
    /// A Unix socket's path.
    case unix(String)
    /// A numeric IPv4 or IPv6 address and a port; port 0 has the kernel choose one to listen at.
    case tcp(host: String, port: UInt16)

    /// Reads an address; nil for a text that is none. A host is a number, `[::1]` for one of IPv6, `localhost`, or a
    /// name in `/etc/hosts`: names are not asked for on the network.
    package init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            guard !path.isEmpty, !path.utf8.contains(0) else { return nil }
            self = .unix(path)
            return
        }
        guard let (host, port) = Self.split(text), let number = Self.number(host) else { return nil }
        self = .tcp(host: number, port: port)
    }

    /// The host of an address of TCP as it is written; nil for a text that is none.
    package static func host(in text: String) -> String? { split(text)?.host }

    private static func split(_ text: String) -> (host: String, port: UInt16)? {
        guard text.hasPrefix("tcp:") else { return nil }
        var rest = text.dropFirst("tcp:".count)
        if rest.hasPrefix("//") { rest = rest.dropFirst(2) }
        guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]) else {
            return nil
        }
        var host = rest[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return host.isEmpty ? nil : (String(host), port)
    }

    /// What an address has to look like, for errors.
    package static let syntax =
        "unix:/PATH, or tcp:HOST:PORT with a numeric address or a name that /etc/hosts has"

    /// The numeric address of a host.
    private static func number(_ host: String) -> String? {
        // Hexadecimal digits and colons, or digits and dots: the kernel's call tells whether it is an address.
        let isNumber = host.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || byte == 0x2E || byte == 0x3A || (0x61...0x66).contains(byte | 0x20)
        }
        if isNumber, host.contains(":") || host.utf8.allSatisfy({ $0 == 0x2E || (0x30...0x39).contains($0) }) {
            return host
        }
        if let file = try? FileDescriptor.openForReading("/etc/hosts"), let bytes = try? file.readAll(limit: 1 << 20) {
            for line in bytes.split(separator: 0x0A) {
                let words = line.prefix { $0 != UInt8(ascii: "#") }.split { $0 == 0x20 || $0 == 0x09 }
                guard let number = words.first, words.dropFirst().contains(where: { $0.elementsEqual(host.utf8) })
                else { continue }
                return String(decoding: number, as: UTF8.self)
            }
        }
        return host == "localhost" ? "127.0.0.1" : nil
    }

    package var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .tcp(let host, let port): host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
        }
    }
}

/// A listening stream socket of either kind, non-blocking.
package final class StreamListener: Sendable {
    private let unix: UnixListener?
    private let tcp: FileDescriptor?
    /// Where it listens, with the port that the kernel chose.
    package let address: StreamAddress

    /// Begins to listen.
    package init(_ address: StreamAddress, backlog: Int32 = 16) throws(HostError) {
        switch address {
        case .unix(let path):
            unix = .some(try UnixListener(path: path, backlog: backlog))
            tcp = nil
            self.address = address
        case .tcp(let host, let port):
            // SAFETY: the string's bytes live through the call.
            let raw = try checked(unsafe cl_tcp_listen(host, port, backlog), "listen at", "\(address)")
            let file = FileDescriptor(owning: raw)
            let bound = try checked(cl_tcp_port(file.raw), "listen at", "\(address)")
            self.address = .tcp(host: host, port: UInt16(truncatingIfNeeded: bound))
            tcp = .some(file)
            unix = nil
        }
    }

    /// The descriptor's number, for poll: it is readable while a client waits.
    package var raw: Int32 {
        switch unix {
        case .some(let listener): listener.raw
        case .none:
            switch tcp {
            case .some(let file): file.raw
            case .none: -1
            }
        }
    }

    /// Waits for the next client.
    ///
    /// - Parameters:
    ///   - milliseconds: how long at most; nil for ever.
    ///   - stop: ends the waiting while its counter is above zero.
    /// - Throws: `StreamFault`.
    package func accept(within milliseconds: Int?, heeding stop: EventFD?) throws(StreamFault) -> StreamConnection {
        let wait = StreamWait(milliseconds, stop)
        while true {
            let client = cl_unix_accept(raw)
            if client >= 0 {
                cl_stream_prepare(client)
                return StreamConnection(owning: FileDescriptor(owning: client))
            }
            switch -client {
            case EAGAIN: try wait.wait(raw, forReading: true)
            case EINTR, ECONNABORTED: continue
            default: throw .host(Errno(-client))
            }
        }
    }
}
