import Machine
import Synchronization
import TestSupport
import Testing

@testable import Control

/// A connection that keeps what it is sent, up to its capacity.
final class FakeSink: ByteSink {
    struct State {
        var bytes: [UInt8] = []
        var isFinished = false
        var onClose: [@Sendable () -> Void] = []
    }
    private let state = Mutex(State())
    private let capacity: Int
    init(capacity: Int = .max) { self.capacity = capacity }

    func send(_ bytes: [UInt8]) -> Bool {
        state.withLock { state in
            guard !state.isFinished, state.bytes.count + bytes.count <= capacity else { return false }
            state.bytes += bytes
            return true
        }
    }
    func finish() { state.withLock { $0.isFinished = true } }
    func onClose(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onClose.append(body) } }

    /// The client goes away.
    func close() {
        finish()
        for body in state.withLock({ $0.onClose }) { body() }
    }
    var text: String { String(decoding: state.withLock { $0.bytes }, as: UTF8.self) }
    var isFinished: Bool { state.withLock { $0.isFinished } }
}

/// `vm.events` as its clients read it.
struct EventStreamTests {
    private let deadline = 10

    private func attach(_ monitor: EventMonitor, _ sink: FakeSink) throws {
        guard case .stream(let type, let attach) = EventStream.reply(monitor) else {
            Issue.record("not a stream")
            return
        }
        #expect(type == "text/event-stream")
        attach(sink)
    }

    @Test func anEventGoesAsNumberNameAndOneLine() {
        let event = EventRecord(
            number: 7, time: 2_000_000_001, source: "vm", event: "device-removed", properties: ["id": "a\nb"])
        #expect(
            EventStream.text(event) == "id: 7\nevent: vm.device-removed\n"
                + #"data: {"timestamp":{"secs":2,"nanos":1},"source":"vm","event":"device-removed","#
                + #""properties":{"id":"a\nb"}}"# + "\n\n")
    }

    @Test func aStreamBeginsWithThePastAndGoesOn() throws {
        let monitor = try EventMonitor()
        defer { monitor.close() }
        monitor.emit(.booting)
        let sink = FakeSink()
        try attach(monitor, sink)
        #expect(Deadline.seconds(deadline).wait { sink.text.hasSuffix("\n\n") })
        #expect(sink.text.hasPrefix("id: 1\nevent: vm.booting\n"))
        monitor.emit(.booted)
        #expect(Deadline.seconds(deadline).wait { sink.text.contains("id: 2\nevent: vm.booted\n") })
        #expect(!sink.isFinished)
    }

    @Test func silenceIsAComment() throws {
        let monitor = try EventMonitor(silence: 20)
        defer { monitor.close() }
        let sink = FakeSink()
        try attach(monitor, sink)
        #expect(Deadline.seconds(deadline).wait { sink.text.hasPrefix(":\n\n:\n\n") })
    }

    @Test func aClientThatDoesNotReadIsCutOffAfterAWholeEvent() throws {
        let monitor = try EventMonitor()
        defer { monitor.close() }
        let slow = FakeSink(capacity: 1000), other = FakeSink()
        try attach(monitor, slow)
        try attach(monitor, other)
        for _ in 0..<20 { monitor.emit(.paused) }
        #expect(Deadline.seconds(deadline).wait { slow.isFinished && other.text.contains("id: 20\n") })
        #expect(slow.text.hasSuffix("\n\n") && slow.text.utf8.count <= 1000)
        #expect(!other.isFinished)
    }

    @Test func whoLeavesIsForgotten() throws {
        let monitor = try EventMonitor(silence: 20)
        defer { monitor.close() }
        let sink = FakeSink(), other = FakeSink()
        weak var left: FakeSink?
        do {
            let leaving = FakeSink()
            left = leaving
            try attach(monitor, leaving)
            try attach(monitor, other)
            monitor.emit(.booting)
            #expect(Deadline.seconds(deadline).wait { leaving.text.contains("booting") })
            leaving.close()
        }
        #expect(Deadline.seconds(deadline).wait { left == nil })
        sink.close()
        try attach(monitor, sink)
        monitor.emit(.booted)
        #expect(Deadline.seconds(deadline).wait { other.text.contains("booted") })
    }
}
