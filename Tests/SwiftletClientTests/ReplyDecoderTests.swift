import SwiftletClient
import Testing

/// Replies in pieces of any size.
@Suite struct ReplyDecoderTests {
    /// The parts of a reply that comes in two pieces; body pieces are joined.
    private func parts(_ reply: String, cutAt cut: Int, method: String = "GET") throws -> [ReplyDecoder.Part] {
        let bytes = Array(reply.utf8)
        let decoder = try ReplyDecoder(method: method)
        return joined(try decoder.feed(bytes[..<cut]) + decoder.feed(bytes[cut...]))
    }

    private func joined(_ parts: [ReplyDecoder.Part]) -> [ReplyDecoder.Part] {
        parts.reduce(into: []) { list, part in
            if case .body(let more) = part, case .body(let bytes)? = list.last {
                list[list.count - 1] = .body(bytes + more)
            } else {
                list.append(part)
            }
        }
    }

    private func head(_ status: Int, _ type: String? = nil) -> ReplyDecoder.Part {
        .head(ReplyHead(status: status, contentType: type))
    }

    @Test func aStatusLineWithoutAReason() throws {
        for cut in 0...Reply.done.utf8.count {
            #expect(try parts(Reply.done, cutAt: cut, method: "PUT") == [head(204), .end], "cut at \(cut)")
        }
    }

    @Test func aBody() throws {
        let reply = Reply.json("{\"a\":1}")
        for cut in 0...reply.utf8.count {
            let expected = [head(200, "application/json"), .body(Array("{\"a\":1}".utf8)), .end]
            #expect(try parts(reply, cutAt: cut) == expected, "cut at \(cut)")
        }
    }

    @Test func anErrorWithABody() throws {
        let reply = Reply.json("[\"x\"]", 404)
        for cut in 0...reply.utf8.count {
            #expect(try parts(reply, cutAt: cut).first == head(404, "application/json"))
        }
    }

    @Test func chunks() throws {
        let reply = Reply.head(200) + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        for cut in 0...reply.utf8.count {
            #expect(try parts(reply, cutAt: cut) == [head(200), .body(Array("abcde".utf8)), .end], "cut at \(cut)")
        }
    }

    @Test func anInterimReplyIsPassedOver() throws {
        let reply = "HTTP/1.1 100 \r\n\r\n" + Reply.done
        for cut in 0...reply.utf8.count {
            #expect(try parts(reply, cutAt: cut, method: "PUT") == [head(204), .end], "cut at \(cut)")
        }
    }

    @Test func afterAnUpgradeBytesAreTheTerminals() throws {
        // What follows looks like a reply, and is none.
        let reply = Reply.upgraded + "HTTP/1.1 200 \r\n\r\n\u{0}\u{1B}["
        for cut in 0...reply.utf8.count {
            let expected = [head(101), .body(Array("HTTP/1.1 200 \r\n\r\n\u{0}\u{1B}[".utf8))]
            #expect(try parts(reply, cutAt: cut) == expected, "cut at \(cut)")
        }
    }

    @Test func aBodyUntilTheEnd() throws {
        let decoder = try ReplyDecoder(method: "GET")
        let first = try decoder.feed(Array((Reply.events + "data: 1\n").utf8)[...])
        #expect(joined(first) == [head(200, "text/event-stream"), .body(Array("data: 1\n".utf8))])
        #expect(try decoder.finish() == [.end])
    }

    @Test(arguments: [
        "SSH-2.0-OpenSSH_9.2\r\n", "\r\n\r\n\r\nHTTP", "HTTP/2.0 200 \r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 \r\n: x\r\n\r\n", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 204 \r\n\r\nHTTP/1.1 204 \r\n\r\n",
    ]) func otherBytesAreRefused(_ text: String) throws {
        let bytes = Array(text.utf8)
        #expect(throws: ReplyDecoder.Malformed.self) {
            let decoder = try ReplyDecoder(method: "GET")
            for byte in bytes { _ = try decoder.feed([byte]) }
            _ = try decoder.finish()
        }
    }

    @Test func headersWithoutEndAreRefused() throws {
        let line = Array("X-Filler: \(String(repeating: "x", count: 4000))\r\n".utf8)
        #expect(throws: ReplyDecoder.Malformed.self) {
            let decoder = try ReplyDecoder(method: "GET")
            _ = try decoder.feed(Array("HTTP/1.1 200 \r\n".utf8)[...])
            for _ in 0..<100 { _ = try decoder.feed(line[...]) }
        }
    }

    @Test(arguments: 1...reply.utf8.count) func aReplyThatBreaksOffIsRefused(_ length: Int) throws {
        let decoder = try ReplyDecoder(method: "GET")
        let parts = try decoder.feed(Array(Self.reply.utf8.prefix(length))[...])
        if length == Self.reply.utf8.count {
            #expect(parts.last == .end)
        } else {
            #expect(throws: ReplyDecoder.Malformed.self) { try decoder.finish() }
        }
    }
    private static let reply = Reply.json("{}")

    @Test func damagedRepliesNeverCrash() throws {
        var random = SplitMix(state: 7)
        let seeds = [Reply.json("{\"a\":1}"), Reply.done, Reply.upgraded + "abc", "HTTP/1.1 100 \r\n\r\n" + Reply.done]
        for round in 0..<4000 {
            var bytes = Array(seeds[round % seeds.count].utf8)
            for _ in 0..<(1 + random.next() % 4) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            let decoder = try ReplyDecoder(method: "GET")
            let cut = Int(random.next() % UInt64(bytes.count))
            let parts = (try? decoder.feed(bytes[..<cut]) + decoder.feed(bytes[cut...]) + decoder.finish()) ?? []
            // A head comes first or nothing does.
            if let first = parts.first, case .head = first {} else { #expect(parts.isEmpty || parts == [.end]) }
        }
    }
}

/// A small generator of random numbers that starts where it is told.
struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// Server-sent events in pieces of any size.
@Suite struct EventParserTests {
    @Test func eventsInAnyPieces() {
        let text =
            ": a comment\ndata: {\"a\":1}\n\nevent: x\nid: 7\ndata:first\r\ndata: second\r\n\r\n\n\ndata\n\ndatabase: 1\n\n"
        let bytes = Array(text.utf8)
        let expected = [(nil, "{\"a\":1}"), ("7", "first\nsecond"), (nil, "")].map {
            EventParser.Event(id: $0.0, data: Array($0.1.utf8))
        }
        for cut in 0...bytes.count {
            var parser = EventParser()
            let events = (parser.feed(Array(bytes[..<cut])) ?? []) + (parser.feed(Array(bytes[cut...])) ?? [])
            #expect(events == expected, "cut at \(cut)")
        }
    }

    @Test func aLineWithoutEndIsRefused() {
        var parser = EventParser()
        #expect(parser.feed(Array("data: ".utf8) + [UInt8](repeating: 0x61, count: EventParser.limit)) == nil)
    }

    @Test func anEventWithoutEndIsRefused() {
        var parser = EventParser()
        let line = Array("data: \(String(repeating: "x", count: 1000))\n".utf8)
        #expect((0..<1100).contains { _ in parser.feed(line) == nil })
    }
}
