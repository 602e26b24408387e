import Host
import Snapshot
import Synchronization

/// What became of a machine that was to arrive.
package enum ReceiverOutcome: Equatable, Sendable {
    /// It is here; with an error where it stands still, since it could not go on.
    case arrived(MigrationError?)
    /// It was here, and was over before all of its memory was.
    case ended
    /// Nothing of it is here.
    case failed(MigrationError)
}

/// Waits for a machine and takes it: one call on a thread of its own, from the first connection to the end.
package final class MigrationReceiver {
    let listener: StreamListener
    let sink: any MigrationSink
    let progress: MigrationProgress
    let stop: MigrationStop
    let patience: MigrationPatience
    /// What keeps the streams safe from others; nil for nothing.
    package var security: (any StreamSecurity)?
    /// Hears of what was turned away, for the log.
    let report: (String) -> Void
    /// Hears that a machine comes.
    private let onStart: () -> Void
    private(set) var machine = ReceiverMachine()
    var channels: [FrameChannel] = []
    /// What the source has said of the machine; nil before it has.
    private(set) var hello: Hello?
    /// The stream of a machine whose memory follows it, and where its pages go; nil for others.
    var line: PostcopyLine?
    var pager: PostcopyPager?
    /// Hears that the machine is here and stands still, since its memory does not come.
    package var onStarved: (MigrationError) -> Void = { _ in }
    private var memory: ArrivingMemory?
    private var streams: ReceivingStreams?
    private var isComplete = false
    private var hasOutline = false
    private var callers: Callers

    /// - Parameters:
    ///   - progress: what is kept up to date.
    ///   - stop: the wish that it ends, heard until the machine is ours.
    package init(
        _ listener: StreamListener, _ sink: any MigrationSink, _ progress: MigrationProgress, _ stop: MigrationStop,
        patience: MigrationPatience = MigrationPatience(), onStart: @escaping () -> Void = {},
        report: @escaping (String) -> Void = { _ in }
    ) {
        (self.listener, self.sink, self.progress, self.stop) = (listener, sink, progress, stop)
        (self.patience, self.onStart, self.report) = (patience, onStart, report)
        callers = Callers(listener, patience: patience.connect, report: report)
    }

    func step(_ event: ReceiverMachine.Event) throws(MigrationError) {
        try machine.handle(event)
        let machine = machine
        progress.update { report in
            report.state = machine.name
            report.owner = machine.isCommitted ? "destination" : machine.state == .discarded ? "source" : report.owner
            if case .receiving(let round) = machine.state { report.round = round }
            if machine.isOver { report.isOver = true }
        }
    }

    // MARK: The whole of it

    /// Waits for a machine and takes it.
    package func run() -> ReceiverOutcome {
        do throws(MigrationError) {
            let hello = try greet()
            onStart()
            try begin(hello)
            while !machine.isCommitted { try handleNext() }
            return machine.isPostcopy ? fill() : .arrived(start())
        } catch {
            let cause = streams?.failure ?? error
            return fail(cause.kind == .cancelled ? stop.explain(cause) : cause)
        }
    }

    /// It is ours: it goes on, and the source hears of it.
    private func start() -> MigrationError? {
        var problem: MigrationError?
        do throws(MigrationError) { try sink.start() } catch { problem = error }
        // The machine is ours whether the source hears of it or not.
        try? channels[0].send(.committed, within: patience.handover)
        if let problem { progress.update { $0.problem = problem.description } }
        streams?.end()
        return problem
    }

    private func fail(_ error: MigrationError) -> ReceiverOutcome {
        // A machine that is ours does not fail here: `run` is over then.
        try? step(.failed)
        progress.update { $0.problem = error.description }
        pager?.release(.stopped)
        sink.discard()
        // Said when nothing is left of the machine, and no commit is read any more: the source may go on at once.
        if let channel = channels.first {
            if let line {
                stop.ask(error)
                line.end(keepingStream: true)
                pager?.stop()
            }
            try? channel.send(.refusal, JSONBytes.encode(error.reasons), within: 500)
            channel.connection.drain(milliseconds: 500)
        }
        for channel in channels { channel.connection.shutDown() }
        streams?.end()
        return .failed(error)
    }

    // MARK: Greeting

    /// Waits for a peer that says what it brings, and turns away whoever does not or only asks.
    private func greet() throws(MigrationError) -> Hello {
        while true {
            let connection = try callers.next(within: nil, heeding: stop.event)
            var channel = try FrameChannel(connection)
            do throws(MigrationError) {
                channel = try secured(connection)
                let frame = try channel.receive(within: patience.connect, heeding: stop.event)
                guard frame.kind == .hello else { throw .violation("\(frame.kind) came where a hello was to come") }
                let hello = try Hello(frame.payload)
                var reasons = sink.reasonsAgainst(hello)
                if let problem = hello.compressionProblem { reasons.append(problem) }
                if hello.isCheck {
                    try answer(channel, hello, reasons)
                    channel.connection.drain(milliseconds: 500)
                    continue
                }
                channels = [channel]
                self.hello = hello
                guard reasons.isEmpty else { throw MigrationError(.invalid, reasons) }
                progress.update { report in
                    report.token = hello.token
                    (report.isPostcopy, report.isCompressed) = (hello.postcopy != nil, hello.compression != nil)
                    report.totalBytes = hello.memory.reduce(0) { $0 + $1.size }
                    report.disks = hello.disks.map { .init($0) }
                }
                return hello
            } catch {
                if !channels.isEmpty || error.kind == .cancelled { throw error }
                report("a connection for a migration was turned away: \(error)")
                try? channel.send(.refusal, JSONBytes.encode(error.reasons), within: 500)
                channel.connection.drain(milliseconds: 100)
            }
        }
    }

    private func answer(
        _ channel: FrameChannel, _ hello: Hello, _ reasons: [String]
    ) throws(MigrationError) {
        if reasons.isEmpty {
            let pageSize = hello.postcopy == nil ? nil : sink.postcopy?.target?.pageSize
            let welcome = Welcome(pageSize: pageSize, compression: hello.compression)
            try channel.send(.welcome, JSONBytes.encode(welcome), within: patience.frame)
        } else {
            try channel.send(.refusal, JSONBytes.encode(reasons), within: patience.frame)
        }
    }

    /// The frames of a connection, once the peer has shown who it is where it has to.
    ///
    /// - Parameters:
    ///   - milliseconds: how long that may take; nil for half as long as a connection may: others wait meanwhile, whose
    ///     own time is that.
    ///   - event: ends it; nil for the wish that the migration ends.
    func secured(
        _ connection: StreamConnection, within milliseconds: Int? = nil, heeding event: EventFD? = nil
    ) throws(MigrationError) -> FrameChannel {
        guard let security else { return try FrameChannel(connection) }
        let stream: any ByteStream
        do throws(StreamFault) {
            stream = try security.secure(
                connection, within: milliseconds ?? patience.connect / 2, heeding: event ?? stop.event)
        } catch {
            throw MigrationError(fault: error, "letting a source in")
        }
        return try FrameChannel(stream)
    }

    /// Makes room for the machine, tells the source to go on, and takes its further streams.
    private func begin(_ hello: Hello) throws(MigrationError) {
        try step(.accepted)
        if !hello.isLocal {
            let memory = ArrivingMemory(try sink.prepare(hello, memory: nil))
            try check(memory, hello)
            self.memory = memory
        } else {
            localHello = hello
        }
        try answer(channels[0], hello, [])
        if hello.postcopy == nil { Turns.long.take() }
        let deadline = HostClock.monotonic + UInt64(patience.frame) * 1_000_000
        var missing = Set(1..<max(hello.connections, 1))
        var others: [Int: FrameChannel] = [:]
        while !missing.isEmpty {
            let now = HostClock.monotonic
            guard now < deadline else { throw MigrationError(.connection, "the peer's further streams did not come") }
            let connection = try callers.next(
                within: Int((deadline - now) / 1_000_000), heeding: stop.event, besides: channels[0].connection)
            do throws(MigrationError) {
                let channel = try secured(connection)
                let frame = try channel.receive(within: patience.connect, heeding: stop.event)
                let join: Join = try JSONBytes.decode(frame.payload, "a stream's hello")
                guard frame.kind == .join, join.token == hello.token, missing.remove(join.stream) != nil else {
                    throw .violation("a stream belongs to another migration, or is there already")
                }
                others[join.stream] = channel
            } catch {
                if error.kind == .cancelled { throw error }
                report("a stream for a migration was turned away: \(error)")
            }
        }
        channels += others.sorted { $0.key < $1.key }.map(\.value)
        if hello.compression != nil { for channel in channels { try channel.unpackPages() } }
        if let memory {
            streams = try ReceivingStreams(
                Array(channels.dropFirst()), (memory, sink.disks), progress, stop, patience)
        }
    }

    private var localHello: Hello?

    private func check(_ memory: ArrivingMemory, _ hello: Hello) throws(MigrationError) {
        let own = memory.regions.map { Hello.Region(address: $0.guestAddress, size: UInt64($0.host.count)) }
        guard own == hello.memory else {
            throw MigrationError(.invalid, "the machine's memory lies elsewhere than its configuration says")
        }
    }

    // MARK: Frames

    private func handleNext() throws(MigrationError) {
        let time = machine.state == .prepared ? patience.commit : patience.frame
        let frame: Frame
        if let line {
            frame = try line.next(within: time)
        } else {
            frame = try channels[0].receive(within: time, heeding: stop.event, into: awaitingMemory)
        }
        guard machine.awaited.contains(frame.kind) else {
            throw .violation("\(frame.kind) came while the destination was \(machine.name)")
        }
        if hello?.postcopy != nil, line == nil, ![.map, .outline, .abort, .breath].contains(frame.kind) {
            throw .violation("\(frame.kind) came where a list of pages was to come")
        }
        switch frame.kind {
        case .memory: try takeMemory()
        case .map: try takeMap(frame.payload)
        case .pages: try take(frame)
        case .diskData, .diskZeroes: try sink.disks.put(frame, channels[0], progress)
        case .roundEnd: try endRound(frame.payload)
        case .outline: try takeOutline(frame.payload)
        case .state: try takeState(frame.payload)
        case .release:
            try step(.released)
            try sink.build()
            try step(.built)
            if let line {
                try line.sendPrepared(within: patience.handover)
            } else {
                try channels[0].send(.prepared, within: patience.handover, heeding: stop.event)
            }
        case .commit: try step(.committed)
        case .abort:
            let words = JSONBytes.reasons(JSONBytes.encode([String(decoding: frame.payload, as: UTF8.self)]))
            throw MigrationError(.refused, words.map { "the source gave up: \($0)" })
        case .breath, .hello, .welcome, .refusal, .join, .roundDone, .ready, .prepared, .committed, .want, .got,
            .rejoin,
            .standing, .complete, .farewell, .packedPages:
            break
        }
    }

    private func takeMemory() throws(MigrationError) {
        guard let hello = localHello, memory == nil, let file = channels[0].connection.descriptors.takeFirst() else {
            throw .violation("memory came where none was to come, or without its descriptor")
        }
        let memory = ArrivingMemory(try sink.prepare(hello, memory: ReceivedMemory(file)))
        try check(memory, hello)
        self.memory = memory
        streams = try ReceivingStreams([], (memory, nil), progress, stop, patience)
    }

    /// The memory, while pages may come for it.
    private var awaitingMemory: ArrivingMemory? {
        guard localHello == nil, !isComplete, case .receiving = machine.state else { return nil }
        return memory
    }

    private func take(_ frame: Frame) throws(MigrationError) {
        guard awaitingMemory != nil else { throw .violation("pages came where none were to come") }
        progress.count(frame)
    }

    private func endRound(_ payload: [UInt8]) throws(MigrationError) {
        guard case .receiving(let round) = machine.state, payload.count == 8, !isComplete, let memory, let streams,
            LittleEndian.number(payload, 0, 4) == UInt64(round)
        else { throw .violation("a round ended that was not at hand") }
        try streams.waitForAll(round, within: patience.frame)
        isComplete = LittleEndian.number(payload, 4, 4) == 1
        if isComplete {
            Turns.short.take()
            // The guest stands still: what is to be waited for is little, and has begun to be written.
            try sink.disks?.close()
            return
        }
        // Little is left then to be waited for while the guest stands still.
        try sink.disks?.settle()
        sink.rehearse()
        memory.begin(round: UInt64(round) + 1)
        sink.disks?.begin(round: UInt64(round) + 1)
        try step(.roundEnd)
        var answer: [UInt8] = []
        LittleEndian.append(UInt64(round), 8, to: &answer)
        try channels[0].send(.roundDone, answer, within: patience.frame, heeding: stop.event)
    }

    private func takeOutline(_ bytes: [UInt8]) throws(MigrationError) {
        guard memory != nil, machine.state == .receiving(1), !isComplete, !hasOutline else {
            throw .violation("an outline came where none was to come, or a second one")
        }
        hasOutline = true
        sink.standBy(bytes)
    }

    private func takeState(_ bytes: [UInt8]) throws(MigrationError) {
        guard isComplete || line != nil else { throw .violation("the state came before all of the memory") }
        try sink.load(bytes)
        try step(.stateCame)
        if let line { return try line.send(.ready, within: patience.handover) }
        try channels[0].send(.ready, within: patience.handover, heeding: stop.event)
    }
}

extension MigrationProgress {
    /// Counts a frame of pages that came.
    func count(_ frame: Frame) {
        let head = PagesHead(frame.payload)
        update { report in
            report.bytes += UInt64(frame.length)
            report.pages += UInt64(head.present.pageCount)
            report.zeroPages += UInt64(head.zero.pageCount)
        }
    }
}
