import Host
import Synchronization
import TestSupport
import Testing

@testable import Control

/// Requests that are too long, too slow, or end too soon, and clients that do not listen.
struct ServerLimitTests {
    /// Sends without caring whether the server still listens, and tells what it said before it closed.
    private func answer(to bytes: [UInt8], _ server: TestServer) throws -> String {
        let client = try server.connect()
        try? client.send(bytes)
        return try client.rest()
    }

    private static let start = "PUT /x HTTP/1.1\r\n"

    /// A request that is too long for its text to name a test.
    private struct LongRequest: CustomTestStringConvertible {
        let testDescription: String
        let text: String

        init(_ description: String, _ text: String) {
            testDescription = description
            self.text = text
        }
    }

    private static let chunked = start + "Transfer-Encoding: chunked\r\n\r\n"
    private static let longRequests = [
        LongRequest("value", start + "X: " + String(repeating: "a", count: 4 << 20) + "\r\n\r\n"),
        LongRequest("blanks", start + "X:" + String(repeating: " ", count: 4 << 20) + "\r\n\r\n"),
        LongRequest("name", start + String(repeating: "a", count: 4 << 20) + ": x\r\n\r\n"),
        LongRequest("fields", start + String(repeating: "Name: some value\r\n", count: 250_000) + "\r\n"),
        LongRequest("path", "GET /" + String(repeating: "a", count: 4 << 20) + " HTTP/1.1\r\n\r\n"),
        LongRequest(
            "chunk's extension", chunked + "1;" + String(repeating: "x", count: 4 << 20) + "\r\na\r\n0\r\n\r\n"),
        LongRequest("trailer", chunked + "0\r\nA:" + String(repeating: " ", count: 4 << 20) + "\r\n\r\n"),
        LongRequest("line ends", String(repeating: "\r\n", count: 2 << 20)),
    ]

    @Test(arguments: longRequests)
    private func fourMebibytesOfHeaderAreRefused(_ request: LongRequest) throws {
        let server = try TestServer()
        let reply = try answer(to: Array(request.text.utf8), server)
        #expect(reply.hasPrefix("HTTP/1.1 431 \r\n") && reply.hasSuffix("at most 65536 bytes are accepted\"]"))
        #expect(try server.answers())
        // What came before the refusal is all that was kept of it.
        #expect(Deadline.seconds(5).wait { server.openConnections == 0 })
    }

    @Test func longLinesAreAccepted() throws {
        let server = try TestServer()
        let client = try server.connect()
        let long = String(repeating: "a", count: 8000)
        try client.send(request("GET", "/" + long, headers: ["X-One: " + long, "X-Two: " + long]))
        #expect(try client.reply().body == "GET /\(long) 0 bytes 0 descriptors")
    }

