import Host
import Snapshot
import Synchronization

/// The destination of a machine whose memory follows it.
extension MigrationReceiver {
    /// How long a caller may take to say who it is, in ms.
    private static let greeting = 3000

    /// Takes the list of the pages that will come: from now on they are asked for when they are touched.
    func takeMap(_ payload: [UInt8]) throws(MigrationError) {
        guard hello?.postcopy != nil, let sink = sink.postcopy, let target = sink.target else {
            throw .violation("a list of pages came where none was to come")
        }
        let missing = try PageList(payload, target.regions)
        let pager = try PostcopyPager(target, missing: missing) { sink.paged($0) }
        self.pager = pager
        sink.take(pager)
        progress.update { $0.remainingBytes = missing.size }
        let line = try PostcopyLine(channels[0], pager, progress, stop, patience, isCommitted: false)
        self.line = line
        try step(.mapCame)
        try line.begin()
    }

    /// What the thread that starts the guest and this one share.
    private final class Start: Sendable {
        let problem = Mutex<MigrationError?>(nil)
    }

    /// The machine is ours: it goes on while its memory comes, however often the connection is lost meanwhile.
    func fill() -> ReceiverOutcome {
        guard let pager, let line else { return .arrived(nil) }
        let start = Start()
        let (sink, patience, progress) = (sink, patience, progress)
        let body: @Sendable () -> Void = {
            do throws(MigrationError) { try sink.start() } catch {
                start.problem.withLock { $0 = error }
                progress.update { $0.problem = error.description }
            }
            // A source that does not hear it asks for it when it comes back.
            try? line.send(.committed, within: patience.handover)
        }
        // It may have to wait for pages, which this thread sees to.
        let starter = try? Thread("starter", body)
        if starter == nil { body() }
        var watch = Watch(reconnect: UInt64(hello?.postcopy?.reconnect ?? 60_000))
        while pager.over == nil, !stop.ending.isPending {
            wait(pager, watch.lostAt == nil ? line : nil)
            attendLine(&watch)
            if !machine.isOver, self.isCalled { rejoin(pager, &watch) }
        }
        // Its word comes before the last one.
        starter?.join()
        finish(pager, &watch)
        self.line?.end()
        return pager.over == .complete ? .arrived(start.problem.withLock { $0 }) : .ended
    }

    /// What is known of the connection.
    private struct Watch {
        /// ms in which it has to be there again.
        let reconnect: UInt64
        /// When it was lost, in ns of the monotonic clock; nil while it is there.
        var lostAt: UInt64?
        var isHeld = false
        /// Why it was lost.
        var reason = ""
    }

    private func wait(_ pager: PostcopyPager, _ line: PostcopyLine?) {
        var entries = [
            PollEntry(pager.overEvent.raw, forReading: true), PollEntry(stop.ending.raw, forReading: true),
            PollEntry(listener.raw, forReading: true),
        ]
        if let line { entries.append(PollEntry(line.news.raw, forReading: true)) }
        PollEntry.wait(&entries, timeout: 50)
    }

    private var isCalled: Bool { PollEntry.isReadable(listener.raw, within: 0) }

    /// Sees to the stream, and to the guest where there is none.
    private func attendLine(_ watch: inout Watch) {
        guard let line else { return }
        if watch.lostAt == nil {
            if let frame = line.take() {
                line.fail(.violation("\(frame.kind) came while the destination was \(machine.name)"))
            } else if line.silence > patience.silence {
                line.fail(MigrationError(.connection, "nothing came for \(line.silence) ms"))
            }
            guard let failure = line.failure else { return }
            try? step(.failed)
            watch.lostAt = HostClock.monotonic
            watch.reason = failure.description
            let bytes = pager?.missingBytes ?? 0
            let problem =
                "\(Self.size(bytes)) of the guest's memory are at its source, and the connection is lost: \(failure)"
            report(problem)
            progress.update { $0.problem = problem }
        }
        guard let lostAt = watch.lostAt else { return }
        let gone = (HostClock.monotonic &- lostAt) / 1_000_000
        if !watch.isHeld, gone >= UInt64(patience.hold) {
            watch.isHeld = true
            sink.postcopy?.hold(watch.reason)
        }
        if machine.state == .cutOff, gone >= watch.reconnect { starve(watch) }
    }

