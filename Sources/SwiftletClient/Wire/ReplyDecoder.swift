internal import NIOCore
internal import NIOEmbedded
internal import NIOHTTP1

/// The status and the headers of a reply.
package struct ReplyHead: Sendable, Equatable {
    /// The HTTP status.
    package let status: Int
    /// The value of `Content-Type`, if there is one.
    package let contentType: String?

    package init(status: Int, contentType: String?) { (self.status, self.contentType) = (status, contentType) }
}

/// Turns what a socket delivers, in pieces of any size, into one reply: NIO's parser fed by hand. Stays on one thread.
package final class ReplyDecoder {
    /// A piece of a reply, in order: one head, any number of body pieces, the end.
    package enum Part: Equatable {
        case head(ReplyHead)
        case body([UInt8])
        case end
    }

    /// Why bytes are not a reply.
    package struct Malformed: Error, Equatable {
        /// What is wrong with them.
        package let reason: String
    }

    private let channel: EmbeddedChannel
    /// How many of the bytes that end a head have come in a row; nil behind the head.
    private var blank: Int? = 0
    /// After status 101 the bytes are another protocol's and go through as they are.
    private var isUpgraded = false

    /// A decoder of the reply to one request.
    package init(method: String) throws(Malformed) {
        do {
            channel = EmbeddedChannel()
            var limits = NIOHTTPDecoderLimitConfiguration()
            (limits.maxHeaderFieldSize, limits.maxHeaderListSize, limits.maxHeaderFieldCount) = (16 << 10, 64 << 10, 64)
            let decoder = HTTPResponseDecoder(informationalResponseStrategy: .drop, limitConfiguration: limits)
            try channel.pipeline.syncOperations.addHandler(ByteToMessageHandler(decoder))
            // The parser needs the request's method, which tells whether the reply may have a body.
            let head = HTTPRequestHead(version: .http1_1, method: HTTPMethod(rawValue: method), uri: "/")
            try channel.writeOutbound(HTTPClientRequestPart.head(head))
        } catch {
            throw Malformed(reason: "the parser cannot be set up (\(error))")
        }
    }

    /// Takes the next bytes and answers what is complete because of them.
    package func feed(_ bytes: ArraySlice<UInt8>) throws(Malformed) -> [Part] {
        var parts: [Part] = []
        var rest = bytes
        while !rest.isEmpty, !isUpgraded {
            // A head is fed alone, so that what follows a 101 never reaches the parser.
            let piece = blank == nil ? rest : takeHead(rest)
            rest = rest[piece.endIndex...]
            parts += try parse(piece)
            if blank == 3 { blank = 0 }
            for case .head(let head) in parts {
                blank = nil
                isUpgraded = head.status == 101
            }
        }
        if isUpgraded {
            // For the parser the reply is over; for its reader it begins.
            parts.removeAll { $0 == .end }
            if !rest.isEmpty { parts.append(.body(Array(rest))) }
        }
        return parts
    }

    /// The connection has ended.
    package func finish() throws(Malformed) -> [Part] {
        if isUpgraded { return [.end] }
        do {
            _ = try channel.finish(acceptAlreadyClosed: true)
            return try drain()
        } catch {
            throw Malformed(reason: Self.words(error))
        }
    }

    /// The bytes up to the end of the empty line that ends a head, or all of them.
    private func takeHead(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        for (index, byte) in zip(bytes.indices, bytes) {
            switch (byte, blank) {
            case (0x0a, 1), (0x0a, 2):
                blank = 3
                return bytes[...index]
            case (0x0a, _): blank = 1
            case (0x0d, 1): blank = 2
            default: blank = 0
            }
        }
        return bytes
    }

    private func parse(_ bytes: ArraySlice<UInt8>) throws(Malformed) -> [Part] {
        do {
            try channel.writeInbound(ByteBuffer(bytes: bytes))
            return try drain()
        } catch {
            throw Malformed(reason: Self.words(error))
        }
    }

    private func drain() throws -> [Part] {
        var parts: [Part] = []
        while let part = try channel.readInbound(as: HTTPClientResponsePart.self) {
            switch part {
            case .head(let head):
                let type = head.headers.first(name: "content-type")
                parts.append(.head(ReplyHead(status: Int(head.status.code), contentType: type)))
            case .body(let buffer): parts.append(.body(Array(buffer.readableBytesView)))
            case .end: parts.append(.end)
            }
        }
        return parts
    }

    private static func words(_ error: any Error) -> String {
        if error is NIOHTTPDecoderError { return "there is more than one reply" }
        return "it is not HTTP/1.1: \(error)"
    }
}