    @Test func aBodyOfFourMebibytesIsTheLongest() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request("PUT", "/x", String(repeating: "b", count: 4 << 20)))
        #expect(try client.reply().body == "PUT /x 4194304 bytes 0 descriptors")
        // Refused by its length, before it comes, and without `100 Continue`.
        try client.send("PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4194305\r\n\r\n")
        let reply = try client.reply()
        #expect(reply.status == 400 && reply.head.contains("Connection: close"))
        #expect(
            reply.body == #"["Error from API","The request's body has 4194305 bytes; at most 4194304 are accepted"]"#)
        #expect(try client.rest().isEmpty)
        let chunk = "100000\r\n" + String(repeating: "c", count: 1 << 20) + "\r\n"
        let chunks = String(repeating: chunk, count: 5)
        let chunked = try answer(to: Array((Self.start + "Transfer-Encoding: chunked\r\n\r\n" + chunks).utf8), server)
        #expect(chunked.hasPrefix("HTTP/1.1 400 ") && chunked.contains("longer than 4194304 bytes"))
        #expect(try server.answers())
    }

    @Test(arguments: [
        "PUT /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "PUT /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 9223372036854775808\r\nExpect: 100-continue\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "PUT /x HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}", "nonsense\r\n\r\n",
        "GET /x HTTP/1.1\r\n: empty\r\n\r\n", "GET /x HTTP/1.1\r\nA b: c\r\n\r\n", "get /x HTTP/1.1\r\n\r\n",
        "GET /x\r\n\r\n",
    ])
    func badRequestsAreAnsweredAndEndTheirConnection(_ text: String) throws {
        let server = try TestServer()
        let reply = try answer(to: Array(text.utf8), server)
        #expect(reply.hasPrefix("HTTP/1.1 400 \r\nServer: Cloud Hypervisor API\r\nConnection: close\r\n"), "\(reply)")
        #expect(reply.contains(#"["Error from API",""#))
        #expect(try server.answers())
    }

    @Test(arguments: ["gzip, chunked", "deflate,chunked"])
    func otherTransferCodingsAreRefusedByName(_ codings: String) throws {
        let server = try TestServer()
        let reply = try answer(
            to: Array("PUT /x HTTP/1.1\r\nTransfer-Encoding: \(codings)\r\n\r\n0\r\n\r\n".utf8), server)
        #expect(reply.hasPrefix("HTTP/1.1 501 \r\n") && reply.contains("only chunked is"), "\(reply)")
        #expect(try server.answers())
    }

    @Test func whatComesBeforeABadRequestIsAnswered() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request("GET", "/a") + request("PUT", "/b", "x") + "bad\r\n\r\n")
        #expect(try client.reply().body == "GET /a 0 bytes 0 descriptors")
        #expect(try client.reply().body == "PUT /b 1 bytes 0 descriptors")
        #expect(try client.reply().status == 400)
        #expect(try client.rest().isEmpty)
    }

    @Test func requestsThatEndTooSoonAreAnswered() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send("PUT /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
        client.finishSending()
        #expect(
            try client.rest().hasSuffix(#"["Error from API","The request ended within its body, after 3 of 10 bytes"]"#)
        )
        let other = try server.connect()
        try other.send("PUT /x HTT")
        other.finishSending()
        #expect(try other.rest().hasSuffix(#"["Error from API","The request ended within its headers"]"#))
        let silent = try server.connect()
        silent.finishSending()
        #expect(try silent.rest().isEmpty)
    }

    @Test func slowRequestsTimeOutAndIdleConnectionsDoNot() throws {
        var limits = APILimits()
        (limits.requestIdle, limits.requestTotal) = (150_000_000, 600_000_000)
        let server = try TestServer(limits: limits)
        let (idle, head, body, drip) = (
            try server.connect(), try server.connect(), try server.connect(), try server.connect()
        )
        try idle.send(request("GET", "/a"))
        #expect(try idle.reply().status == 200)
        try head.send("GET /x HT")
        try body.send("PUT /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
        #expect(try head.reply().status == 408)
        #expect(try body.reply().status == 408)
        #expect(try head.rest().isEmpty)
        // A byte now and then does not help for ever.
        try drip.send("PUT /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        let ended = Deadline.seconds(10).wait(every: .milliseconds(30)) {
            try? drip.send("x")
            return drip.receive(milliseconds: 0)
        }
        #expect(ended)
        #expect(try drip.reply().status == 408)
        try idle.send(request("GET", "/b"))
        #expect(try idle.reply().body == "GET /b 0 bytes 0 descriptors")
    }

    @Test func aClientThatDoesNotReadIsLeft() throws {
        var limits = APILimits()
        limits.replyIdle = 200_000_000
        let size = 8 << 20
        let handler = FakeHandler { request, reply in
            let body = request.target == "/big" ? [UInt8](repeating: 0x61, count: size) : []
            reply(.response(status: 200, body: body))
        }
        let server = try TestServer(handler, limits: limits)
        let deaf = try server.connect()
        try deaf.send(request("GET", "/big") + request("GET", "/big"))
        #expect(Deadline.seconds(5).wait { server.openConnections == 1 })
        #expect(try server.answers())
        #expect(Deadline.seconds(5).wait { server.openConnections == 0 })
        #expect(server.server.metrics.timedOut.load(ordering: .relaxed) == 1)
        // One that reads gets all of it.
        let reader = try server.connect()
        try reader.send(request("GET", "/big"))
        #expect(try reader.reply().body.utf8.count == size)
    }

    @Test func halfClosedClientsGetTheirReplies() throws {
        let later = try Mailbox<@Sendable () -> Void>()
        let handler = FakeHandler { request, reply in
            later.send { reply(.response(status: 200, body: Array(request.target.utf8))) }
        }
        let server = try TestServer(handler)
        let client = try server.connect()
        try client.send(request("PUT", "/a") + request("PUT", "/b"))
        client.finishSending()
        // The second request comes to the handler when the first is answered.
        var answered = 0
        let both = Deadline.seconds(10).wait {
            for work in later.receive() {
                work()
                answered += 1
            }
            return answered == 2
        }
        #expect(both)
        #expect(try client.reply().body == "/a")
        #expect(try client.reply().body == "/b")
        #expect(try client.rest().isEmpty)
        #expect(Deadline.seconds(2).wait { server.openConnections == 0 })
    }

    @Test func requestsOfAClientThatLeavesAreCarriedOut() throws {
        let seen = Mutex<[String]>([])
        let replies = try Mailbox<@Sendable () -> Void>()
        let handler = FakeHandler { request, reply in
            seen.withLock { $0.append(request.target) }
            replies.send { reply(.response(status: 204, body: nil)) }
        }
        let server = try TestServer(handler)
        do {
            let client = try server.connect()
            try client.send(request("PUT", "/a") + request("PUT", "/b", "body") + request("PUT", "/c"))
        }
        #expect(Deadline.seconds(2).wait { seen.withLock { $0.count } == 1 })
        // The server sleeps while it waits for the handler, although the client has gone.
        let before = server.server.metrics.rounds.load(ordering: .relaxed)
        HostClock.sleep(milliseconds: 200)
        #expect(server.server.metrics.rounds.load(ordering: .relaxed) - before < 5)
        let all = Deadline.seconds(5).wait {
            for work in replies.receive() { work() }
            return seen.withLock { $0 } == ["/a", "/b", "/c"]
        }
        #expect(all)
        for work in replies.receive() { work() }
        #expect(Deadline.seconds(2).wait { server.openConnections == 0 })
    }

    @Test func aHandlersSlipsAreMadeUpFor() throws {
        let handler = FakeHandler { request, reply in
            switch request.target {
            case "/dropped": break
            case "/twice":
                reply(.response(status: 200, body: Array("first".utf8)))
                reply(.response(status: 500, body: Array("second".utf8)))
            default: reply(.response(status: 204, body: nil))
            }
        }
        let server = try TestServer(handler)
        let client = try server.connect()
        try client.send(request("PUT", "/dropped") + request("PUT", "/twice") + request("PUT", "/x"))
        let reply = try client.reply()
        #expect(reply.status == 500 && reply.body.contains("dropped without an answer"))
        #expect(try client.reply().body == "first")
        #expect(try client.reply().status == 204)
    }

    @Test func longBodiesTogetherAreLimited() throws {
        var limits = APILimits()
        limits.bodiesTogether = 3 << 20
        let server = try TestServer(limits: limits)
        let first = try server.connect()
        try first.send("PUT /a HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n" + String(repeating: "a", count: 2 << 20))
        #expect(
            Deadline.seconds(5).wait { server.server.metrics.bytesReceived.load(ordering: .relaxed) >= 2 << 20 })
        let second = try server.connect()
        try? second.send("PUT /b HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n" + String(repeating: "b", count: 2 << 20))
        #expect(try second.reply().status == 503)
        first.finishSending()
        #expect(try first.rest().hasPrefix("HTTP/1.1 400 "))
        // What they held is free again.
        let third = try server.connect()
        try third.send(request("PUT", "/c", String(repeating: "c", count: (3 << 20) - 1)))
        #expect(try third.reply().body == "PUT /c 3145727 bytes 0 descriptors")
    }
}
