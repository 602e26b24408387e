import Host
import Snapshot
import Synchronization
import TestSupport
import Testing

@testable import Migration

/// Where a machine that is none arrives before its memory: a thread touches its pages as a guest would.
final class PagedSink: MigrationSink, PostcopySink {
    let ledger: Ledger
    let steps: Steps
    let memory: FakeMemory
    private struct State {
        var state: [UInt8]?
        var pager: PostcopyPager?
        var guest: Thread?
        var isHeld = false
        var holds = 0
        var over: PostcopyPager.Over?
    }
    private let held = Mutex(State())

    init(_ ledger: Ledger, _ steps: Steps = Steps()) throws {
        (self.ledger, self.steps) = (ledger, steps)
        memory = try FakeMemory()
    }

    func reasonsAgainst(_ hello: Hello) -> [String] { [] }

    func prepare(_ hello: Hello, memory given: consuming ReceivedMemory?) throws(MigrationError) -> [MemoryRegion] {
        try steps.take("prepare")
        return memory.regions
    }

    func load(_ state: [UInt8]) throws(MigrationError) {
        try steps.take("load")
        held.withLock { $0.state = state }
    }

    func build() throws(MigrationError) {
        try steps.take("build")
        // As devices do that look at their queues.
        touch(1, 512)
        guard ledger.lock("destination") else { throw MigrationError(.machine, "the disk is the source's") }
    }

    private func touch(_ region: Int, _ page: Int) {
        memory.regions[region].host.part(page * 4096..<(page + 1) * 4096).touch()
    }

    func start() throws(MigrationError) {
        ledger.destination(runs: true)
        let guest = try? Thread("guest") { [self] in
            for turn in 0..<400 {
                let region = turn % 2
                touch(region, turn * 37 % memory.pageCounts[region])
            }
        }
        held.withLock { $0.guest = guest }
    }

    func discard() { ledger.unlock("destination") }

    var postcopy: (any PostcopySink)? { self }
    var target: DemandPager.Target? { DemandPager.Target(memory.regions, isShared: false) }
    func take(_ pager: PostcopyPager) { held.withLock { $0.pager = pager } }
    func paged(_ over: PostcopyPager.Over) { held.withLock { $0.over = over } }
    func hold(_ reason: String) {
        held.withLock { ($0.isHeld, $0.holds) = (true, $0.holds + 1) }
    }
    func letGo() { held.withLock { $0.isHeld = false } }

    var state: [UInt8]? { held.withLock { $0.state } }
    var pager: PostcopyPager? { held.withLock { $0.pager } }
    var isHeld: Bool { held.withLock { $0.isHeld } }
    var over: PostcopyPager.Over? { held.withLock { $0.over } }

    /// The guest has touched all that it wanted, or was let go.
    func end() {
        held.withLock { $0.guest }?.join()
        held.withLock { $0.pager }?.stop()
    }
}

/// One migration of a machine that is none, whose memory follows it.
final class PagedMove {
    struct Setting {
        var fault: (frame: Int, LineFault)?
        var cutEvery: Int?
        var sourceFails: Int?, sinkFails: Int?
        var patience = 150
        /// ms to be found again.
        var reconnect: UInt64 = 500
        var bandwidth: UInt64?
        /// Whether pages are compressed.
        var compresses = false
        /// ms that a chunk of the memory takes to be looked at, and after which the destination is to hear something.
        var survey: Int?, breath: Int?
        /// Is called when both ends exist.
        var during: (@Sendable (MigrationStop, MigrationStop, MigrationProgress, MigrationProgress) -> Void)?
    }

    let ledger = Ledger()
    let source: FakeSource
    let sink: PagedSink
    let sourceProgress = MigrationProgress(.init(.source, token: "", peer: "", state: "connecting"))
    let sinkProgress = MigrationProgress(.init(.destination, token: "", peer: "", state: "waiting"))
    let sinkStop: MigrationStop
    let line: FaultyLine
    private(set) var sent: SenderOutcome
    /// What the destination said when it had waited in vain.
    let starved = Note()
    private let arrival = Note()
    private let options: SenderOptions
    private let thread: Thread

    /// Something that a thread says once.
    final class Note: Sendable {
        private let value = Mutex<(ReceiverOutcome?, MigrationError?)>((nil, nil))
        var outcome: ReceiverOutcome? { value.withLock { $0.0 } }
        var error: MigrationError? { value.withLock { $0.1 } }
        func say(_ outcome: ReceiverOutcome) { value.withLock { $0.0 = outcome } }
        func say(_ error: MigrationError) { value.withLock { $0.1 = error } }
    }

