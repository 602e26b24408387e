import Host
import Synchronization

/// The stream on which a machine's pages come, at its destination: a thread takes them as they come, whatever else the
/// destination is busy with, and keeps the other frames for it.
final class PostcopyLine: Sendable {
    private struct State {
        var frames: [Frame] = []
        var failure: MigrationError?
        /// Whether a lost connection is no reason any more to let go of who waits for a page.
        var isCommitted: Bool
        /// Whether the commit may come.
        var isPrepared = false
        var isOver = false
        /// When something came last, in ns of the monotonic clock.
        var heardAt = HostClock.monotonic
        var got: UInt64 = 0
    }

    let channel: FrameChannel
    private let pager: PostcopyPager
    private let progress: MigrationProgress
    private let stop: MigrationStop
    private let patience: MigrationPatience
    private let state: Mutex<State>
    private let sending = Mutex(())
    private let thread = Mutex<Thread?>(nil)
    /// Above zero when frames or a failure may wait.
    let news: EventFD

    /// - Parameter isCommitted: whether the machine is the destination's already.
    init(
        _ channel: FrameChannel, _ pager: PostcopyPager, _ progress: MigrationProgress, _ stop: MigrationStop,
        _ patience: MigrationPatience, isCommitted: Bool
    ) throws(MigrationError) {
        (self.channel, self.pager, self.progress) = (channel, pager, progress)
        (self.stop, self.patience) = (stop, patience)
        state = Mutex(State(isCommitted: isCommitted))
        do throws(HostError) { news = try EventFD() } catch { throw MigrationError(.machine, "\(error)") }
    }

    /// Begins to take frames, and asks for the pages that are waited for.
    func begin() throws(MigrationError) {
        do throws(HostError) {
            let reader = try Thread("migrate") { [self] in
                // The guest waits for pages.
                Turns.short.take()
                read()
            }
            thread.withLock { $0 = reader }
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
        pager.attach { [weak self] entry in self?.ask(entry) }
    }

    /// What ended it; nil while nothing did.
    var failure: MigrationError? { state.withLock { $0.failure } }

    /// How long nothing has come, in ms.
    var silence: Int { state.withLock { Int(clamping: (HostClock.monotonic &- $0.heardAt) / 1_000_000) } }

    /// Says that the machine stands here: the commit may come.
    func sendPrepared(within milliseconds: Int) throws(MigrationError) {
        state.withLock { $0.isPrepared = true }
        if let failure { throw failure }
        try send(.prepared, within: milliseconds)
    }

    /// Sends a frame, from any thread.
    func send(_ kind: FrameKind, _ payload: [UInt8] = [], within milliseconds: Int) throws(MigrationError) {
        let error = sending.withLock { _ -> MigrationError? in
            do throws(MigrationError) {
                try channel.send(kind, payload, within: milliseconds)
                return nil
            } catch { return error }
        }
        if let error { throw error }
    }

    private func ask(_ entry: [UInt8]) {
        // The reader notices what ends the stream.
        do throws(MigrationError) { try send(.want, entry, within: patience.frame) } catch {
            channel.connection.shutDown()
        }
    }

    /// The next frame that is none of pages; nil where none has come.
    func take() -> Frame? {
        news.drain()
        return state.withLock { $0.frames.isEmpty ? nil : $0.frames.removeFirst() }
    }

    /// Waits for a frame that is none of pages.
    func next(within milliseconds: Int) throws(MigrationError) -> Frame {
        let deadline = HostClock.monotonic &+ UInt64(milliseconds) &* 1_000_000
        while true {
            if let frame = take() { return frame }
            if let failure { throw failure }
            if let asked = stop.asked { throw asked }
            guard HostClock.monotonic < deadline else {
                throw MigrationError(.connection, "waiting for a frame: \(StreamFault.timeUp)")
            }
            var entries = [PollEntry(news.raw, forReading: true), PollEntry(stop.event.raw, forReading: true)]
            PollEntry.wait(&entries, timeout: 100)
        }
    }

    /// Ends it for a reason.
    func fail(_ error: MigrationError) {
        note(error)
        channel.connection.shutDown()
    }

    /// Ends it and waits for the thread.
    ///
    /// - Parameter keepingStream: whether something is still to be said on the stream; the end was asked for then.
    func end(keepingStream: Bool = false) {
        pager.attach(nil)
        let isCommitted = state.withLock { state in
            state.isOver = true
            return state.isCommitted
        }
        // Before the commit the thread heeds the wish for the end, which there is then.
        if !keepingStream || isCommitted { channel.connection.shutDown() }
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }

    private func note(_ error: MigrationError) {
        let letsGo = state.withLock { state in
            guard !state.isOver, state.failure == nil else { return false }
            state.failure = error
            return !state.isCommitted
        }
        // The machine is the source's, which goes on there: whoever builds it here must not wait for its pages.
        if letsGo { pager.release(.stopped) }
        news.signal()
    }

    private func read() {
        do throws(MigrationError) {
            while true {
                let isCommitted = state.withLock { $0.isCommitted }
                let frame = try channel.receive(within: nil, heeding: isCommitted ? nil : stop.event)
                if frame.kind == .pages {
                    try put(frame)
                    continue
                }
                let isEarly = state.withLock { state in
                    if frame.kind == .commit { state.isCommitted = state.isPrepared }
                    return frame.kind == .commit && !state.isPrepared
                }
                guard !isEarly else { throw .violation("the commit came before the machine stood here") }
                state.withLock { state in
                    state.heardAt = HostClock.monotonic
                    state.frames.append(frame)
                }
                news.signal()
                guard state.withLock({ $0.frames.count < 16 }) else {
                    throw .violation("frames came that nobody awaits")
                }
            }
        } catch { note(error) }
    }

    private func put(_ frame: Frame) throws(MigrationError) {
        try pager.put(PagesHead(frame.payload), channel.pages, dataBytes: frame.pageBytes)
        progress.count(frame)
        let left = pager.missingBytes
        progress.update { $0.remainingBytes = left }
        let got = state.withLock { state in
            state.heardAt = HostClock.monotonic
            state.got += 1
            return state.got
        }
        var bytes: [UInt8] = []
        LittleEndian.append(got, 8, to: &bytes)
        try send(.got, bytes, within: patience.frame)
    }
}