    private func starve(_ watch: Watch) {
        try? step(.timeUp)
        let error = MigrationError(
            .connection,
            [
                "\(Self.size(pager?.missingBytes ?? 0)) of the guest's memory are still at its source, which has not come "
                    + "back for \(watch.reconnect) ms: \(watch.reason)",
                "the guest is here, stands still, and is kept: it goes on when the source reconnects to "
                    + "\(listener.address) (vm.migration.resolve there, reconnect); if the source is gone, so are those "
                    + "pages, and vm.migration.resolve here, discard, drops the guest",
            ])
        progress.update { $0.problem = error.description }
        onStarved(error)
    }

    private static func size(_ bytes: UInt64) -> String { "\((bytes + 1023) >> 10) KiB" }

    /// Hears who calls: the source, which goes on from where it stood, or somebody else, who is turned away.
    private func rejoin(_ pager: PostcopyPager, _ watch: inout Watch) {
        guard let channel = callFromSource() else { return }
        line?.end()
        do throws(MigrationError) {
            if hello?.compression != nil { try channel.unpackPages() }
            let line = try PostcopyLine(channel, pager, progress, stop, patience, isCommitted: true)
            try channel.send(.standing, pager.standing, within: patience.frame)
            channels = [channel]
            try step(.rejoined)
            self.line = line
            try line.begin()
            watch.lostAt = nil
            progress.update { $0.problem = nil }
            report("the source is back: \(Self.size(pager.missingBytes)) of the guest's memory are to come")
            if watch.isHeld { sink.postcopy?.letGo() }
            watch.isHeld = false
        } catch {
            // The next time, then.
            channel.connection.shutDown()
            line?.fail(error)
            if watch.lostAt == nil {
                try? step(.failed)
                (watch.lostAt, watch.reason) = (HostClock.monotonic, error.description)
            }
        }
    }

    /// Whoever calls, if it is this migration's source.
    private func callFromSource() -> FrameChannel? {
        guard let connection = try? listener.accept(within: 0, heeding: stop.ending),
            var channel = try? FrameChannel(connection)
        else { return nil }
        do throws(MigrationError) {
            channel = try secured(connection, within: min(patience.connect, Self.greeting), heeding: stop.ending)
            let frame = try channel.receive(
                within: min(patience.connect, Self.greeting), heeding: stop.ending)
            guard frame.kind == .rejoin else {
                throw MigrationError(.refused, "a machine is here already, and its memory is on its way")
            }
            let call: Rejoin = try JSONBytes.decode(frame.payload, "the source's call")
            guard call.token == hello?.token else { throw .violation("the call is of another migration") }
            return channel
        } catch {
            report("a connection for a migration was turned away: \(error)")
            try? channel.send(.refusal, JSONBytes.encode(error.reasons), within: 500)
            channel.connection.drain(milliseconds: 100)
            return nil
        }
    }

    // MARK: The end

    /// All is there, or the guest is over: the source is told, until it has heard that.
    private func finish(_ pager: PostcopyPager, _ watch: inout Watch) {
        let isAll = pager.over == .complete
        try? step(isAll ? .filled : .ended)
        progress.update { report in
            report.remainingBytes = 0
            if isAll, machine.isOver { report.problem = nil }
        }
        if watch.isHeld, isAll { sink.postcopy?.letGo() }
        let deadline = HostClock.monotonic &+ UInt64(patience.farewell) &* 1_000_000
        var isSaid = watch.lostAt == nil && (try? line?.send(.complete, within: patience.handover)) != nil
        while HostClock.monotonic < deadline {
            if isSaid, let line {
                if line.take()?.kind == .farewell { return }
                if line.failure != nil { isSaid = false }
            }
            if isCalled, let channel = callFromSource() {
                line?.end()
                guard let next = try? PostcopyLine(channel, pager, progress, stop, patience, isCommitted: true),
                    (try? next.send(.complete, within: patience.handover)) != nil, (try? next.begin()) != nil
                else { continue }
                (line, isSaid) = (next, true)
            }
            if stop.ending.isPending, !isSaid { return }
            var entries = [PollEntry(listener.raw, forReading: true)]
            if isSaid, let line { entries.append(PollEntry(line.news.raw, forReading: true)) }
            PollEntry.wait(&entries, timeout: 50)
        }
    }
}

/// What a source says that comes back.
struct Rejoin: Codable, Equatable {
    var token: String
}
