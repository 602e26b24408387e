import Host
import Synchronization
import TestSupport
import Testing

@testable import Migration

/// Whatever happens to a frame or at a step, one machine runs afterwards, or none until a person says which; never two.
@Suite(.timeLimit(.minutes(15))) struct FaultTests {
    @Test(arguments: [1, 3]) func aMachineMoves(_ connections: Int) throws {
        let scratch = try ScratchDirectory("move")
        var setting = Move.Setting()
        setting.connections = connections
        setting.patience = 5000
        let move = try Move(scratch, setting)
        #expect(move.problem == nil)
        #expect(move.sent == .moved && move.received == .arrived(nil), "\(move.sent)")
        let report = move.sourceReport
        #expect(report.isOver && report.state == "moved" && report.owner == "destination" && report.problem == nil)
        #expect(report.round >= 2 && report.bytes > 170 * 4096 && report.zeroPages > 0 && report.downtime != nil)
        #expect(move.sinkReport.state == "running" && move.sinkReport.pages == report.pages)
        #expect(move.sinkReport.token == move.source.hello.token)
        // What the machine was while it ran came before its state, which is packed then.
        #expect(move.sink.outline == Array("the outline".utf8) && move.source.packs.withLock { $0 } == true)
    }

    /// A destination of a version that knows of no outlines and no packed states gets neither.
    @Test func anOlderDestinationGetsWhatItKnows() throws {
        let scratch = try ScratchDirectory("older")
        let listener = try StreamListener(.unix(scratch.path("there")))
        let kinds = Mutex<[FrameKind]>([])
        let thread = try Thread("older") {
            guard let connection = try? listener.accept(within: 10_000, heeding: nil),
                let channel = try? FrameChannel(connection)
            else { return }
            while let frame = try? channel.receive(within: 10_000) {
                kinds.withLock { $0.append(frame.kind) }
                switch frame.kind {
                case .hello: try? channel.send(.welcome, Array(#"{"format":1}"#.utf8), within: 10_000)
                case .roundEnd where frame.payload[4] == 0:
                    try? channel.send(.roundDone, Array(frame.payload[0..<4]) + [0, 0, 0, 0], within: 10_000)
                case .state: try? channel.send(.ready, within: 10_000)
                case .release: try? channel.send(.prepared, within: 10_000)
                case .commit: try? channel.send(.committed, within: 10_000)
                default: break
                }
            }
        }
        let source = try FakeSource(Ledger())
        let progress = MigrationProgress(.init(.source, token: "", peer: "", state: "connecting"))
        let outcome = MigrationSender(SenderOptions(listener.address), source, progress, try MigrationStop()).run()
        thread.join()
        #expect(outcome == .moved, "\(outcome)")
        #expect(source.packs.withLock { $0 } == false)
        kinds.withLock { kinds in #expect(kinds.contains(.state) && !kinds.contains(.outline), "\(kinds)") }
    }

    /// A source that dies while its further streams are awaited is noticed at once, though frames of its are still unread.
    @Test func aSourceThatDiesBeforeItsStreamsAreHereIsNoticed() throws {
        let scratch = try ScratchDirectory("streams")
        let listener = try StreamListener(.unix(scratch.path("there")))
        let address = listener.address
        let sink = try FakeSink(Ledger())
        var hello = try FakeSource(Ledger()).hello
        hello.connections = 3
        let bytes = hello.bytes
        let sender = try Thread("sender") {
            guard let connection = try? StreamConnection.connect(address, within: 10_000, heeding: nil),
                let channel = try? FrameChannel(connection)
            else { return }
            try? channel.send(.hello, bytes, within: 10_000)
            _ = try? channel.receive(within: 10_000)
            try? channel.send(.breath, within: 10_000)
        }
        let progress = MigrationProgress(.init(.destination, token: "", peer: "", state: "waiting"))
        let began = ContinuousClock.now
        let receiver = MigrationReceiver(listener, sink, progress, try MigrationStop())
        guard case .failed(let error) = receiver.run() else { throw MigrationError(.invalid, "it came") }
        sender.join()
        #expect(error.description.contains("before all of its streams were here"), "\(error)")
        #expect(began.duration(to: .now) < .seconds(15))
    }

    /// An outline has its place: once, behind the room for the memory.
    @Test func aSecondOutlineIsRefused() throws {
        let scratch = try ScratchDirectory("outlines")
        let listener = try StreamListener(.unix(scratch.path("there")))
        let address = listener.address
        let ledger = Ledger()
        let sink = try FakeSink(ledger)
        let hello = try FakeSource(ledger).hello
        let sender = try Thread("sender") {
            guard let connection = try? StreamConnection.connect(address, within: 10_000, heeding: nil),
                let channel = try? FrameChannel(connection)
            else { return }
            try? channel.send(.hello, hello.bytes, within: 10_000)
            _ = try? channel.receive(within: 10_000)
            for _ in 0..<2 { try? channel.send(.outline, [1], within: 10_000) }
            _ = try? channel.receive(within: 10_000)
        }
        let progress = MigrationProgress(.init(.destination, token: "", peer: "", state: "waiting"))
        let receiver = MigrationReceiver(listener, sink, progress, try MigrationStop())
        guard case .failed(let error) = receiver.run() else { throw MigrationError(.invalid, "it came") }
        sender.join()
        #expect(error.description.contains("a second one"), "\(error)")
    }

    @Test(arguments: LineFault.allCases) func noFrameMatters(_ fault: LineFault) throws {
        let scratch = try ScratchDirectory("frames")
        for connections in [1, 2] {
            var setting = Move.Setting()
            setting.connections = connections
            setting.patience = 5000
            let frames = try Move(scratch, setting).frames
            #expect(frames > 15)
            setting.patience = 120
            for frame in 1...frames {
                setting.fault = (frame, fault)
                let move = try Move(scratch, setting)
                let problem = move.problem
                #expect(problem == nil, "\(fault) at frame \(frame) of \(connections): \(problem ?? "")")
                // All but a frame behind the last that counts ends it somehow.
                if case .moved = move.sent { continue }
                #expect(move.sourceReport.problem != nil)
            }
        }
    }

    @Test func noStepOfTheSourceMatters() throws {
        let scratch = try ScratchDirectory("source")
        let steps = try Move(scratch).source.steps.taken
        #expect(steps >= 7)
        for step in 1...steps {
            var setting = Move.Setting()
            setting.sourceFails = step
            let move = try Move(scratch, setting)
            #expect(move.problem == nil, "step \(step): \(move.problem ?? "")")
            // How many rounds there are is a matter of the time that they take.
            if move.source.steps.taken < step { continue }
            guard case .returned(let error, nil) = move.sent else {
                Issue.record("step \(step): \(move.sent)")
                continue
            }
            #expect(error.description.contains("fails as it is to"))
        }
    }

    @Test func noStepOfTheDestinationMatters() throws {
        let scratch = try ScratchDirectory("sink")
        let steps = try Move(scratch).sink.steps.taken
        #expect(steps == 3)
        for step in 1...steps {
            var setting = Move.Setting()
            setting.sinkFails = step
            let move = try Move(scratch, setting)
            #expect(move.problem == nil, "step \(step): \(move.problem ?? "")")
            // The source hears why.
            guard case .returned(let error, nil) = move.sent else {
                Issue.record("step \(step): \(move.sent)")
                continue
            }
            #expect(error.kind == .refused && error.description.contains("fails as it is to"), "\(error)")
        }
    }

    /// Either end may be called off at any moment.
    @Test(arguments: [true, false]) func itCanBeCalledOffAtAnyTime(_ atSource: Bool) throws {
        let scratch = try ScratchDirectory("cancel")
        var cancelled = 0
        for delay in stride(from: 0, to: 6000, by: 150) {
            var setting = Move.Setting()
            setting.busyRounds = 5
            setting.during = { source, sink, _ in
                HostClock.sleep(microseconds: delay)
                (atSource ? source : sink).ask(MigrationError(.cancelled, "called off"))
            }
            let move = try Move(scratch, setting)
            #expect(move.problem == nil, "after \(delay) us: \(move.problem ?? "")")
            guard case .returned(let error, _) = move.sent else { continue }
            cancelled += 1
            #expect(error.description.contains("called off") || !atSource, "\(error)")
        }
        #expect(cancelled > 0)
    }

    @Test func aRefusalTellsAllReasons() throws {
        let scratch = try ScratchDirectory("refusal")
        var setting = Move.Setting()
        setting.reasons = ["no processor like that", "no disk \u{7} there"]
        let move = try Move(scratch, setting)
        #expect(move.problem == nil)
        guard case .returned(let error, nil) = move.sent else { throw MigrationError(.invalid, "\(move.sent)") }
        #expect(error.reasons == ["no processor like that", "no disk   there"])
        #expect(move.sink.steps.taken == 0)
    }

    @Test func aCheckMovesNothing() throws {
        let scratch = try ScratchDirectory("check")
        for reasons in [[], ["a", "b"]] {
            let ledger = Ledger()
            let (source, sink) = (try FakeSource(ledger), try FakeSink(ledger, reasons: reasons))
            let listener = try StreamListener(.unix(scratch.path("there")))
            let stop = try MigrationStop()
            let progress = MigrationProgress(.init(.destination, token: "", peer: "", state: "waiting"))
            let thread = try Thread("receiver") { _ = MigrationReceiver(listener, sink, progress, stop).run() }
            let other = MigrationProgress(.init(.source, token: "", peer: "", state: ""))
            for _ in 0..<3 {
                let sender = MigrationSender(
                    SenderOptions(listener.address), source, other, try MigrationStop())
                #expect(try sender.check() == reasons)
            }
            #expect(ledger.sourceRuns && sink.steps.taken == 0 && progress.now.state == "waiting")
            stop.ask(MigrationError(.cancelled, "over"))
            thread.join()
        }
    }

    /// Whoever is no peer is turned away, and the next one is heard.
    @Test func strangersAreTurnedAway() throws {
        let scratch = try ScratchDirectory("strangers")
        let ledger = Ledger()
        let (source, sink) = (try FakeSource(ledger), try FakeSink(ledger))
        let listener = try StreamListener(.tcp(host: "127.0.0.1", port: 0))
        guard case .tcp(_, let port) = listener.address, port > 0 else { throw MigrationError(.invalid, "no port") }
        let stop = try MigrationStop()
        let progress = MigrationProgress(.init(.destination, token: "", peer: "", state: "waiting"))
        let patience = MigrationPatience(all: 200)
        let thread = try Thread("receiver") {
            _ = MigrationReceiver(listener, sink, progress, stop, patience: patience).run()
        }
        var future = source.hello
        (future.oldest, future.newest) = (2, 9)
        var noMemory = source.hello
        noMemory.memory = []
        var wraps = source.hello
        wraps.memory = [.init(address: .max - 4095, size: 8192)]
        var crowd = source.hello
        crowd.connections = 129
        let hellos = [future, noMemory, wraps, crowd].map { hello in
            FrameHeader(
                .hello, sequence: 0, length: hello.bytes.count, checksum: Checksum.crc32c(hello.bytes)
            ).bytes + hello.bytes
        }
        let strangers: [[UInt8]] = [
            [], Array("GET / HTTP/1.1\r\nHost: somebody\r\nAccept: */*\r\n\r\n".utf8),
            [UInt8](repeating: 0xFF, count: 64), Array("SWMG".utf8),
            FrameHeader(.commit, sequence: 0, length: 0, checksum: 0).bytes,
            FrameHeader(.hello, sequence: 1, length: 0, checksum: 0).bytes,
            FrameHeader(.hello, sequence: 0, length: 2, checksum: Checksum.crc32c(Array("{}".utf8))).bytes
                + Array("{}".utf8),
        ]
        for bytes in strangers + hellos {
            let connection = try StreamConnection.connect(listener.address, within: 1000, heeding: nil)
            try connection.send(bytes, within: 1000)
            connection.drain(milliseconds: 1000)
            #expect(progress.now.state == "waiting")
        }
        let report = MigrationProgress(.init(.source, token: "", peer: "", state: ""))
        let outcome = MigrationSender(
            SenderOptions(listener.address), source, report, try MigrationStop()
        ).run()
        #expect(outcome == .moved)
        thread.join()
        #expect(ledger.destinationRuns && !ledger.sourceRuns && ledger.problems.isEmpty)
        _ = scratch
    }
}
