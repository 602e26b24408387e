import CLinux
import Host
import NIOEmbedded
import Synchronization
import TestSupport
import Testing

@testable import Control

/// A pipe whose write end goes to the server: the read end tells when nobody has it any more.
private final class Probe {
    private let reader: FileDescriptor
    private let writer: Mutex<FileDescriptor?>
    let writerNumber: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        // SAFETY: the call fills the array's two elements.
        guard unsafe cl_pipe(&ends) == 0 else { throw Errno.current }
        reader = FileDescriptor(owning: ends[0])
        writerNumber = ends[1]
        writer = Mutex(FileDescriptor(owning: ends[1]))
    }

    /// Whether all copies that the server got are closed, once ours is.
    func isReleased() -> Bool {
        writer.withLock { $0 = nil }
        return Deadline.seconds(5).wait {
            var entries = [PollEntry(reader.raw, forReading: true)]
            PollEntry.wait(&entries, timeout: 10)
            return entries[0].isHungUp
        }
    }
}

/// Clients that mean harm.
struct ServerHostileTests {
    @Test func descriptorsGoToTheirRequestAndAreClosed() throws {
        let held = Mutex<[ReceivedDescriptors]>([])
        let handler = FakeHandler { request, reply in
            if request.target == "/keep" { held.withLock { $0.append(request.descriptors) } }
            FakeHandler.echo.handle(request, reply: reply)
        }
        let server = try TestServer(handler)
        let client = try server.connect()
        let probe = try Probe()
        let number = probe.writerNumber
        // Beside all of it, beside its start and its body's middle, beside one of two that are sent together.
        try client.send(request("PUT", "/a", "body"), descriptors: [number, number])
        #expect(try client.reply().body == "PUT /a 4 bytes 2 descriptors")
        try client.send("PUT /b HTTP/1.1\r\nConte", descriptors: [number])
        try client.send("nt-Length: 4\r\n\r\nbo", descriptors: [number])
        try client.send("d")
        try client.send("y", descriptors: [number])
        #expect(try client.reply().body == "PUT /b 4 bytes 3 descriptors")
        try client.send(request("GET", "/c"))
        try client.send(request("PUT", "/d", "body"), descriptors: [number])
        try client.send(request("GET", "/e"))
        #expect(try client.reply().body == "GET /c 0 bytes 0 descriptors")
        #expect(try client.reply().body == "PUT /d 4 bytes 1 descriptors")
        #expect(try client.reply().body == "GET /e 0 bytes 0 descriptors")
        try client.send(request("PUT", "/keep"), descriptors: [number])
        #expect(try client.reply().body == "PUT /keep 0 bytes 1 descriptors")
        // The one that the handler kept is open, and closed when it lets go of it.
        held.withLock { list in
            let wasOpen = list.first?.takeFirst() != nil
            #expect(wasOpen)
        }
        #expect(probe.isReleased())
    }

    /// One message of a Unix socket carries 253 descriptors (unix(7)): a request may have as many.
    @Test func asManyDescriptorsAsAMessageCarries() throws {
        let server = try TestServer()
        let probe = try Probe()
        let client = try server.connect()
        try client.send(request("PUT", "/x"), descriptors: [Int32](repeating: probe.writerNumber, count: 253))
        #expect(try client.reply().body == "PUT /x 0 bytes 253 descriptors")
        #expect(probe.isReleased())
    }

    @Test func descriptorsByTheHundredAreClosed() throws {
        var limits = APILimits()
        limits.descriptors = 64
        let server = try TestServer(limits: limits)
        let probe = try Probe()
        let hundred = [Int32](repeating: probe.writerNumber, count: 100)
        for text in [
            request("PUT", "/x", "body"), "P", "PUT /x HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc", "garbage\r\n\r\n",
        ] {
            let client = try server.connect()
            try client.send(text, descriptors: hundred)
            #expect(try client.reply().status == 400)
            for _ in 0..<5 { try? client.send("more", descriptors: hundred) }
            #expect(try client.rest().isEmpty)
        }
        let most = try server.connect()
        let sixty = Array(hundred.prefix(60))
        try most.send("PUT /x HTTP/1.1\r\n", descriptors: sixty)
        try most.send("\r\n", descriptors: Array(hundred.prefix(4)))
        #expect(try most.reply().body == "PUT /x 0 bytes 64 descriptors")
        try most.send("PUT /x HTTP/1.1\r\n", descriptors: sixty)
        try most.send("\r\n", descriptors: Array(hundred.prefix(5)))
        let reply = try most.reply()
        #expect(reply.status == 400 && reply.body.contains("65 descriptors came with a request; at most 64"))
        // Left half-way.
        do {
            let leaver = try server.connect()
            try leaver.send("PUT /x HTTP/1.1\r\n", descriptors: sixty)
        }
        #expect(probe.isReleased())
        #expect(try server.answers())
    }

