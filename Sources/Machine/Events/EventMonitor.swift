import Host
import Spec
import Synchronization

/// Hears of events; called on the monitor's thread, and must not block.
package protocol EventSubscriber: AnyObject, Sendable {
    /// An event; false ends the subscription.
    func take(_ event: EventRecord) -> Bool
    /// Nothing happened for the length of a heartbeat; false ends the subscription.
    func nothingHappened() -> Bool
}

/// Tells what happens to the VM: into a file for `--event-monitor`, and to those who subscribed.
///
/// Emitting waits for nobody: a thread of the monitor's own does the writing. It starts when somebody listens first.
package final class EventMonitor: Sendable {
    /// How many past events a new subscriber is told of.
    package static let replay = 64

    private let queue: EventQueue
    private let target: Mutex<EventFile?>
    private let thread = Mutex<Thread?>(nil)
    private let silence: UInt64
    private let report: @Sendable (String) -> Void

    /// - Parameters:
    ///   - target: where events are written; nil for nowhere.
    ///   - start: when the process started, in ns of the monotonic clock: events carry the time since then.
    ///   - silence: ms between two heartbeats of subscriptions.
    ///   - report: hears of trouble with the file, once.
    /// - Throws: `EventTargetError`, `HostError`.
    package init(
        _ target: EventTarget? = nil, start: UInt64 = HostClock.monotonic, silence: UInt64 = 15_000,
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws {
        queue = try EventQueue(start: start)
        (self.silence, self.report) = (silence, report)
        if let target {
            self.target = Mutex(try EventFile(target))
            try listen()
        } else {
            self.target = Mutex(nil)
        }
    }

    deinit { close() }

    /// Notes that something happened; from any thread, at once.
    package func emit(_ event: VMEvent, _ properties: [String: String] = [:]) {
        emit(source: event.source, event: event.name, properties: properties)
    }

    /// Notes that something happened; from any thread, at once.
    package func emit(source: String, event: String, properties: [String: String] = [:]) {
        queue.add(source, event, properties)
    }

    /// Tells the subscriber of the last `replay` events, and from then on of each as it comes, in order and once.
    ///
    /// - Throws: when the monitor's thread cannot be started.
    package func subscribe(_ subscriber: any EventSubscriber) throws(HostError) {
        try listen()
        queue.add(subscriber)
    }

    /// Events that did not get into the file because nobody emptied it or too many came at once.
    package var dropped: UInt64 { queue.dropped }

    /// Passes on what waits and ends the thread; later events reach nobody.
    package func close() {
        queue.stop()
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }

    /// Starts the thread, unless it runs or the monitor is closed.
    private func listen() throws(HostError) {
        let started = thread.withLock { thread -> Result<Void, HostError> in
            guard thread == nil, queue.listen() else { return .success(()) }
            var file = target.withLock { target in
                var file: EventFile?
                swap(&file, &target)
                return file
            }
            do throws(HostError) {
                let outputs = EventOutputs(queue, silence: silence, report: report)
                outputs.take(&file)
                thread = try Thread("event-monitor") { outputs.run() }
                return .success(())
            } catch { return .failure(error) }
        }
        try started.get()
    }
}

/// Events on their way from any thread to the monitor's, and the last ones for whom they are new.
final class EventQueue: Sendable {
    /// Events that wait at most: a guest can cause them faster than a disk writes them.
    static let limit = 1024

    struct Newcomer: Sendable {
        let subscriber: any EventSubscriber
        let past: [EventRecord]
        /// The number of the last event before the subscription.
        let after: UInt64
    }

    /// What came since it was asked last.
    struct News: Sendable {
        var events: [EventRecord] = []
        var newcomers: [Newcomer] = []
        var isOver = false
    }

    private struct State {
        var count: UInt64 = 0
        var dropped: UInt64 = 0
        var recent: [EventRecord] = []
        var news = News()
        var listening = false
    }

    private let state = Mutex(State())
    private let start: UInt64
    let wake: EventFD

    init(start: UInt64) throws(HostError) {
        self.start = start
        wake = try EventFD()
    }

    func add(_ source: String, _ event: String, _ properties: [String: String]) {
        let mustWake = state.withLock { state -> Bool in
            state.count += 1
            let now = HostClock.monotonic
            let record = EventRecord(
                number: state.count, time: now > start ? now - start : 0, source: source, event: event,
                properties: properties)
            if state.recent.count == EventMonitor.replay { state.recent.removeFirst() }
            state.recent.append(record)
            guard state.listening else { return false }
            guard state.news.events.count < Self.limit else {
                state.dropped += 1
                return false
            }
            state.news.events.append(record)
            return state.news.events.count == 1
        }
        if mustWake { wake.signal() }
    }

    func add(_ subscriber: any EventSubscriber) {
        state.withLock { state in
            state.news.newcomers.append(
                Newcomer(subscriber: subscriber, past: state.recent, after: state.count))
        }
        wake.signal()
    }

    var dropped: UInt64 { state.withLock { $0.dropped } }
    func noteDrop() { state.withLock { $0.dropped += 1 } }

    /// Keeps events for the thread from now on; false after the end.
    func listen() -> Bool {
        state.withLock { state in
            if !state.news.isOver { state.listening = true }
            return state.listening
        }
    }

    func stop() {
        state.withLock { state in (state.news.isOver, state.listening) = (true, false) }
        wake.signal()
    }

    /// Takes what came; the thread's end stays in it.
    func take() -> News {
        wake.drain()
        return state.withLock { state in
            defer { state.news = News(isOver: state.news.isOver) }
            return state.news
        }
    }
}
