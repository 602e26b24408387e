import Host
import Spec
import Synchronization

/// The monitor's thread: passes events on to the file and the subscribers.
final class EventOutputs: Sendable {
    private struct Listener {
        let subscriber: any EventSubscriber
        /// The last event that it knows.
        let after: UInt64
    }

    private struct State: ~Copyable {
        var file: EventFile?
        var fileFailed = false
        var listeners: [Listener] = []
        /// When the listeners heard something last, in ns of the monotonic clock.
        var lastSound = HostClock.monotonic
    }

    private let queue: EventQueue
    private let silence: UInt64
    private let report: @Sendable (String) -> Void
    /// The mutex hands the file over to the thread, which holds it for its whole life; it arbitrates nothing.
    private let state = Mutex(State())

    /// - Parameter silence: ms between two heartbeats.
    init(_ queue: EventQueue, silence: UInt64, report: @escaping @Sendable (String) -> Void) {
        (self.queue, self.silence, self.report) = (queue, silence, report)
    }

    /// Gives the thread its file, before it starts.
    func take(_ file: inout EventFile?) {
        state.withLock { state in swap(&state.file, &file) }
    }

    /// Passes events on until the end.
    func run() {
        state.withLock { state in
            while true {
                let news = queue.take()
                // Newcomers first: the events may be younger than their subscription.
                for newcomer in news.newcomers { welcome(newcomer, &state) }
                for event in news.events { pass(event, &state) }
                if news.isOver { return }
                wait(&state)
            }
        }
    }

    private func pass(_ event: EventRecord, _ state: inout State) {
        write(event, &state)
        state.listeners.removeAll { event.number > $0.after && !$0.subscriber.take(event) }
        state.lastSound = HostClock.monotonic
    }

    private func welcome(_ newcomer: EventQueue.Newcomer, _ state: inout State) {
        guard newcomer.past.allSatisfy({ newcomer.subscriber.take($0) }) else { return }
        if state.listeners.isEmpty { state.lastSound = HostClock.monotonic }
        state.listeners.append(Listener(subscriber: newcomer.subscriber, after: newcomer.after))
    }

    /// Waits for news, or until the listeners need a sign of life.
    private func wait(_ state: inout State) {
        var timeout: Int32 = -1
        if !state.listeners.isEmpty {
            let passed = (HostClock.monotonic &- state.lastSound) / 1_000_000
            if passed >= silence {
                state.listeners.removeAll { !$0.subscriber.nothingHappened() }
                state.lastSound = HostClock.monotonic
                timeout = Int32(clamping: silence)
            } else {
                timeout = Int32(clamping: silence - passed + 1)
            }
        }
        var entries = [PollEntry(queue.wake.raw, forReading: true)]
        PollEntry.wait(&entries, timeout: timeout)
    }

    private func write(_ event: EventRecord, _ state: inout State) {
        do throws(Errno) {
            let text = Array((event.json.text(.indented) + "\n\n").utf8)
            if try state.file?.write(text) == false { queue.noteDrop() }
        } catch {
            queue.noteDrop()
            guard !state.fileFailed else { return }
            state.fileFailed = true
            report("the event monitor's file cannot be written: \(error); events are lost there until it can be")
        }
    }
}
