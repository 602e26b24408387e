import Host
import Synchronization

/// A migration as it is at a moment, for whoever asks.
package struct MigrationReport: Equatable, Sendable {
    /// Which end of it is here.
    package enum Role: String, Equatable, Sendable { case source, destination }

    /// The end that is here.
    package let role: Role
    /// The migration's name, which both ends know; empty before they do.
    package var token: String
    /// Where the peer is.
    package let peer: String
    /// The state machine's state: `copying`, `unresolved`, ….
    package var state: String
    /// Whose the machine is, as far as this end knows.
    package var owner = "source"
    /// Whether it is over.
    package var isOver = false
    /// Whether the memory follows the machine.
    package var isPostcopy = false
    /// Whether pages are compressed on their way.
    package var isCompressed = false
    /// Why it is over without having worked, or what is wrong with it.
    package var problem: String?
    /// The round of memory at hand, from 1; 0 before the first.
    package var round = 0
    /// Bytes of the guest's RAM.
    package var totalBytes: UInt64 = 0
    /// Bytes that went over, compressed ones as such, and pages of them; pages that hold zeroes go as a bit or not at all.
    package var bytes: UInt64 = 0, pages: UInt64 = 0, zeroPages: UInt64 = 0
    /// Bytes of pages that are still to go in this round or, between rounds, were written since.
    package var remainingBytes: UInt64 = 0
    /// How far the disks are that come along; nil where none do.
    package var disks: DiskReport?
    /// Bytes a second that went over in the last round, as they are in memory, and that the guest wrote meanwhile.
    package var rate: UInt64 = 0, dirtyRate: UInt64 = 0
    /// ms: how long the guest is expected to stand still, and how long it did.
    package var expectedDowntime: UInt64?, downtime: UInt64?
    /// How much the vCPUs are held back, in per cent.
    package var throttle = 0
    /// When it began, in ns of the monotonic clock, and for how many ns it has gone on.
    package let start: UInt64
    package var elapsed: UInt64 = 0

    /// How far disks are that are copied.
    package struct DiskReport: Equatable, Sendable {
        /// Bytes of the images that are no holes, when the migration began.
        package var total: UInt64
        /// Bytes that went over, and bytes of blocks that are still to go in this round or, between rounds, were written
        /// since.
        package var sent: UInt64 = 0, remaining: UInt64 = 0

        init(_ disks: [MirroredDisk]) { total = disks.reduce(0) { $0 &+ $1.dataBytes } }
    }

    package init(_ role: Role, token: String, peer: String, state: String) {
        (self.role, self.token, self.peer, self.state) = (role, token, peer, state)
        start = HostClock.monotonic
    }
}

/// How far a migration is: written by its threads, read by any.
package final class MigrationProgress: Sendable {
    private let report: Mutex<MigrationReport>

    package init(_ report: MigrationReport) { self.report = Mutex(report) }

    /// The migration now.
    package var now: MigrationReport {
        report.withLock { report in
            var copy = report
            if !copy.isOver { copy.elapsed = HostClock.monotonic &- copy.start }
            return copy
        }
    }

    package func update(_ body: (inout MigrationReport) -> Void) {
        report.withLock { report in
            let wasOver = report.isOver
            body(&report)
            if report.isOver, !wasOver { report.elapsed = HostClock.monotonic &- report.start }
        }
    }
}

/// The wish that a migration ends, from any thread; and what wakes its threads.
package final class MigrationStop: Sendable {
    package let event: EventFD
    /// Above zero when the process ends, which even what cannot be called off any more has to heed.
    package let ending: EventFD
    private let reason = Mutex<MigrationError?>(nil)

    package init() throws(HostError) { (event, ending) = (try EventFD(), try EventFD()) }

    /// The process ends.
    package func end() {
        ending.signal()
        ask(MigrationError(.cancelled, "the VMM is ending"))
    }

    /// Asks for the end; the first reason counts.
    package func ask(_ error: MigrationError) {
        reason.withLock { if $0 == nil { $0 = error } }
        event.signal()
    }

    /// Why the end was asked for; nil while it was not.
    package var asked: MigrationError? { reason.withLock { $0 } }

    /// The error that something ended with: the wish's own where that is what ended it.
    func explain(_ error: MigrationError) -> MigrationError { asked ?? error }
}

/// How long each end waits for the other, in ms.
package struct MigrationPatience: Equatable, Sendable {
    /// For a connection.
    package var connect = 10_000
    /// For one frame, or for its answer, while the guest runs.
    package var frame = 30_000
    /// For the source to look at memory or disks while nothing need go over: well below `frame`.
    package var breath = 5000
    /// For one answer while the guest stands still.
    package var handover = 15_000
    /// For the source to get its disks and interfaces back from a destination that failed: as long as one may keep them
    /// that does not hear of it, and waits for the commit.
    package var takeBack = 60_000
    /// For the destination to look at what comes, and to ask its hook, which may take a minute.
    package var welcome = 90_000
    /// For the destination to wait for the commit.
    package var commit = 30_000
    /// For anything to come while pages follow a machine.
    package var silence = 10_000
    /// For the guest to run on after the connection was lost on which its pages come.
    package var hold = 1000
    /// For the source to say farewell.
    package var farewell = 5000

    package init() {}

    /// Whether nothing has gone over since a time, in ns of the monotonic clock, for so long that something is to be said.
    func isBreathDue(since last: UInt64, at now: UInt64 = HostClock.monotonic) -> Bool {
        now &- last >= UInt64(breath) &* 1_000_000
    }

    /// The same for everything that one end waits for the other.
    package init(all milliseconds: Int) {
        (connect, frame, handover) = (milliseconds, milliseconds, milliseconds)
        (takeBack, commit, welcome) = (milliseconds, milliseconds, milliseconds)
        (silence, farewell) = (milliseconds, milliseconds)
    }
}
