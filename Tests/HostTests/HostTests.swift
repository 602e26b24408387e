import Host
import TestSupport
import Testing

/// Descriptors, events, threads and messages.
struct HostTests {
    @Test func eventsCount() throws {
        let event = try EventFD()
        #expect(!event.isPending && !event.drain())
        event.signal()
        event.signal()
        #expect(event.isPending && event.drain() && !event.drain() && !event.isPending)
    }

    @Test func epollTellsTokens() throws {
        let (first, second) = (try EventFD(), try EventFD())
        let epoll = try Epoll()
        try epoll.add(first.raw, .readable, token: 7)
        try epoll.add(second.raw, [.readable, .edgeTriggered], token: .max)
        #expect(throws: HostError("add a descriptor to an epoll set", nil, .exists)) {
            try epoll.add(first.raw, .readable, token: 1)
        }
        func tokens() -> [UInt64] {
            var tokens: [UInt64] = []
            epoll.wait(timeout: 0) { tokens.append($0.token) }
            return tokens.sorted()
        }
        let none = tokens()
        first.signal()
        second.signal()
        let both = tokens()
        // The level stays, the edge does not, until it comes again.
        let level = tokens()
        second.signal()
        let again = tokens()
        epoll.remove(first.raw)
        let removed = tokens()
        #expect(none.isEmpty && both == [7, .max] && level == [7] && again == [7, .max] && removed.isEmpty)
    }

    @Test func threadsRunAndEnd() throws {
        let mailbox = try Mailbox<Int>()
        let done = try EventFD()
        let thread = try Thread("a-test-thread") {
            for value in 0..<100 { mailbox.send(value) }
            done.signal()
        }
        thread.join()
        thread.join()
        thread.kick()
        #expect(done.isPending && mailbox.event.isPending)
        #expect(mailbox.receive() == Array(0..<100) && mailbox.receive().isEmpty && !mailbox.event.isPending)
    }

    @Test func errorsSayWhatAndWhy() throws {
        #expect("\(Errno.noSuchFile)" == "No such file or directory (ENOENT)")
        #expect("\(Errno(4095))".hasSuffix("(errno 4095)"))
        #expect("\(HostError("open", "/x", .accessDenied))" == "cannot open /x: Permission denied (EACCES)")
        #expect(throws: HostError("open", "/does/not/exist", .noSuchFile)) {
            _ = try FileDescriptor.open("/does/not/exist", 0)
        }
    }

    @Test func filesAreReadWhole() throws {
        let scratch = try ScratchDirectory("host")
        let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0) }
        let file = try FileDescriptor.open(try scratch.write("file", bytes), 0)
        #expect(try file.readAll(limit: 200_000) == bytes)
        #expect(try file.readExactly(3, at: 255, path: "file") == [255, 0, 1])
        #expect(throws: HostError("read", "file", Errno(61))) { try file.readExactly(2, at: 199_999, path: "file") }
        #expect(throws: HostError.self) { try file.readExactly(1, at: .max, path: "file") }
        let again = try FileDescriptor.open(scratch.path("file"), 0)
        #expect(throws: Errno(27)) { try again.readAll(limit: 199_999) }
        let status = try again.status()
        #expect(status.kind == .regular && status.size == 200_000)
        let isTerminal = again.isTerminal
        #expect(!isTerminal)
    }

    @Test func socketsReplaceOnlyDeadOnes() throws {
        let scratch = try ScratchDirectory("host")
        let path = scratch.path("socket")
        do {
            let first = try UnixListener(path: path)
            #expect(throws: HostError.self) { _ = try UnixListener(path: path) }
            let name = first.path
            #expect(name == path)
        }
        #expect(try scratch.entries() == [])
        try scratch.write("socket", "not a socket")
        #expect(throws: HostError.self) { _ = try UnixListener(path: path) }
        #expect(try scratch.read("socket") == Array("not a socket".utf8))
    }

    @Test func mappingsAreZeroAndKeepTheirLength() throws {
        #expect(throws: HostError.self) { _ = try Mapping(length: 0) }
        let mapping = try Mapping(length: 3 * 4096)
        let length = mapping.length
        #expect(length == 3 * 4096)
    }

    @Test func clocks() {
        let before = HostClock.monotonic
        sleepThread(.milliseconds(2))
        #expect(HostClock.monotonic >= before + 2_000_000)
        #expect(HostClock.realTime.seconds > 1_600_000_000)
    }
}
