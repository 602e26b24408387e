import Host
import Synchronization
import TestSupport
import Testing

@testable import Control

/// The bytes on the wire.
struct ServerWireTests {
    @Test func repliesAreAsTheContractHasThem() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request("GET", "/api/v1/vmm.ping"))
        let text = "GET /api/v1/vmm.ping 0 bytes 0 descriptors"
        #expect(try client.reply() == .init(head: head(200, length: text.utf8.count), body: text))
        try client.send(request("PUT", "/empty"))
        #expect(try client.reply() == .init(head: head(200, length: 0), body: ""))
        try client.send(request("PUT", "/done", "{}"))
        #expect(try client.reply() == .init(head: head(204, length: nil), body: ""))
        // Still the same connection.
        try client.send(request("PATCH", "/x", "abc"))
        #expect(try client.reply().body == "PATCH /x 3 bytes 0 descriptors")
        try client.send(request("DELETE", "/x?query"))
        #expect(try client.reply().body == "DELETE /x?query 0 bytes 0 descriptors")
        #expect(server.openConnections == 1)
    }

    @Test func targetsMayNameTheHost() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request("GET", "http://localhost/api/v1/vmm.ping"))
        #expect(try client.reply().body == "GET /api/v1/vmm.ping 0 bytes 0 descriptors")
        try client.send(request("GET", "http://localhost"))
        #expect(try client.reply().body == "GET http://localhost 0 bytes 0 descriptors")
    }

    @Test func aBodyWithoutALengthIsNone() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send("PUT /a HTTP/1.1\r\nHost: x\r\n\r\n" + request("GET", "/b"))
        #expect(try client.reply().body == "PUT /a 0 bytes 0 descriptors")
        #expect(try client.reply().body == "GET /b 0 bytes 0 descriptors")
    }

    @Test func oneByteAtATime() throws {
        let server = try TestServer()
        let client = try server.connect()
        let text = request("PUT", "/slow", "0123456789", headers: ["Host: localhost", "Accept: */*"])
        for _ in 0..<3 {
            for byte in text.utf8 {
                try client.send([byte])
                // Lets the server see it on its own now and then.
                if byte == 0x0D || byte == 0x3A { sleepThread(.milliseconds(1)) }
            }
            #expect(try client.reply().body == "PUT /slow 10 bytes 0 descriptors")
        }
    }

    @Test func pipelinedRequestsAreAnsweredInOrderAndOneAtATime() throws {
        let active = Mutex(0)
        let most = Mutex(0)
        let workers = try Mailbox<@Sendable () -> Void>()
        let handler = FakeHandler { request, reply in
            let now = active.withLock { value in
                value += 1
                return value
            }
            most.withLock { $0 = max($0, now) }
            let done: @Sendable () -> Void = {
                active.withLock { $0 -= 1 }
                reply(.response(status: 200, body: Array(request.target.utf8)))
            }
            // Every other one is answered later, from another thread.
            if request.target.hasSuffix("1") { workers.send(done) } else { done() }
        }
        let server = try TestServer(handler)
        let stop = Mutex(false)
        let worker = try Thread("worker") {
            while !stop.withLock({ $0 }) {
                HostClock.sleep(milliseconds: 1)
                for work in workers.receive() { work() }
            }
        }
        let client = try server.connect()
        let targets = (0..<40).map { "/\($0)" }
        try client.send(targets.map { request($0.hasSuffix("1") ? "PUT" : "GET", $0, "body") }.joined())
        for target in targets { #expect(try client.reply().body == target) }
        #expect(most.withLock { $0 } == 1)
        stop.withLock { $0 = true }
        worker.join()
    }

    @Test func expectContinueIsAnsweredBeforeTheBody() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        #expect(try client.reply() == .init(head: head(100, length: nil), body: ""))
        try client.send("four")
        #expect(try client.reply().body == "PUT /a 4 bytes 0 descriptors")
        // In line behind another request.
        try client.send(request("GET", "/b") + "PUT /c HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
        #expect(try client.reply().body == "GET /b 0 bytes 0 descriptors")
        #expect(try client.reply().status == 100)
        try client.send("ab")
        #expect(try client.reply().body == "PUT /c 2 bytes 0 descriptors")
        // Nothing to wait for without a body.
        try client.send("PUT /d HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
        #expect(try client.reply().body == "PUT /d 0 bytes 0 descriptors")
    }

    @Test func chunkedBodiesAreAccepted() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
        try client.send("a;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n")
        #expect(try client.reply().body == "PUT /a 14 bytes 0 descriptors")
        try client.send(request("GET", "/b"))
        #expect(try client.reply().status == 200)
    }

    @Test func connectionCloseEndsBehindTheUsualReply() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request("GET", "/a", headers: ["Connection: close"]))
        let body = "GET /a 0 bytes 0 descriptors"
        #expect(try client.rest() == head(200, length: body.utf8.count) + body)
        #expect(Deadline.seconds(5).wait { server.openConnections == 0 })
    }

    @Test func oldClientsAreAnswered() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send("GET /a HTTP/1.0\r\n\r\n")
        let body = "GET /a 0 bytes 0 descriptors"
        #expect(try client.rest() == head(200, length: body.utf8.count, connection: "close") + body)
        let keeper = try server.connect()
        try keeper.send(
            "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(try keeper.reply().body == body)
        #expect(try keeper.reply().status == 200)
    }

    @Test(arguments: ["POST", "OPTIONS", "TRACE", "HEAD", "CONNECT"])
    func otherMethodsAreRefused(_ method: String) throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request(method, method == "CONNECT" ? "a:1" : "/api/v1/vmm.ping"))
        let reply = try client.reply()
        #expect(reply.status == 400 && reply.body.hasPrefix(#"["Error from API","The method \#(method) is not"#))
        // Where a body is not expected behind the head, nothing can follow.
        if method == "HEAD" || method == "CONNECT" {
            #expect(reply.head.contains("Connection: close\r\n"))
            #expect(try client.rest().isEmpty)
        } else {
            try client.send(request("GET", "/"))
            #expect(try client.reply().status == 200)
        }
    }

    @Test func requestsAreLoggedWithTheirPeers() throws {
        let server = try TestServer()
        let client = try server.connect()
        try client.send(request("PUT", "/api/v1/vm.boot") + request("GET", "/api/v1/vm.info"))
        _ = (try client.reply(), try client.reply())
        let peer = try #require(PeerCredentials(ofSocket: client.raw))
        #expect(Deadline.seconds(2).wait { server.log.all.count >= 2 })
        let lines = server.log.all
        #expect(lines[0].hasPrefix("info API PUT /api/v1/vm.boot duration=") && lines[0].hasSuffix(" status=200"))
        #expect(lines[0].contains("peer=pid=\(peer.process) uid=\(peer.user) gid=\(peer.group)"))
        #expect(lines[1].hasPrefix("debug API GET /api/v1/vm.info "))
    }
}
