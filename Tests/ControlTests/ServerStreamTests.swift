import Host
import Synchronization
import TestSupport
import Testing

@testable import Control

/// Takes bytes as far as it is allowed to.
final class FakeReceiver: ByteReceiver {
    let allowed = Mutex(1 << 20)
    let bytes = Mutex<[UInt8]>([])
    var room: Int { allowed.withLock { $0 } }
    func receive(_ more: [UInt8]) {
        allowed.withLock { $0 -= more.count }
        bytes.withLock { $0 += more }
    }
    var text: String { String(decoding: bytes.withLock { $0 }, as: UTF8.self) }
}

/// A handler with a stream, an upgrade and the echo, which keeps the other ends for the test.
final class StreamHandler: APIHandler {
    let sinks = Mutex<[any ByteSink]>([])
    let closed = Mutex(0)
    let receiver = FakeReceiver()

    func handle(_ request: APIRequest, reply: @escaping @Sendable (APIReply) -> Void) {
        switch request.target {
        case "/events": reply(.stream(contentType: "text/event-stream") { self.keep($0) })
        case "/bytes":
            reply(
                .upgrade(protocol: "bytes") { sink in
                    self.keep(sink)
                    return self.receiver
                })
        default: FakeHandler.echo.handle(request, reply: reply)
        }
    }

    private func keep(_ sink: any ByteSink) {
        sink.onClose { self.closed.withLock { $0 += 1 } }
        sinks.withLock { $0.append(sink) }
    }

    func sink(_ index: Int = 0) throws -> any ByteSink {
        _ = Deadline.seconds(5).wait { sinks.withLock { $0.count } > index }
        return try #require(sinks.withLock { $0.count > index ? $0[index] : nil })
    }

    func wasClosed(_ count: Int = 1) -> Bool { Deadline.seconds(5).wait { closed.withLock { $0 } == count } }
}

/// Replies without end and connections that go over to another protocol.
struct ServerStreamTests {
    let handler = StreamHandler()
    let server: TestServer

    init() throws { server = try TestServer(handler) }

    private static let streamHead =
        "HTTP/1.1 200 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
        + "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
    private static let upgrade = request(
        "GET", "/bytes", headers: ["Connection: keep-alive, Upgrade", "Upgrade: Bytes"])
    private static let upgradeHead =
        "HTTP/1.1 101 \r\nServer: Cloud Hypervisor API\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n"

    @Test func eventsComeInChunksAndTheConnectionGoesOn() throws {
        let client = try server.connect()
        try client.send(request("GET", "/events"))
        let sink = try handler.sink()
        #expect(try client.text(Self.streamHead.utf8.count) == Self.streamHead)
        #expect(sink.send(Array("data: one\n\n".utf8)))
        #expect(try client.text(16) == "b\r\ndata: one\n\n\r\n")
        #expect(sink.send(Array("0123456789abcdef".utf8)) && sink.send([]))
        #expect(try client.text(22) == "10\r\n0123456789abcdef\r\n")
        // A request behind it waits for the end.
        try client.send(request("GET", "/next"))
        sink.finish()
        #expect(!sink.send([1]))
        #expect(try client.text(5) == "0\r\n\r\n")
        #expect(try client.reply().body == "GET /next 0 bytes 0 descriptors")
        #expect(handler.wasClosed())
    }

    @Test func oldClientsReadAStreamUpToItsEnd() throws {
        let client = try server.connect()
        try client.send("GET /events HTTP/1.0\r\n\r\n")
        let sink = try handler.sink()
        #expect(sink.send(Array("text".utf8)))
        sink.finish()
        let text = try client.rest()
        #expect(text.contains("Connection: close\r\n") && text.hasSuffix("no-cache\r\n\r\ntext"))
    }

    @Test func aStreamIsBoundedAndItsEndIsTold() throws {
        do {
            let client = try server.connect()
            try client.send(request("GET", "/events"))
            let sink = try handler.sink()
            let chunk = [UInt8](repeating: 0x61, count: 64 << 10)
            // The client does not read: the socket's buffers fill, then the queue.
            var sent = 0
            let full = Deadline.seconds(10).wait {
                if sink.send(chunk) {
                    sent += 1
                    return false
                }
                HostClock.sleep(milliseconds: 30)
                return !sink.send(chunk)
            }
            #expect(full && sent >= 4 && sent < 64)
            #expect(try server.answers())
            #expect(handler.closed.withLock { $0 } == 0)
        }
        #expect(handler.wasClosed())
        #expect(try !handler.sink().send([1]))
        let late = Mutex(false)
        try handler.sink().onClose { late.withLock { $0 = true } }
        #expect(late.withLock { $0 })
    }

    @Test func aClientThatLeavesEndsItsStreamAtOnce() throws {
        do {
            let client = try server.connect()
            try client.send(request("GET", "/events"))
            _ = try client.text(Self.streamHead.utf8.count)
        }
        #expect(handler.wasClosed())
        #expect(Deadline.seconds(2).wait { server.openConnections == 0 })
    }