    init(_ scratch: ScratchDirectory, _ setting: Setting = Setting()) throws {
        let source = try FakeSource(ledger, Steps(failing: setting.sourceFails), readingTime: setting.survey ?? 0)
        let sink = try PagedSink(ledger, Steps(failing: setting.sinkFails))
        let (sourceStop, sinkStop) = (try MigrationStop(), try MigrationStop())
        let number = UInt32.random(in: .min ... .max)
        let listener = try StreamListener(.unix(scratch.path("there\(number)")))
        line = try FaultyLine(
            scratch.path("line\(number)"), to: listener.address, fault: setting.fault, cutEvery: setting.cutEvery)
        var options = SenderOptions(line.address)
        (options.isPostcopy, options.reconnect) = (true, setting.reconnect)
        (options.bandwidth, options.compresses) = (setting.bandwidth, setting.compresses)
        var patience = MigrationPatience(all: setting.patience)
        patience.hold = 50
        if let breath = setting.breath { patience.breath = breath }
        options.patience = patience
        let (arrival, starved, sinkProgress) = (arrival, starved, sinkProgress)
        thread = try Thread("receiver") { [patience] in
            let receiver = MigrationReceiver(listener, sink, sinkProgress, sinkStop, patience: patience)
            receiver.onStarved = { starved.say($0) }
            arrival.say(receiver.run())
        }
        var helper: Thread?
        if let during = setting.during {
            let sourceProgress = sourceProgress
            helper = try Thread("during") { during(sourceStop, sinkStop, sourceProgress, sinkProgress) }
        }
        sent = MigrationSender(options, source, sourceProgress, sourceStop).run()
        helper?.join()
        (self.source, self.sink, self.sinkStop, self.options) = (source, sink, sinkStop, options)
    }

    /// Seeks the destination again, as a person would have it.
    func reconnect() throws {
        let isAcknowledged = sourceProgress.now.owner == "destination"
        var options = options
        options.reconnect = 5000
        options.patience = MigrationPatience(all: 2000)
        sent = MigrationSender(
            reconnecting: options, source, sourceProgress, try MigrationStop(), isAcknowledged: isAcknowledged,
            token: source.hello.token
        ).goOnServing()
    }

    /// Waits for the destination's end, or for a state of its in which it waits for somebody else.
    func settle() -> ReceiverOutcome? {
        let isSettled = Deadline(after: .seconds(20)).wait {
            arrival.outcome != nil || ["waiting", "starved"].contains(sinkProgress.now.state)
        }
        #expect(isSettled, "the receiver does not end: \(sinkProgress.now.state)")
        return arrival.outcome
    }

    /// Ends everything.
    func end() -> ReceiverOutcome? {
        _ = settle()
        sinkStop.end()
        thread.join()
        // As whoever has the guest does when that is over.
        sink.pager?.release(.stopped)
        line.end()
        sink.end()
        return arrival.outcome
    }

    /// Says what is wrong with how it ended; nil where all is well.
    func problem(_ received: ReceiverOutcome?) -> String? {
        if let problem = ledger.problems.first { return problem }
        let isThere = if case .arrived = received { true } else { false }
        if isThere, sink.memory.bytes != source.memory.bytes { return "the memory there is another" }
        if isThere, sink.state != Array("the state".utf8) { return "the state there is another" }
        if isThere, ledger.disk != "destination" { return "the destination has no disk" }
        if isThere, sink.over != .complete { return "the pager says \(String(describing: sink.over))" }
        switch sent {
        case .moved:
            if !isThere { return "it moved, and is not there" }
            if ledger.sourceRuns || !ledger.destinationRuns { return "it moved, and does not run there" }
            if !source.ended.withLock({ $0 }) { return "the source goes on" }
        case .returned(let error, let stuck):
            if isThere || ledger.destinationRuns { return "it returned (\(error)), and is there" }
            if let stuck { return "it returned (\(error)), and stands still: \(stuck)" }
            if !ledger.sourceRuns || ledger.disk != "source" { return "it returned (\(error)), and does not run" }
        case .stranded, .unresolved:
            if ledger.sourceRuns { return "nobody is there to take its pages, and it runs here" }
            if source.ended.withLock({ $0 }) { return "its pages are gone" }
        }
        return nil
    }
}
