import Testing

@testable import Migration

/// Both state machines, walked through from every state by every event.
struct StateMachineTests {
    /// All states that the source gets into, with the events that lead there.
    private func senderStates(isPostcopy: Bool) -> [SenderMachine] {
        var found: [SenderMachine] = [SenderMachine(isPostcopy: isPostcopy)]
        var index = 0
        while index < found.count {
            for event in SenderMachine.Event.allCases {
                var next = found[index]
                guard (try? next.handle(event)) != nil else { continue }
                if case .copying(let round) = next.state, round > 3 { continue }
                if !found.contains(next) { found.append(next) }
            }
            index += 1
        }
        return found
    }

    @Test(arguments: [false, true]) func theSourceNeverRunsWhereTheDestinationMay(_ isPostcopy: Bool) {
        let states = senderStates(isPostcopy: isPostcopy)
        #expect(states.count == (isPostcopy ? 15 : 11))
        for machine in states {
            #expect(!(machine.mayRun && machine.owner != .source))
            #expect(machine.isOver == ["moved", "returned", "unresolved", "stranded"].contains(machine.name))
            // A guest that has run at its destination never does here again, whatever a person says.
            if machine.owner == .destination {
                for event in SenderMachine.Event.allCases {
                    var next = machine
                    #expect((try? next.handle(event)) == nil || next.owner == .destination, "\(machine.name) \(event)")
                }
            }
            // Nothing calls it off once the commit may be there, and nothing follows its end but a person's word.
            #expect(!machine.canCancel || machine.owner == .source)
            for event in SenderMachine.Event.allCases {
                var next = machine
                let isTaken = (try? next.handle(event)) != nil
                #expect(isTaken || next == machine)
                if machine.owner == .unknown, next.mayRun {
                    #expect(event == .refused || event == .runHere, "\(machine.name) \(event)")
                }
                if machine.name == "moved" || machine.name == "returned" { #expect(!isTaken) }
            }
            // Every state that is not over has a way out when something fails.
            var failed = machine
            if machine.isOver { continue }
            #expect((try? failed.handle(.failed)) != nil)
            if case .reconnecting = failed.state { #expect((try? failed.handle(.timeUp)) != nil) }
            #expect(failed.isOver)
        }
    }

    @Test func theDestinationRunsAfterACommitAlone() {
        var found: [ReceiverMachine] = [ReceiverMachine()]
        var index = 0
        while index < found.count {
            for event in ReceiverMachine.Event.allCases {
                var next = found[index]
                guard (try? next.handle(event)) != nil else { continue }
                if next.mayRun, !found[index].mayRun {
                    let isFirst = event == .committed && found[index].state == .prepared
                    #expect(isFirst || found[index].state == .starved)
                }
                #expect(next.isCommitted || !found[index].isCommitted, "\(found[index].name) \(event)")
                if case .receiving(let round) = next.state, round > 3 { continue }
                if !found.contains(next) { found.append(next) }
            }
            index += 1
        }
        #expect(found.count == 19)
        // What was dropped hears no commit.
        for event in ReceiverMachine.Event.allCases {
            var discarded = found.first { $0.state == .discarded } ?? ReceiverMachine()
            #expect((try? discarded.handle(event)) == nil && !discarded.mayRun)
        }
    }

    /// Both machines over a line that loses any message: in no order of events do both run.
    @Test(arguments: [false, true]) func neverDoBothRun(_ isPostcopy: Bool) {
        struct Pair: Hashable {
            var source: SenderMachine, sink: ReceiverMachine
            func hash(into hasher: inout Hasher) { hasher.combine(source.name + sink.name) }
        }
        var found: Set<Pair> = []
        var open = [Pair(source: SenderMachine(isPostcopy: isPostcopy), sink: ReceiverMachine())]
        func go(_ pair: Pair, _ event: SenderMachine.Event?, _ other: ReceiverMachine.Event?) {
            var next = pair
            if let event, (try? next.source.handle(event)) == nil { return }
            if let other, (try? next.sink.handle(other)) == nil { return }
            if case .copying(let round) = next.source.state, round > 2 { return }
            if case .receiving(let round) = next.sink.state, round > 2 { return }
            if found.insert(next).inserted { open.append(next) }
        }
        while let pair = open.popLast() {
            #expect(!(pair.source.mayRun && pair.sink.mayRun), "\(pair.source.name) \(pair.sink.name)")
            let sink = pair.sink.state
            for event in SenderMachine.Event.allCases {
                switch event {
                // What the destination has to have said.
                case .ready: if sink == .loaded || sink == .building || sink == .prepared { go(pair, event, nil) }
                case .prepared: if sink == .prepared { go(pair, event, nil) }
                case .acknowledged: if pair.sink.isCommitted { go(pair, event, nil) }
                case .rejoined: if pair.sink.isCommitted { go(pair, event, .rejoined) }
                case .complete: if sink == .running || sink == .ended { go(pair, event, nil) }
                case .refused: if sink == .discarded { go(pair, event, nil) }
                // A person finds out first.
                case .runHere: if sink == .discarded { go(pair, event, nil) }
                case .discard: if pair.sink.isCommitted { go(pair, event, nil) }
                case .connected, .welcomed, .roundDone, .paused, .failed, .timeUp, .reconnect: go(pair, event, nil)
                }
            }
            let committed: [SenderMachine.State] = [
                .committing, .unresolved, .reconnecting(isAcknowledged: false),
            ]
            for event in ReceiverMachine.Event.allCases {
                // A commit comes from a source that has sent it, whatever became of its connection then.
                if event == .committed, !committed.contains(pair.source.state) { continue }
                if event == .mapCame, !isPostcopy || pair.source.state != .stopped { continue }
                go(pair, nil, event)
            }
        }
        #expect(found.count > 20)
    }

    @Test func roundsEndWhenTheRestFits() {
        var idle = Convergence(downtime: 300, mayThrottle: true)
        // 1 GiB in 1 s, and 64 KiB left.
        #expect(idle.judge(sent: 1 << 30, nanoseconds: 1_000_000_000, left: 64 << 10) == .stop)
        #expect(idle.rate == 1 << 30 && idle.time(for: 1 << 30) == 1000)
        // A guest that has hardly any memory in use tells nothing of the line, and little has to go.
        var empty = Convergence(downtime: 1, mayThrottle: true)
        #expect(empty.judge(sent: 100 << 10, nanoseconds: 200_000_000, left: 200 << 10) == .stop && empty.rate == 0)
        #expect(empty.judge(sent: 100 << 10, nanoseconds: 200_000_000, left: 2 << 20) == .another(throttle: 0))
        // A first round that was held up for a while is not believed for ever.
        var slow = Convergence(downtime: 300, mayThrottle: false)
        #expect(slow.judge(sent: 2 << 20, nanoseconds: 4_000_000_000, left: 800 << 10) == .another(throttle: 0))
        #expect(slow.judge(sent: 800 << 10, nanoseconds: 10_000_000, left: 800 << 10) == .stop)
        var busy = Convergence(downtime: 10, mayThrottle: true)
        var throttles: [Int] = []
        for _ in 0..<24 {
            guard case .another(let throttle) = busy.judge(sent: 1 << 30, nanoseconds: 1_000_000_000, left: 1 << 30)
            else { break }
            throttles.append(throttle)
        }
        #expect(throttles.first == 0 && throttles[1] == 20 && throttles[3] == 30 && throttles.last == 99)
        var free = Convergence(downtime: 10, mayThrottle: false)
        for _ in 0..<9 {
            #expect(free.judge(sent: 1 << 30, nanoseconds: 1_000_000_000, left: 1 << 30) == .another(throttle: 0))
        }
        // A rest that would fit is sent again as long as that leaves less than half, and more than nobody minds.
        var slow2 = Convergence(downtime: 300, mayThrottle: true)
        let second: UInt64 = 1_000_000_000
        #expect(slow2.judge(sent: 256 << 20, nanoseconds: 4 * second, left: 10 << 20) == .another(throttle: 0))
        #expect(slow2.judge(sent: 10 << 20, nanoseconds: second * 10 / 64, left: 2 << 20) == .another(throttle: 0))
        #expect(slow2.judge(sent: 2 << 20, nanoseconds: second * 2 / 64, left: 256 << 10) == .stop)
        // Neither where the guest writes as fast as that, nor for ever, nor while it is held back.
        var level = Convergence(downtime: 300, mayThrottle: true)
        #expect(level.judge(sent: 256 << 20, nanoseconds: 4 * second, left: 10 << 20) == .another(throttle: 0))
        #expect(level.judge(sent: 10 << 20, nanoseconds: second * 10 / 64, left: 6 << 20) == .stop)
        var even = Convergence(downtime: 300, mayThrottle: true)
        #expect(even.judge(sent: 15 << 20, nanoseconds: second, left: 4 << 20) == .another(throttle: 0))
        #expect(even.judge(sent: 4 << 20, nanoseconds: second / 100, left: 3 << 20) == .stop)
        // A guest that writes by fits and starts is stopped when the rest fits a second time.
        var bursts = Convergence(downtime: 300, mayThrottle: false)
        #expect(
            bursts.judge(sent: 1 << 30, nanoseconds: second, left: 100 << 20) == .another(throttle: 0) && bursts.fits)
        #expect(
            bursts.judge(sent: 1 << 30, nanoseconds: second, left: 400 << 20) == .another(throttle: 0) && !bursts.fits)
        #expect(bursts.judge(sent: 1 << 30, nanoseconds: second, left: 100 << 20) == .stop)
        // What a peer or a clock may bring does not trap.
        var strange = Convergence(downtime: .max, mayThrottle: true)
        _ = strange.judge(sent: .max, nanoseconds: 0, left: .max)
        _ = strange.judge(sent: 0, nanoseconds: .max, left: .max)
        #expect(strange.time(for: .max) != nil)
    }
}
