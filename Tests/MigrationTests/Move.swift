import Host
import Synchronization
import TestSupport
import Testing

import class Foundation.FileManager

@testable import Migration

/// One migration of a machine that is none, over a line that may fail.
struct Move {
    /// What may go wrong, and how it is done.
    struct Setting {
        var fault: (frame: Int, LineFault)?
        var sourceFails: Int?, sinkFails: Int?
        var connections = 1
        /// ms for everything.
        var patience = 150
        var busyRounds = 2
        var downtime: UInt64 = 0
        var reasons: [String] = []
        var isCheck = false
        /// Whether disks come along; and where to, for a place of their own.
        var hasDisks = false, directory: String?
        /// Whether pages are compressed.
        var compresses = false
        /// Is called when both ends exist: to cancel them, say.
        var during: (@Sendable (MigrationStop, MigrationStop, MigrationProgress) -> Void)?
    }

    let ledger = Ledger()
    let source: FakeSource
    let sink: FakeSink
    /// The disks that come along, and where to.
    private let disks: FakeDisks?
    private let images: String
    let sourceReport: MigrationReport, sinkReport: MigrationReport
    let sent: SenderOutcome
    let received: ReceiverOutcome
    /// Frames that went over the line.
    let frames: Int

    private final class Arrival: Sendable { let outcome = Mutex<ReceiverOutcome?>(nil) }

    init(_ scratch: ScratchDirectory, _ setting: Setting = Setting()) throws {
        let steps = Steps(failing: setting.sourceFails)
        let number = UInt32.random(in: .min ... .max)
        disks = setting.hasDisks ? try FakeDisks(scratch, "disk\(number)-", steps) : nil
        images = setting.directory ?? scratch.path("images\(number)")
        if setting.hasDisks {
            try FileManager.default.createDirectory(atPath: images, withIntermediateDirectories: true)
        }
        let source = try FakeSource(ledger, steps, busyRounds: setting.busyRounds, disks: disks)
        let sink = try FakeSink(
            ledger, Steps(failing: setting.sinkFails), reasons: setting.reasons,
            directory: setting.hasDisks ? images : nil)
        let sourceProgress = MigrationProgress(.init(.source, token: "", peer: "", state: "connecting"))
        let sinkProgress = MigrationProgress(.init(.destination, token: "", peer: "", state: "waiting"))
        let (sourceStop, sinkStop) = (try MigrationStop(), try MigrationStop())
        // A move's threads may let go of their sockets a little later than the next one begins.
        let listener = try StreamListener(.unix(scratch.path("there\(number)")))
        let line = try FaultyLine(scratch.path("line\(number)"), to: listener.address, fault: setting.fault)
        var options = SenderOptions(line.address)
        (options.downtime, options.connections, options.mayThrottle) = (setting.downtime, setting.connections, false)
        options.compresses = setting.compresses
        let patience = MigrationPatience(all: setting.patience)
        options.patience = patience
        let arrival = Arrival()
        let thread = try Thread("receiver") {
            let receiver = MigrationReceiver(listener, sink, sinkProgress, sinkStop, patience: patience)
            let outcome = receiver.run()
            arrival.outcome.withLock { $0 = outcome }
        }
        var helper: Thread?
        if let during = setting.during {
            helper = try Thread("during") { during(sourceStop, sinkStop, sourceProgress) }
        }
        sent = MigrationSender(options, source, sourceProgress, sourceStop).run()
        helper?.join()
        // A receiver that nobody came to waits for the next one.
        let hasEnded = Deadline(after: .milliseconds(4 * setting.patience + 1000)).wait {
            arrival.outcome.withLock { $0 != nil } || sinkProgress.now.state == "waiting"
        }
        #expect(hasEnded, "the receiver does not end")
        sinkStop.ask(MigrationError(.cancelled, "the test is over"))
        thread.join()
        received = try #require(arrival.outcome.withLock { $0 })
        frames = line.frames
        line.end()
        (self.source, self.sink) = (source, sink)
        (sourceReport, sinkReport) = (sourceProgress.now, sinkProgress.now)
    }

    /// Says what is wrong with how it ended; nil where all is well.
    var problem: String? {
        if let problem = ledger.problems.first { return problem }
        let isThere = if case .arrived = received { true } else { false }
        if ledger.destinationRuns != isThere { return "the destination says \(received)" }
        if isThere, sink.memory.bytes != source.memory.bytes { return "the memory there is another" }
        if isThere, sink.state != Array("the state".utf8) { return "the state there is another" }
        if isThere, ledger.disk != "destination" { return "the destination has no disk" }
        if let problem = imageProblem(isThere) { return problem }
        switch sent {
        case .moved:
            if !isThere { return "it moved, and is not there" }
            if ledger.sourceRuns { return "it moved, and runs here" }
            if !source.ended.withLock({ $0 }) { return "the source goes on" }
        case .returned(let error, let stuck):
            if isThere { return "it returned (\(error)), and is there" }
            if let stuck { return "it returned (\(error)), and stands still: \(stuck)" }
            if !ledger.sourceRuns { return "it returned (\(error)), and does not run" }
            if ledger.disk != "source" { return "it returned without its disk" }
        case .stranded: return "its memory came first, and is said to be missing"
        case .unresolved:
            if ledger.sourceRuns { return "nobody knows where it is, and it runs here" }
            if sourceReport.owner != "unknown" { return "the owner is told as \(sourceReport.owner)" }
            if !isThere, ledger.disk == "destination" { return "the destination keeps the disk of a machine it lost" }
        }
        return nil
    }

    /// Images that came are the source's as they are now; of those that did not nothing is left.
    private func imageProblem(_ isThere: Bool) -> String? {
        guard let disks else { return nil }
        let found = ((try? FileManager.default.contentsOfDirectory(atPath: images)) ?? ["nothing"]).sorted()
        guard isThere else { return found.isEmpty ? nil : "what is left of the images: \(found)" }
        if found != disks.list.map(\.id) { return "the images there are \(found)" }
        for (index, name) in found.enumerated() {
            let there = FileManager.default.contents(atPath: "\(images)/\(name)")
            if there != FileManager.default.contents(atPath: disks.paths[index]) { return "\(name) is another there" }
        }
        return nil
    }
}