    @Test func anUpgradeHasToBeAskedFor() throws {
        let client = try server.connect()
        for headers in [[], ["Upgrade: bytes"], ["Connection: Upgrade", "Upgrade: other"], ["Connection: upgrade"]] {
            try client.send(request("GET", "/bytes", headers: headers))
            let reply = try client.reply()
            #expect(reply.status == 426 && reply.head.contains("\r\nUpgrade: bytes\r\n"))
            #expect(reply.body.contains("send Connection: Upgrade and Upgrade: bytes"))
        }
        // An upgrade that nobody offers is passed over, and what stands behind it is read.
        let ask = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"]
        try client.send(
            request("GET", "/a", headers: ask) + request("PUT", "/b", "123", headers: ask) + request("GET", "/c"))
        #expect(try client.reply().body == "GET /a 0 bytes 0 descriptors")
        #expect(try client.reply().body == "PUT /b 3 bytes 0 descriptors")
        #expect(try client.reply().body == "GET /c 0 bytes 0 descriptors")
    }

    @Test func bytesGoBothWaysAfterAnUpgrade() throws {
        let client = try server.connect()
        // What stands behind the request belongs to the other protocol already.
        try client.send(Self.upgrade + "early GET / HTTP/1.1\r\n\r\n")
        let sink = try handler.sink()
        #expect(try client.text(Self.upgradeHead.utf8.count) == Self.upgradeHead)
        #expect(Deadline.seconds(5).wait { handler.receiver.text == "early GET / HTTP/1.1\r\n\r\n" })
        #expect(sink.send([0, 1, 2]) && sink.send([255]))
        #expect(try client.text(3) == "\u{0}\u{1}\u{2}")
        _ = Deadline.seconds(5).wait { !client.received.isEmpty || client.receive() }
        #expect(client.received == [255])
        try client.send("later")
        #expect(Deadline.seconds(5).wait { handler.receiver.text.hasSuffix("later") })
        // Half-closed, it still listens.
        client.finishSending()
        HostClock.sleep(milliseconds: 50)
        let before = server.server.metrics.rounds.load(ordering: .relaxed)
        HostClock.sleep(milliseconds: 200)
        #expect(server.server.metrics.rounds.load(ordering: .relaxed) - before < 5)
        #expect(sink.send(Array("end".utf8)))
        sink.finish()
        #expect(try client.rest().hasSuffix("end"))
        #expect(handler.wasClosed())
    }

    @Test func aReceiverWithoutRoomIsWaitedFor() throws {
        handler.receiver.allowed.withLock { $0 = 3 }
        do {
            let client = try server.connect()
            try client.send(Self.upgrade + "0123456789")
            #expect(Deadline.seconds(5).wait { handler.receiver.text == "012" })
            let before = server.server.metrics.rounds.load(ordering: .relaxed)
            HostClock.sleep(milliseconds: 250)
            #expect(server.server.metrics.rounds.load(ordering: .relaxed) - before < 10)
            #expect(handler.receiver.text == "012")
            handler.receiver.allowed.withLock { $0 = 5 }
            #expect(Deadline.seconds(5).wait { handler.receiver.text == "01234567" })
        }
        // The client has gone; what it wrote still arrives, and then it is over.
        #expect(handler.closed.withLock { $0 } == 0)
        handler.receiver.allowed.withLock { $0 = 100 }
        #expect(handler.wasClosed())
        #expect(handler.receiver.text == "0123456789")
    }

    /// A client that writes without reading: its bytes wait for room, not for it to read.
    @Test func aClientThatDoesNotReadIsStillHeard() throws {
        handler.receiver.allowed.withLock { $0 = 3 }
        let client = try server.connect()
        try client.send(Self.upgrade + "0123456789")
        let sink = try handler.sink()
        #expect(Deadline.seconds(5).wait { handler.receiver.text == "012" })
        // More than the socket and the sink hold.
        let flood = [UInt8](repeating: 0x78, count: 1 << 10)
        var refusals = 0
        #expect(
            Deadline.seconds(5).wait {
                while sink.send(flood) { refusals = 0 }
                refusals += 1
                return refusals > 20
            })
        handler.receiver.allowed.withLock { $0 = 100 }
        #expect(Deadline.seconds(5).wait { handler.receiver.text == "0123456789" })
        try client.send("more")
        #expect(Deadline.seconds(5).wait { handler.receiver.text == "0123456789more" })
    }

    /// What a client wrote before it went is carried out although nobody can be told of it.
    @Test func whatWasWrittenBeforeTheEndArrives() throws {
        for round in 1...20 {
            do {
                let client = try server.connect()
                try client.send(Self.upgrade + "last words")
            }
            let sink = try handler.sink(round - 1)
            _ = sink.send([0x78])
            #expect(
                Deadline.seconds(5).wait {
                    handler.receiver.text == String(repeating: "last words", count: round)
                }, "round \(round): \(handler.receiver.text)")
            #expect(handler.wasClosed(round))
        }
    }

    @Test func stopFinishesStreams() throws {
        let (events, bytes) = (try server.connect(), try server.connect())
        try events.send(request("GET", "/events"))
        _ = try handler.sink(0)
        try bytes.send(Self.upgrade)
        _ = try handler.sink(1)
        #expect(try handler.sink(0).send(Array("last".utf8)))
        #expect(try handler.sink(1).send(Array("words".utf8)))
        server.server.stop()
        #expect(try events.rest() == Self.streamHead + "4\r\nlast\r\n0\r\n\r\n")
        #expect(try bytes.rest() == Self.upgradeHead + "words")
        #expect(handler.wasClosed(2))
    }
}
