import Host
import Snapshot

/// Moves a machine to a destination that listens: one call on a thread of its own, from the connection to the end.
package final class MigrationSender {
    let options: SenderOptions
    let source: any MigrationSource
    let progress: MigrationProgress
    let stop: MigrationStop
    /// Hears each round as it begins.
    let onRound: (Int) -> Void
    private(set) var machine: SenderMachine
    var channels: [FrameChannel] = []
    private(set) var isPaused = false
    /// When the guest stopped, in ns of the monotonic clock.
    private var stoppedAt: UInt64 = 0
    /// When its time began to run, in ns of the monotonic clock.
    private var began = HostClock.monotonic
    /// The first round with memory in it.
    private var firstRound = 1
    /// The disks that come along.
    private var mirrored: [MirroredDisk]?
    /// Gives the destination its pages, where they follow the machine; nil before it is known which there are.
    var server: PageServer?
    /// The migration's name.
    private(set) var token = ""
    /// What the destination said of itself.
    private var welcome = Welcome()
    /// Bytes of a page at the destination.
    var pageSize = HostRange.pageSize

    /// - Parameters:
    ///   - progress: what is kept up to date.
    ///   - stop: the wish that it ends, heard as long as the machine is the source's for sure.
    ///   - onRound: hears the number of each round as it begins.
    package init(
        _ options: SenderOptions, _ source: any MigrationSource, _ progress: MigrationProgress, _ stop: MigrationStop,
        onRound: @escaping (Int) -> Void = { _ in }
    ) {
        (self.options, self.source, self.progress, self.stop) = (options, source, progress, stop)
        self.onRound = onRound
        machine = SenderMachine(isPostcopy: options.isPostcopy)
        progress.update { ($0.isPostcopy, $0.isCompressed) = (options.isPostcopy, options.compresses) }
    }

    /// One that seeks the destination of a machine again whose memory follows it (``goOnServing()``).
    ///
    /// - Parameter isAcknowledged: whether the destination is known to have the machine.
    package init(
        reconnecting options: SenderOptions, _ source: any MigrationSource, _ progress: MigrationProgress,
        _ stop: MigrationStop, isAcknowledged: Bool, token: String
    ) {
        self.token = token
        (self.options, self.source, self.progress, self.stop) = (options, source, progress, stop)
        onRound = { _ in }
        machine = SenderMachine(reconnecting: isAcknowledged)
    }

    var patience: MigrationPatience { options.patience }
    /// What ends a wait: nothing any more once the destination may run.
    var heeded: EventFD? { machine.canCancel ? stop.event : nil }

    func step(_ event: SenderMachine.Event) throws(MigrationError) {
        try machine.handle(event)
        let machine = machine
        progress.update { report in
            report.state = machine.name
            report.owner = machine.owner.rawValue
            if case .copying(let round) = machine.state { report.round = round }
            if machine.isOver, machine.state != .unresolved, machine.state != .stranded { report.isOver = true }
        }
    }

    // MARK: The whole of it

    /// Moves the machine.
    package func run() -> SenderOutcome {
        do throws(MigrationError) {
            let hello = try source.describe()
            (isPaused, mirrored, token) = (hello.isPaused, hello.disks, hello.token)
            try greet(hello)
            if options.isPostcopy { try offerPages() } else if options.isLocal { try handMemory() } else { try copy() }
            try handOver()
            return options.isPostcopy ? serve() : .moved
        } catch {
            let error = withFarewell(error)
            if options.isPostcopy, machine.state == .committing, error.kind != .refused { return serve(after: error) }
            return fail(error.kind == .cancelled ? stop.explain(error) : error)
        }
    }

    /// Asks the destination for every reason why it would not take the machine; nothing moves.
    ///
    /// - Returns: none if it would.
    package func check() throws(MigrationError) -> [String] {
        var hello = try completed(source.describe())
        hello.isCheck = true
        try connect()
        let channel = channels[0]
        try channel.send(.hello, hello.bytes, within: patience.frame, heeding: stop.event)
        let answer = try channel.receive(within: patience.frame, heeding: stop.event)
        channel.connection.shutDown()
        switch answer.kind {
        case .welcome:
            let welcome: Welcome = try JSONBytes.decode(answer.payload, "the peer's welcome")
            do throws(MigrationError) { try welcome.check(hello) } catch { return error.reasons }
            return []
        case .refusal: return JSONBytes.reasons(answer.payload)
        default: throw .violation("a \(answer.kind) came as the answer to a hello")
        }
    }

    // MARK: Greeting

    /// A description of the machine with how it is to go.
    private func completed(_ description: Hello) throws(MigrationError) -> Hello {
        var hello = description
        hello.isLocal = options.isLocal
        hello.connections = options.isLocal || options.isPostcopy ? 1 : options.connections
        if options.isPostcopy { hello.postcopy = Hello.Postcopy(reconnect: options.reconnect) }
        hello.compression = options.compresses ? PagePacking.name : nil
        guard options.isLocal else { return hello }
        guard case .unix = options.address else {
            throw MigrationError(.invalid, "local: memory goes by descriptor over unix:/PATH alone")
        }
        guard source.memoryDescriptor != nil else {
            throw MigrationError(
                .machine, "local: the memory has no descriptor; it has one with \"shared\": true in $.memory")
        }
        return hello
    }

    func connect(heeding other: EventFD? = nil) throws(MigrationError) {
        let event = other ?? stop.event
        let stream: any ByteStream
        do throws(StreamFault) {
            let connection = try StreamConnection.connect(options.address, within: patience.connect, heeding: event)
            stream = try options.security?.secure(connection, within: patience.connect, heeding: event) ?? connection
        } catch {
            throw MigrationError(fault: error, "connecting to \(options.address)")
        }
        channels.append(try FrameChannel(stream))
    }

    private func greet(_ description: Hello) throws(MigrationError) {
        let hello = try completed(description)
        try connect()
        try step(.connected)
        try channels[0].send(.hello, hello.bytes, within: patience.frame, heeding: heeded)
        welcome = try JSONBytes.decode(expect(.welcome, within: patience.welcome), "the peer's welcome")
        try welcome.check(hello)
        if let size = welcome.pageSize {
            pageSize = try Standing.pageSize(UInt64(clamping: size))
        }
        for stream in 1..<max(hello.connections, 1) {
            try connect()
            let join = Join(token: hello.token, stream: stream)
            try channels[stream].send(.join, JSONBytes.encode(join), within: patience.frame, heeding: heeded)
        }
        if options.compresses { for channel in channels { try channel.packPages() } }
        try step(.welcomed)
        if !options.isLocal { try sendOutline() }
    }

    /// Has the destination make the machine while the guest runs.
    private func sendOutline() throws(MigrationError) {
        guard welcome.understands(Welcome.outline), let outline = try source.outline() else { return }
        try channels[0].send(.outline, outline, within: patience.frame, heeding: heeded)
    }

    /// Receives the frame that is to come on the first stream.
    func expect(_ kind: FrameKind, within milliseconds: Int) throws(MigrationError) -> [UInt8] {
        var frame = try channels[0].receive(within: milliseconds, heeding: heeded)
        while let server, try server.take(frame, channels[0], heeding: heeded) {
            frame = try channels[0].receive(within: milliseconds, heeding: heeded)
        }
        if frame.kind == .refusal { throw refusal(frame) }
        guard frame.kind == kind else { throw .violation("\(frame.kind) came where \(kind) was to come") }
        return frame.payload
    }

    // MARK: Memory

    private func handMemory() throws(MigrationError) {
        guard let descriptor = source.memoryDescriptor else {
            throw MigrationError(.invalid, "local: the memory has no descriptor")
        }
        try channels[0].send(.memory, descriptors: [descriptor], within: patience.frame, heeding: heeded)
        try sendOutline()
        // The destination makes room, asks its hook, and makes the machine while the guest still runs.
        try endRound(1, isLast: false, within: patience.welcome)
        try step(.roundDone)
        try stopGuest()
        try endRound(2, isLast: true)
    }

    private func copy() throws(MigrationError) {
        let regions = source.regions
        let rounds = RoundSender(source, channels, options, progress, stop)
        var convergence = Convergence(
            downtime: options.downtime, mayThrottle: options.mayThrottle && !isPaused)
        var pages = RoundSender.everything(regions)
        let total = RoundSender.size(pages)
        progress.update { $0.totalBytes = total }
        var round = 1
        let disks = try copyDisks(&round, rounds.limit)
        firstRound = round
        if !isPaused { try source.beginLogging() }
        while !isPaused {
            onRound(round)
            let sent = try self.round(round, pages, (rounds, disks), isLast: false)
            try step(.roundDone)
            pages = try source.takeWritten()
            try disks?.take()
            let left = RoundSender.size(pages)
            let all = left + (disks?.leftBytes ?? 0)
            let verdict = convergence.judge(sent: sent.bytes, nanoseconds: sent.time, left: all)
            let now = convergence
            progress.update { report in
                (report.rate, report.dirtyRate, report.remainingBytes) = (now.rate, now.dirtyRate, left)
                report.expectedDowntime = now.time(for: all)
            }
            round += 1
            if case .another(let throttle) = verdict {
                guard HostClock.monotonic &- began > options.timeout &* 1_000_000 else {
                    source.throttle(throttle)
                    progress.update { $0.throttle = throttle }
                    continue
                }
                guard convergence.fits || options.timeUp == .ignore else {
                    throw MigrationError(
                        .timeUp,
                        "after \(options.timeout / 1000) s (timeout_s) the guest would still have to stand still for "
                            + "\(now.time(for: all) ?? 0) ms, and downtime_ms allows \(options.downtime): it writes "
                            + "\(now.dirtyRate >> 10) KiB/s and \(now.rate >> 10) KiB/s go over; allow more, or "
                            + "timeout_strategy Ignore"
                    )
                }
            }
            break
        }
        source.throttle(0)
        progress.update { $0.throttle = 0 }
        try stopGuest()
        onRound(round)
        if !isPaused {
            Bitmaps.unite(&pages, try source.takeWritten())
            try disks?.take()
        }
        _ = try self.round(round, pages, (rounds, disks), isLast: true)
    }

    /// Sends the disks that come along a first time, in a round before the memory, which takes less time and is written
    /// faster.
    ///
    /// - Returns: what goes on with them in each round; nil where none come along.
    private func copyDisks(_ round: inout Int, _ limit: BandwidthLimit?) throws(MigrationError) -> DiskRounds? {
        guard let mirror = source.mirror, let mirrored else { return nil }
        let disks = try DiskRounds(mirror, mirrored, channels, limit, (progress, stop, patience))
        let first = DiskSender.Round(number: round, isFirst: true)
        _ = try disks.send(first, heeding: machine.canCancel)
        try endRound(round, isLast: false)
        try step(.roundDone)
        round += 1
        began = HostClock.monotonic
        return disks
    }

    private func round(
        _ round: Int, _ pages: [[UInt64]], _ senders: (memory: RoundSender, disks: DiskRounds?), isLast: Bool
    ) throws(MigrationError) -> (bytes: UInt64, time: UInt64) {
        let size = RoundSender.size(pages)
        progress.update { report in
            report.round = round
            report.remainingBytes = size
        }
        let start = HostClock.monotonic
        let isLimited = !isLast || isPaused
        var bytes: UInt64 = 0
        if let disks = senders.disks {
            bytes += try disks.send(
                DiskSender.Round(number: round, isLimited: isLimited), heeding: machine.canCancel)
        }
        bytes += try senders.memory.send(
            round: round, pages, isFirst: round == firstRound, isLimited: isLimited, heeding: machine.canCancel)
        try endRound(round, isLast: isLast)
        return (bytes, HostClock.monotonic &- start)
    }

    /// - Parameter milliseconds: how long its answer may take; nil for as long as a frame.
    private func endRound(_ round: Int, isLast: Bool, within milliseconds: Int? = nil) throws(MigrationError) {
        var payload: [UInt8] = []
        LittleEndian.append(UInt64(round), 4, to: &payload)
        LittleEndian.append(isLast ? 1 : 0, 4, to: &payload)
        for channel in channels {
            try channel.send(.roundEnd, payload, within: patience.frame, heeding: heeded)
        }
        // The last one's answer is that to the state, which follows at once.
        if isLast { return }
        let answer = try expect(.roundDone, within: milliseconds ?? patience.frame)
        guard answer.count == 8, LittleEndian.number(answer, 0, 8) == UInt64(round) else {
            throw .violation("the peer says that it has another round than the \(round) that was sent")
        }
    }

    // MARK: Handing over

    func stopGuest() throws(MigrationError) {
        if let asked = stop.asked { throw asked }
        if welcome.understands(Welcome.outline) { source.rehearse() }
        Turns.short.take()
        stoppedAt = HostClock.monotonic
        try step(.paused)
        try source.pause()
        source.beginState(packed: welcome.understands(Welcome.packedState))
    }

    private func handOver() throws(MigrationError) {
        let channel = channels[0]
        let time = patience.handover
        try channel.send(.state, try source.state(), within: time, heeding: heeded)
        _ = try expect(.ready, within: time)
        // From here on the disks and interfaces may be the destination's; they come back before the guest goes on.
        try step(.ready)
        try source.release()
        try channel.send(.release, within: time, heeding: heeded)
        _ = try expect(.prepared, within: time)
        if let asked = stop.asked { throw asked }
        // Before the first byte: whatever fails from here on may have arrived.
        try step(.prepared)
        try channel.send(.commit, within: time)
        _ = try expect(.committed, within: time)
        try step(.acknowledged)
        let downtime = (HostClock.monotonic &- stoppedAt) / 1_000_000
        progress.update { $0.downtime = downtime }
        if options.isPostcopy { return }
        close()
        source.end()
    }

    func close() {
        for channel in channels { channel.connection.shutDown() }
    }

    // MARK: Failing

    private func fail(_ error: MigrationError) -> SenderOutcome {
        let before = machine.state
        // Every state that is not over takes these two.
        try? step(error.kind == .refused ? .refused : .failed)
        progress.update { $0.problem = error.description }
        if machine.state == .unresolved {
            close()
            return .unresolved(error)
        }
        if error.kind != .refused, let channel = channels.first {
            let words = Array(error.description.utf8.prefix(60_000))
            try? channel.send(.abort, words, within: 500)
        }
        close()
        source.throttle(0)
        source.endLogging()
        source.mirror?.end()
        var stuck: MigrationError?
        switch before {
        case .connecting, .greeting, .copying: break
        case .stopped: stuck = attempt { () throws(MigrationError) in try source.resume() }
        case .released, .committing: stuck = getBack()
        case .serving, .reconnecting, .stranded, .moved, .returned, .unresolved: break
        }
        if let stuck { progress.update { $0.problem = "\(error); \(stuck)" } }
        return .returned(error, stuck: stuck)
    }

    private func attempt(_ body: () throws(MigrationError) -> Void) -> MigrationError? {
        do throws(MigrationError) {
            try body()
            return nil
        } catch { return error }
    }

    /// Takes the disks and interfaces again, for which a destination that failed may need its time, and goes on.
    private func getBack() -> MigrationError? {
        let deadline = HostClock.monotonic + UInt64(patience.takeBack) * 1_000_000
        while let problem = attempt({ () throws(MigrationError) in try source.takeBack() }) {
            guard HostClock.monotonic < deadline, !stop.ending.isPending else { return problem }
            HostClock.sleep(milliseconds: 20)
        }
        return attempt { () throws(MigrationError) in try source.resume() }
    }

    /// Prefers what the peer said before the connection ended to the connection's end.
    private func withFarewell(_ error: MigrationError) -> MigrationError {
        guard error.kind == .connection, let channel = channels.first, channel.hasInput,
            let frame = try? channel.receive(within: 500), frame.kind == .refusal
        else { return error }
        return refusal(frame)
    }

    /// What the destination said of a machine that it does not take, or not any more.
    private func refusal(_ frame: Frame) -> MigrationError {
        let reasons = JSONBytes.reasons(frame.payload)
        // What is wrong with the machine is plain; what happened there could be taken for what happened here.
        return MigrationError(
            .refused, machine.state == .greeting ? reasons : reasons.map { "the destination gave up: \($0)" })
    }
}
