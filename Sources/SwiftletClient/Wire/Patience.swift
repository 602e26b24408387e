package import Host

/// How long a thread waits for its peer, and what may end its waiting.
package struct Patience: Sendable {
    /// How a wait ended.
    enum Outcome { case ready, expired, interrupted }

    /// When to give up, in nanoseconds of the monotonic clock; nil never does.
    private let deadline: UInt64?
    /// Signalled by another thread that wants the waiting to end.
    private let interrupt: EventFD?

    /// - Parameters:
    ///   - limit: from now on; nil for ever.
    ///   - interrupt: another thread signals it to end the waiting.
    package init(_ limit: Duration?, interrupt: EventFD? = nil) {
        deadline = limit.map { HostClock.monotonic &+ Self.nanoseconds($0) }
        self.interrupt = interrupt
    }

    private init(deadline: UInt64?, interrupt: EventFD?) { (self.deadline, self.interrupt) = (deadline, interrupt) }

    /// The same, with an end at most that far from now.
    func atMost(_ limit: Duration) -> Patience {
        let end = HostClock.monotonic &+ Self.nanoseconds(limit)
        return Patience(deadline: min(deadline ?? .max, end), interrupt: interrupt)
    }

    /// The same without an end.
    var endless: Patience { Patience(deadline: nil, interrupt: interrupt) }

    /// Whether the time is up.
    package var hasExpired: Bool { deadline.map { HostClock.monotonic >= $0 } ?? false }

    /// A duration that no clock overruns: negative ones are none, and 100 years are enough.
    private static func nanoseconds(_ duration: Duration) -> UInt64 {
        let seconds = min(max(duration.components.seconds, 0), 100 * 366 * 86400)
        let rest = max(duration.components.attoseconds, 0) / 1_000_000_000
        return UInt64(seconds) * 1_000_000_000 + UInt64(rest)
    }

    /// Waits until a descriptor is ready; without one only for the interruption and the end.
    func wait(for descriptor: Int32? = nil, reading: Bool = false, writing: Bool = false) -> Outcome {
        while true {
            var entries: [PollEntry] = []
            if let interrupt { entries.append(PollEntry(interrupt.raw, forReading: true)) }
            if let descriptor { entries.append(PollEntry(descriptor, forReading: reading, forWriting: writing)) }
            var timeout: Int32 = -1
            if let deadline {
                let now = HostClock.monotonic
                // Rounded up, so that the last millisecond is no busy loop.
                let left = now >= deadline ? 0 : (deadline - now + 999_999) / 1_000_000
                timeout = Int32(clamping: left)
            }
            PollEntry.wait(&entries, timeout: timeout)
            if interrupt != nil, entries[0].isReadable { return .interrupted }
            if descriptor != nil, let entry = entries.last, entry.isReadable || entry.isWritable || entry.isHungUp {
                return .ready
            }
            if let deadline, HostClock.monotonic >= deadline { return .expired }
        }
    }
}
