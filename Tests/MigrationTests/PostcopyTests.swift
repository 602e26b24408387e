import Host
import Snapshot
import Synchronization
import TestSupport
import Testing

@testable import Migration

/// Memory that follows its machine: whatever happens to a frame or at a step, exactly one runs, or none until somebody says
/// so, and no page is lost or made up.
@Suite(.timeLimit(.minutes(10))) struct PostcopyTests {
    @Test func theMemoryFollowsTheMachine() throws {
        let scratch = try ScratchDirectory("postcopy")
        var setting = PagedMove.Setting()
        setting.patience = 5000
        let move = try PagedMove(scratch, setting)
        let received = move.end()
        #expect(move.problem(received) == nil)
        #expect(move.sent == .moved && received == .arrived(nil), "\(move.sent)")
        let (here, there) = (move.sourceProgress.now, move.sinkProgress.now)
        #expect(here.isOver && here.state == "moved" && here.owner == "destination" && here.problem == nil)
        #expect(here.isPostcopy && there.isPostcopy && here.downtime != nil && here.remainingBytes == 0)
        #expect(there.isOver && there.state == "running" && there.owner == "destination" && there.problem == nil)
        #expect(there.pages == here.pages && there.pages >= 150 && there.remainingBytes == 0)
        // Pages that hold nothing are not sent: what the guest made zero after the survey is told as a bit.
        #expect(here.pages + here.zeroPages < 300)
        #expect((move.sink.pager?.reading.faults ?? 0) > 0)
    }

    /// A look at all of a large memory takes longer than the destination waits for a word.
    @Test func aSourceThatLooksForLongIsHeard() throws {
        let scratch = try ScratchDirectory("survey")
        var setting = PagedMove.Setting()
        (setting.patience, setting.survey, setting.breath) = (1000, 700, 100)
        let move = try PagedMove(scratch, setting)
        let received = move.end()
        #expect(move.problem(received) == nil)
        #expect(move.sent == .moved && received == .arrived(nil), "\(move.sent)")
    }

    @Test(arguments: LineFault.allCases) func noFrameMatters(_ fault: LineFault) throws {
        let scratch = try ScratchDirectory("frames")
        var setting = PagedMove.Setting()
        setting.patience = 5000
        let first = try PagedMove(scratch, setting)
        _ = first.end()
        let frames = first.line.frames
        #expect(frames > 20)
        setting.patience = 150
        var (moved, returned) = (0, 0)
        for frame in 1...frames {
            setting.fault = (frame, fault)
            let move = try PagedMove(scratch, setting)
            let received = move.end()
            let problem = move.problem(received)
            #expect(problem == nil, "\(fault) at frame \(frame): \(problem ?? "")")
            switch move.sent {
            case .moved: moved += 1
            case .returned: returned += 1
            case .stranded, .unresolved: #expect(move.sourceProgress.now.problem != nil)
            }
        }
        // What happens behind the commit is healed by coming back, what happens before it by staying.
        #expect(moved > 5 && returned > 5, "\(moved) \(returned)")
    }

    /// The connection breaks again and again while the memory follows.
    @Test(arguments: [9, 13, 21]) func itGoesOnFromWhereItStood(_ cutEvery: Int) throws {
        let scratch = try ScratchDirectory("cut")
        var setting = PagedMove.Setting()
        (setting.patience, setting.reconnect, setting.cutEvery) = (3000, 20_000, cutEvery)
        let move = try PagedMove(scratch, setting)
        let received = move.end()
        #expect(move.problem(received) == nil)
        // Cut before the commit it stays; after it it arrives.
        if case .returned = move.sent { return }
        #expect(move.sent == .moved && received == .arrived(nil), "\(move.sent)")
        // Nothing that was there is sent again: at most what was on its way at each cut.
        let (here, there) = (move.sourceProgress.now, move.sinkProgress.now)
        #expect(there.pages <= here.pages && here.pages < 3 * there.pages)
    }

    @Test func noStepOfTheSourceMatters() throws {
        let scratch = try ScratchDirectory("source")
        let first = try PagedMove(scratch)
        _ = first.end()
        #expect(first.source.steps.taken >= 6)
        for step in 1...first.source.steps.taken {
            var setting = PagedMove.Setting()
            setting.sourceFails = step
            let move = try PagedMove(scratch, setting)
            let received = move.end()
            #expect(move.problem(received) == nil, "step \(step)")
            guard case .returned(let error, nil) = move.sent else {
                Issue.record("step \(step): \(move.sent)")
                continue
            }
            #expect(error.description.contains("fails as it is to"))
        }
    }

    @Test func noStepOfTheDestinationMatters() throws {
        let scratch = try ScratchDirectory("sink")
        for step in 1...3 {
            var setting = PagedMove.Setting()
            (setting.sinkFails, setting.patience) = (step, 3000)
            let move = try PagedMove(scratch, setting)
            let received = move.end()
            #expect(move.problem(received) == nil, "step \(step)")
            guard case .returned(let error, nil) = move.sent else {
                Issue.record("step \(step): \(move.sent)")
                continue
            }
            #expect(error.kind == .refused && error.description.contains("fails as it is to"), "\(error)")
        }
    }

    /// The source goes away after the commit: the guest waits at its destination, whose memory nobody makes up, and goes on
    /// when the source is back.
    @Test func aSourceThatIsGoneIsWaitedFor() throws {
        let scratch = try ScratchDirectory("gone")
        var setting = PagedMove.Setting()
        (setting.patience, setting.reconnect, setting.bandwidth) = (3000, 300, 1 << 18)
        setting.during = { source, _, progress, _ in
            _ = Deadline(after: .seconds(10)).wait { progress.now.state == "postcopy" }
            source.end()
        }
        let move = try PagedMove(scratch, setting)
        guard case .stranded = move.sent else {
            Issue.record("\(move.sent)")
            _ = move.end()
            return
        }
        #expect(move.settle() == nil)
        let there = move.sinkProgress.now
        #expect(there.state == "starved" && there.owner == "destination" && !there.isOver && there.remainingBytes > 0)
        #expect(there.problem?.contains("vm.migration.resolve") == true, "\(there.problem ?? "")")
        #expect(move.starved.error?.description.contains("not come back") == true)
        #expect(move.sink.isHeld && move.sink.over == nil)
        #expect(!move.ledger.sourceRuns && move.ledger.disk == "destination")
        let here = move.sourceProgress.now
        #expect(here.state == "stranded" && here.owner == "destination" && !here.isOver)
        // A stranger is no source.
        let stranger = try FrameChannel(StreamConnection.connect(move.line.address, within: 1000, heeding: nil))
        try stranger.send(.rejoin, JSONBytes.encode(Rejoin(token: Hello.newToken())), within: 1000)
        #expect(try stranger.receive(within: 5000).kind == .refusal)
        #expect(move.sinkProgress.now.state == "starved")
        try move.reconnect()
        let received = move.end()
        #expect(move.sent == .moved && received == .arrived(nil))
        #expect(move.problem(received) == nil && !move.sink.isHeld)
    }

    /// Either end may be called off before the commit, and neither after it.
    @Test(arguments: [true, false]) func itCanBeCalledOffBeforeTheCommit(_ atSource: Bool) throws {
        let scratch = try ScratchDirectory("cancel")
        var cancelled = 0
        for delay in stride(from: 0, to: 4000, by: 200) {
            var setting = PagedMove.Setting()
            setting.patience = 3000
            setting.during = { source, sink, _, _ in
                HostClock.sleep(microseconds: delay)
                (atSource ? source : sink).ask(MigrationError(.cancelled, "called off"))
            }
            let move = try PagedMove(scratch, setting)
            let received = move.end()
            #expect(move.problem(received) == nil, "after \(delay) us")
            if case .returned = move.sent { cancelled += 1 }
        }
        #expect(cancelled > 0)
    }

    // MARK: What a peer may say

    @Test func listsOfPagesAreChecked() throws {
        let memory = try FakeMemory()
        func list(_ entries: [(UInt64, PageSet)]) -> [UInt8] {
            var bytes: [UInt8] = []
            for (address, pages) in entries { PageList.append(address, pages, to: &bytes) }
            return bytes
        }
        func refuses(_ bytes: [UInt8]) -> Bool { (try? PageList(bytes, memory.regions)) == nil }
        let all = PageSet(lowest: 512)
        let good = try PageList(list([(0, all), ((1 << 32) + (2 << 20), PageSet(lowest: 20))]), memory.regions)
        #expect(good.count == 532 && good.size == 532 * 4096)
        #expect(try PageList(good.bytes(memory.regions), memory.regions) == good)
        // The same chunk twice is the same chunk.
        #expect(try PageList(list([(0, all), (0, all)]), memory.regions).count == 512)
        #expect(try PageList([], memory.regions).count == 0)
        for address: UInt64 in [4096, 2 << 20, .max, .max - 4095, 1 << 63, (1 << 32) - 4096, (1 << 32) + (4 << 20)] {
            #expect(refuses(list([(address, PageSet(lowest: 1))])), "\(address)")
        }
        #expect(refuses(list([((1 << 32) + (2 << 20), PageSet(lowest: 21))])))
        for count in 1..<PageList.entrySize { #expect(refuses(Array(list([(0, all)])[..<count]))) }
        #expect((try? Standing([1, 2, 3], memory.regions)) == nil)
        #expect((try? Standing([UInt8](repeating: 0xFF, count: 8), memory.regions)) == nil)
        let standing = Standing(pageSize: 4096, missing: good)
        #expect(try Standing(standing.bytes(memory.regions), memory.regions) == standing)
    }

    @Test func pagesThatCannotBeAreRefusedOrLeftOut() throws {
        let memory = try FakeMemory()
        var missing = PageList(empty: memory.regions)
        missing[0, 0] = PageSet(lowest: 4)
        let over = Mutex<[PostcopyPager.Over]>([])
        let pager = try PostcopyPager(DemandPager.Target(memory.regions, isShared: false), missing: missing) { end in
            over.withLock { $0.append(end) }
        }
        let data = try ScratchMemory(count: PagesHead.chunkSize)
        data.fill([UInt8](repeating: 9, count: 8 * 4096))
        func put(_ address: UInt64, _ present: PageSet, _ zero: PageSet = PageSet(), bytes: Int? = nil) -> Bool {
            let head = PagesHead(address: address, round: 2, present: present, zero: zero)
            return (try? pager.put(head, data.range, dataBytes: bytes ?? present.pageCount * 4096)) != nil
        }
        let one = PageSet(lowest: 1)
        for address: UInt64 in [4096, 1 << 40, .max, (1 << 32) + (4 << 20)] { #expect(!put(address, one)) }
        #expect(!put((1 << 32) + (2 << 20), PageSet(lowest: 21)) && !put(0, one, one) && !put(0, one, bytes: 8192))
        #expect(pager.missingBytes == 4 * 4096)
        // A page that was said to hold nothing: the guest has its zeroes, and keeps them.
        #expect(memory.scratch[0].bytes(8 * 4096..<8 * 4096 + 1) == [0])
        #expect(put(0, PageSet.range(8..<9)) && memory.scratch[0].bytes(8 * 4096..<8 * 4096 + 1) == [0])
        // The same page twice: the guest may have written it.
        #expect(put(0, one) && memory.scratch[0].bytes(0..<1) == [9])
        memory.fill(0, 0, 5)
        #expect(put(0, PageSet(lowest: 2)) && memory.scratch[0].bytes(0..<1) == [5])
        #expect(memory.scratch[0].bytes(4096..<4097) == [9] && pager.missingBytes == 2 * 4096 && pager.over == nil)
        #expect((try? pager.finish()) == nil)
        // Of bytes between others each lands at its place.
        data.fill([UInt8](repeating: 3, count: 4096), at: 2 * 4096)
        #expect(put(0, PageSet(lowest: 3), PageSet.range(3..<4)))
        #expect(
            memory.scratch[0].bytes(2 * 4096..<2 * 4096 + 1) == [3]
                && memory.scratch[0].bytes(3 * 4096..<3 * 4096 + 1) == [0])
        #expect(pager.over == .complete && over.withLock { $0 } == [.complete] && (try? pager.finish()) != nil)
        // What comes later is left out.
        #expect(put(0, PageSet(lowest: 1)) && memory.scratch[0].bytes(0..<1) == [5])
        pager.stop()
        #expect(over.withLock { $0 } == [.complete])
    }

    /// Nobody is let go without the page that it waits for, until the guest is over.
    @Test func whoWaitsForAPageWaits() throws {
        let memory = try FakeMemory()
        var missing = PageList(empty: memory.regions)
        missing[1, 1] = PageSet(lowest: 1)
        let asked = Mutex<[[UInt8]]>([])
        let pager = try PostcopyPager(DemandPager.Target(memory.regions, isShared: false), missing: missing) { _ in }
        pager.attach { entry in asked.withLock { $0.append(entry) } }
        let isDone = Mutex(false)
        let thread = try Thread("toucher") {
            memory.regions[1].host.part(2 << 20..<(2 << 20) + 4096).touch()
            isDone.withLock { $0 = true }
        }
        #expect(Deadline(after: .seconds(10)).wait { asked.withLock { $0.count } == 1 })
        // A new way to the source is asked again.
        pager.attach(nil)
        pager.attach { entry in asked.withLock { $0.append(entry) } }
        let all = asked.withLock { $0 }
        #expect(all.count == 2 && all.first == all.last && !isDone.withLock { $0 })
        var wanted: [UInt8] = []
        PageList.append((1 << 32) + (2 << 20), PageSet(lowest: 1), to: &wanted)
        #expect(all.first == wanted)
        pager.stop()
        thread.join()
        #expect(isDone.withLock { $0 } && pager.over == .stopped && pager.missingBytes == 4096)
    }

    /// What the destination of a machine may say to its source.
    @Test func aDestinationIsNotBelieved() throws {
        let memory = try FakeMemory()
        for page in 0..<500 { memory.fill(0, page, 7) }
        let stop = try MigrationStop()
        let progress = MigrationProgress(.init(.source, token: "", peer: "", state: ""))
        func serve(_ frames: [(FrameKind, [UInt8])]) throws -> (error: MigrationError?, frames: Int) {
            let (left, right) = try StreamConnection.pair()
            let (here, there) = (try FrameChannel(left), try FrameChannel(right))
            var options = SenderOptions(.unix("/nowhere"))
            options.patience = MigrationPatience(all: 200)
            let server = PageServer(
                PageList(RoundSender.everything(memory.regions)), pageSize: 4096, memory.regions, options,
                (progress, stop))
            for (kind, payload) in frames { try there.send(kind, payload, within: 1000) }
            let came = Mutex(0)
            let reader = try Thread("reader") {
                while let frame = try? there.receive(within: 5000), frame.kind == .pages { came.withLock { $0 += 1 } }
            }
            var problem: MigrationError?
            do throws(MigrationError) { try server.serve(here) } catch { problem = error }
            here.connection.shutDown()
            reader.join()
            return (problem, came.withLock { $0 })
        }
        func want(_ address: UInt64, _ pages: PageSet) -> [UInt8] {
            var bytes: [UInt8] = []
            PageList.append(address, pages, to: &bytes)
            return bytes
        }
        // Silence: a few frames go out, and no more.
        let quiet = try serve([])
        #expect(quiet.error?.kind == .connection && quiet.frames == 4)
        #expect(try serve([(.complete, [])]).error == nil)
        // What is wanted goes out at once, however often, and only once.
        let eager = try serve([(.want, want(0, PageSet(lowest: 1))), (.want, want(0, PageSet(lowest: 1)))])
        #expect(eager.error?.kind == .connection && eager.frames == 4)
        let bad: [(FrameKind, [UInt8])] = [
            (.want, want(4096, PageSet(lowest: 1))), (.want, want(.max, PageSet(lowest: 1))),
            (.want, want(1 << 32 + 2 << 20, PageSet(lowest: 512))), (.want, [1]), (.got, [1]),
            (.got, [UInt8](repeating: 0xFF, count: 8)), (.got, [UInt8](repeating: 0, count: 8)), (.commit, []),
            (.standing, []), (.farewell, []), (.hello, []),
        ]
        for frame in bad {
            #expect(try serve([frame]).error?.kind == .violation, "\(frame.0) \(frame.1)")
        }
    }
}
