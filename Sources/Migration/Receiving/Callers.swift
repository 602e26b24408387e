import Host

/// Those who have connected to a listener: who says nothing keeps nobody waiting who does.
struct Callers {
    /// How many may be silent at once; the one that has been for longest makes room.
    static let limit = 64

    private let listener: StreamListener
    /// How long one may say nothing, in ms.
    private let patience: Int
    /// Hears of those that were turned away.
    private let report: (String) -> Void
    private var silent: [(connection: StreamConnection, until: UInt64)] = []

    init(_ listener: StreamListener, patience: Int, report: @escaping (String) -> Void) {
        (self.listener, self.patience, self.report) = (listener, patience, report)
    }

    /// Waits for one that says something, or has hung up.
    ///
    /// - Parameters:
    ///   - milliseconds: how long at most; nil for ever.
    ///   - stop: ends the waiting while its counter is above zero.
    ///   - first: the stream that others are to come for, whose end ends it; nil for none.
    mutating func next(
        within milliseconds: Int?, heeding stop: EventFD, besides first: (any ByteStream)? = nil
    ) throws(MigrationError) -> StreamConnection {
        let time = TimeLeft(milliseconds)
        while true {
            dropTheSilent()
            if let index = silent.firstIndex(where: { $0.connection.hasInput }) {
                return silent.remove(at: index).connection
            }
            var left = time.milliseconds
            if left == 0 { throw failed(.timeUp) }
            if let oldest = silent.first {
                let rest = Int((oldest.until &- min(HostClock.monotonic, oldest.until)) / 1_000_000) + 1
                left = min(left ?? rest, rest)
            }
            var entries = [PollEntry(listener.raw, forReading: true), PollEntry(stop.raw, forReading: true)]
            entries += silent.map { PollEntry($0.connection.raw, forReading: true) }
            if let first { entries.append(PollEntry(first.raw, forEnd: true)) }
            PollEntry.wait(&entries, timeout: left.map { Int32(clamping: $0) } ?? -1)
            if entries[1].isReadable { throw failed(.cancelled) }
            if first != nil, entries[entries.count - 1].isHungUp {
                throw MigrationError(.connection, "the peer ended it before all of its streams were here")
            }
            if entries[0].isReadable { try accept() }
        }
    }

    private mutating func accept() throws(MigrationError) {
        do throws(StreamFault) {
            let connection = try listener.accept(within: 0, heeding: nil)
            if silent.count >= Self.limit { turnAway("others called, and it had said nothing yet") }
            silent.append((connection, HostClock.monotonic &+ UInt64(patience) &* 1_000_000))
        } catch {
            // Whoever called may have gone again.
            if error != .timeUp { throw failed(error) }
        }
    }

    private mutating func dropTheSilent() {
        let now = HostClock.monotonic
        while let first = silent.first, first.until <= now { turnAway("it said nothing for \(patience) ms") }
    }

    private mutating func turnAway(_ why: String) {
        silent.removeFirst()
        report("a connection for a migration was turned away: \(why)")
    }

    private func failed(_ fault: StreamFault) -> MigrationError {
        MigrationError(fault: fault, "waiting for a connection at \(listener.address)")
    }
}