    @Test func aThousandConnectionsLeaveOthersUndisturbed() throws {
        var limits = APILimits()
        limits.evictableAfter = 600_000_000_000
        let server = try TestServer(limits: limits)
        let friend = try server.connect()
        try friend.send(request("GET", "/friend"))
        #expect(try friend.reply().status == 200)
        var crowd: [RawClient] = []
        for index in 0..<1000 {
            crowd.append(try server.connect())
            if index % 100 == 0 {
                try friend.send(request("GET", "/friend"))
                #expect(try friend.reply(by: .seconds(2)).status == 200)
            }
        }
        #expect(Deadline.seconds(10).wait { server.server.metrics.refused.load(ordering: .relaxed) >= 873 })
        #expect(server.openConnections == 128)
        let refused = try #require(crowd.last).rest()
        let body = #"["Error from API","Too many connections: 128 are open; close one or try again later"]"#
        #expect(refused == head(503, length: body.utf8.count, connection: "close") + body)
        try friend.send(request("GET", "/friend"))
        #expect(try friend.reply().status == 200)
        crowd = []
        #expect(Deadline.seconds(5).wait { server.openConnections == 1 })
        #expect(try server.answers())
    }

    @Test func idleConnectionsMakeRoom() throws {
        var limits = APILimits()
        (limits.connections, limits.evictableAfter) = (3, 200_000_000)
        let server = try TestServer(limits: limits)
        let (working, first, second) = (try server.connect(), try server.connect(), try server.connect())
        try second.send(request("GET", "/a"))
        #expect(try second.reply().status == 200)
        try working.send("PUT /friend HTTP/1.1\r\n")
        #expect(
            Deadline.seconds(2).wait { server.server.metrics.bytesReceived.load(ordering: .relaxed) > 40 })
        HostClock.sleep(milliseconds: 250)
        // The one that has been idle longest goes, and what is at work stays.
        let third = try server.connect()
        #expect(try first.rest().isEmpty)
        try third.send(request("GET", "/b"))
        #expect(try third.reply().status == 200)
        #expect(try server.answers())
        #expect(try second.rest().isEmpty)
        try working.send("\r\n")
        #expect(try working.reply().status == 200)
        #expect(server.server.metrics.evicted.load(ordering: .relaxed) == 2)
    }

    /// Slow requests on all connections, those that get a byte now and then among them, keep nobody out, and do not
    /// take the place of a client that waits for its answer.
    @Test func halfSentRequestsMakeRoom() throws {
        var limits = APILimits()
        (limits.connections, limits.evictableAfter) = (5, 1_000_000_000)
        let late = try Mailbox<@Sendable () -> Void>()
        let handler = FakeHandler { request, reply in
            let answer: @Sendable () -> Void = { reply(.response(status: 200, body: Array(request.target.utf8))) }
            if request.target == "/late" { late.send(answer) } else { answer() }
        }
        let server = try TestServer(handler, limits: limits)
        let waiting = try server.connect()
        try waiting.send(request("GET", "/late"))
        var work: [@Sendable () -> Void] = []
        #expect(
            Deadline.seconds(5).wait {
                work += late.receive()
                return work.count == 1
            })
        let slow = try (0..<4).map { _ in try server.connect() }
        for client in slow { try client.send("PUT /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n") }
        #expect(Deadline.seconds(5).wait { server.openConnections == 5 })
        let refused = try server.connect()
        // It is told so and closed, perhaps before it has asked.
        try? refused.send(request("GET", "/early"))
        #expect(try refused.reply().status == 503)
        for _ in 0..<6 {
            HostClock.sleep(milliseconds: 200)
            for client in slow { try client.send("x") }
        }
        // One of them goes for each client that comes, and hears why.
        let friends = try (0..<3).map { index in
            let friend = try server.connect()
            try friend.send(request("GET", "/\(index)"))
            #expect(try friend.reply().body == "/\(index)")
            return friend
        }
        #expect(server.server.metrics.evicted.load(ordering: .relaxed) == 3)
        let statuses = slow.map { client -> Int in
            client.receive(milliseconds: 0)
            return (try? client.reply(by: Deadline(after: .milliseconds(50))))?.status ?? 0
        }
        #expect(statuses.sorted() == [0, 408, 408, 408], "\(statuses)")
        for answer in work { answer() }
        #expect(try waiting.reply().body == "/late")
        _ = friends
    }

    @Test func garbageIsSurvived() throws {
        let server = try TestServer()
        var random = SystemRandomNumberGenerator()
        let samples = [
            request(
                "PUT", "/api/v1/vm.create", #"{"payload":{}}"#, headers: ["Host: localhost", "Expect: 100-continue"]),
            "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
            request("GET", "/x", headers: ["Connection: Upgrade", "Upgrade: bytes"]) + request("GET", "/y"),
        ].map { Array($0.utf8) }
        let end = Deadline.seconds(2)
        var count = 0
        while !end.hasPassed {
            var bytes: [UInt8]
            if count % 4 == 0 {
                bytes = (0..<Int.random(in: 1..<2000, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
            } else {
                bytes = samples[count % samples.count] + samples[Int.random(in: 0..<samples.count, using: &random)]
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let place = Int.random(in: 0..<bytes.count, using: &random)
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                    case 1: if bytes.count > 1 { bytes.remove(at: place) }
                    case 2: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 20)], at: place)
                    default: bytes = Array(bytes.prefix(max(1, place)))
                    }
                }
            }
            let client = try server.connect()
            let split = Int.random(in: 0..<bytes.count, using: &random)
            try? client.send(Array(bytes[..<split]))
            try? client.send(Array(bytes[split...]))
            if count % 3 == 0 { client.finishSending() }
            if count % 5 == 0 { client.receive(milliseconds: 1) }
            count += 1
        }
        #expect(count > 50)
        #expect(try server.answers())
        #expect(Deadline.seconds(5).wait { server.openConnections == 0 })
    }

    @Test func stopUnderLoad() throws {
        let replies = try Mailbox<@Sendable () -> Void>()
        let handler = FakeHandler { request, reply in
            if request.target == "/last" {
                replies.send { reply(.response(status: 200, body: nil)) }
            } else {
                FakeHandler.echo.handle(request, reply: reply)
            }
        }
        let server = try TestServer(handler)
        let path = server.path
        let broken = Mutex<[String]>([])
        let served = Atomic<Int>(0)
        let threads = try (0..<8).map { index in
            try Thread("load-\(index)") {
                // A reply is whole or not there.
                while let client = try? RawClient(path) {
                    do {
                        for _ in 0..<20 {
                            try client.send(request("PUT", "/x", "body"))
                            let reply = try client.reply()
                            if reply.status == 200 { served.wrappingAdd(1, ordering: .relaxed) }
                        }
                    } catch let error as RawClient.Ended {
                        if !error.after.isEmpty { broken.withLock { $0.append(error.after) } }
                    } catch {}
                }
            }
        }
        #expect(Deadline.seconds(10).wait { served.load(ordering: .relaxed) > 100 })
        let last = try server.connect()
        try last.send(request("PUT", "/last"))
        #expect(Deadline.seconds(5).wait { replies.event.isPending })
        let stopping = try Thread("stopping") { server.server.stop(within: 5000) }
        HostClock.sleep(milliseconds: 30)
        // Its request was being handled when the end began: it is answered.
        for work in replies.receive() { work() }
        #expect(try last.reply().status == 200)
        stopping.join()
        for thread in threads { thread.join() }
        #expect(broken.withLock { $0 } == [])
        #expect(try server.directory.entries().isEmpty)
    }

    @Test func stopDoesNotWaitForEver() throws {
        let kept = Mutex<[@Sendable (APIReply) -> Void]>([])
        let server = try TestServer(FakeHandler { _, reply in kept.withLock { $0.append(reply) } })
        let client = try server.connect()
        try client.send(request("PUT", "/never"))
        #expect(Deadline.seconds(5).wait { kept.withLock { $0.count } == 1 })
        let start = HostClock.monotonic
        server.server.stop(within: 100)
        #expect(HostClock.monotonic - start < 3_000_000_000)
        #expect(try client.rest().isEmpty)
        // The reply comes too late and goes nowhere.
        kept.withLock { for reply in $0 { reply(.response(status: 204, body: nil)) } }
    }

    @Test func aParserIsFreedWithItsConnection() throws {
        let budget = BodyBudget(limit: 1000)
        weak var assembler: RequestAssembler?
        for text in ["", "GET", request("GET", "/"), "bad\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"] {
            let codec = RequestCodec(APILimits(), budget, loop: EmbeddedEventLoop())
            assembler = codec.assembler
            codec.feed(Array(text.utf8)[...], nil)
            codec.close()
        }
        #expect(assembler == nil)
        #expect(budget.take(1000))
    }
}
