import Host
import Synchronization

/// The further streams of a migration, each with a thread that puts its pages into the memory.
final class ReceivingStreams: Sendable {
    private struct State {
        /// The last round that each stream has ended.
        var ended: [Int]
        var failure: MigrationError?
        var isOver = false
    }

    private let channels: [FrameChannel]
    private let memory: ArrivingMemory
    private let disks: ArrivingDisks?
    private let progress: MigrationProgress
    private let stop: MigrationStop
    private let patience: MigrationPatience
    private let state: Mutex<State>
    private let news: EventFD
    private let threads = Mutex<[Thread]>([])

    init(
        _ channels: [FrameChannel], _ targets: (memory: ArrivingMemory, disks: ArrivingDisks?),
        _ progress: MigrationProgress, _ stop: MigrationStop, _ patience: MigrationPatience
    ) throws(MigrationError) {
        (self.channels, self.progress) = (channels, progress)
        (memory, disks) = targets
        (self.stop, self.patience) = (stop, patience)
        state = Mutex(State(ended: Array(repeating: 0, count: channels.count)))
        do throws(HostError) {
            news = try EventFD()
            var started: [Thread] = []
            for index in channels.indices {
                started.append(
                    try Thread("migrate\(index + 1)") { [self] in
                        Turns.long.take()
                        serve(index)
                    })
            }
            threads.withLock { $0 = started }
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }

    /// What ended a stream before its time; nil while nothing did.
    var failure: MigrationError? { state.withLock { $0.failure } }

    /// Waits until every stream has ended a round.
    func waitForAll(_ round: Int, within milliseconds: Int) throws(MigrationError) {
        let deadline = HostClock.monotonic + UInt64(milliseconds) * 1_000_000
        while true {
            let (isDone, failure) = state.withLock { ($0.ended.allSatisfy { $0 >= round }, $0.failure) }
            if let failure { throw failure }
            if isDone { return }
            if let asked = stop.asked { throw asked }
            guard HostClock.monotonic < deadline else {
                throw MigrationError(.connection, "a stream did not end round \(round) in time")
            }
            var entries = [PollEntry(news.raw, forReading: true), PollEntry(stop.event.raw, forReading: true)]
            PollEntry.wait(&entries, timeout: 100)
            news.drain()
        }
    }

    /// Ends the streams and waits for their threads.
    func end() {
        state.withLock { $0.isOver = true }
        for channel in channels { channel.connection.shutDown() }
        let all = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in all { thread.join() }
    }

    private func serve(_ index: Int) {
        let channel = channels[index]
        do throws(MigrationError) {
            while true {
                // As long as the first stream has work these may have none; it has the deadline.
                let frame = try channel.receive(within: nil, heeding: stop.event, into: memory)
                switch frame.kind {
                case .pages: progress.count(frame)
                case .diskData, .diskZeroes: try disks.put(frame, channel, progress)
                case .roundEnd:
                    let round = LittleEndian.number(frame.payload + [0, 0, 0, 0], 0, 4)
                    state.withLock { $0.ended[index] = max($0.ended[index], Int(round)) }
                    news.signal()
                default: throw .violation("\(frame.kind) came on stream \(index + 1)")
                }
            }
        } catch {
            let isNew = state.withLock { state in
                guard !state.isOver, state.failure == nil else { return false }
                state.failure = error
                return true
            }
            news.signal()
            // Wakes the thread of the first stream, which says goodbye.
            if isNew, error.kind != .cancelled { stop.ask(error) }
        }
    }
}
