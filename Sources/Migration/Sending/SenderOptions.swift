import Host
import Synchronization

/// How a machine is to be moved.
package struct SenderOptions: Sendable {
    /// What becomes of a migration whose time is up while the guest still writes faster than it can be sent.
    package enum TimeUp: Equatable, Sendable {
        /// It is called off.
        case cancel
        /// The guest is stopped, however long it has to stand still.
        case ignore
    }

    /// Where the destination listens.
    package var address: StreamAddress
    /// ms that the guest may stand still.
    package var downtime: UInt64 = 300
    /// ms until `timeUp` decides.
    package var timeout: UInt64 = 3_600_000
    package var timeUp = TimeUp.cancel
    /// Streams that share the memory.
    package var connections = 1
    /// Whether the memory goes as a descriptor.
    package var isLocal = false
    /// Whether the vCPUs may be held back where the guest writes faster than it can be sent.
    package var mayThrottle = true
    /// The most bytes a second; nil for what the line takes.
    package var bandwidth: UInt64?
    /// Whether pages are compressed where that makes them smaller; the memory alone.
    package var compresses = false
    /// What keeps the streams safe from others; nil for nothing.
    package var security: (any StreamSecurity)?
    package var patience = MigrationPatience()
    /// Whether the memory follows the machine.
    package var isPostcopy = false
    /// ms in which a postcopy migration's lost connection has to be there again.
    package var reconnect: UInt64 = 60_000

    package init(_ address: StreamAddress) { self.address = address }
}

/// What became of a machine that was to leave.
package enum SenderOutcome: Equatable, Sendable {
    /// It is the destination's.
    case moved
    /// It is here, and goes on as before; or, with a second error, stands still for want of what it needs.
    case returned(MigrationError, stuck: MigrationError? = nil)
    /// It stands still: whether the destination has it only a person can find out.
    case unresolved(MigrationError)
    /// It is the destination's, which cannot be reached any more and lacks pages that are here.
    case stranded(MigrationError)
}

/// Keeps the streams together below a number of bytes a second.
final class BandwidthLimit: Sendable {
    private let limit: UInt64
    /// When the bytes that were allowed so far have gone, in ns of the monotonic clock.
    private let free = Mutex<UInt64>(0)

    init(_ limit: UInt64) { self.limit = max(limit, 1) }

    /// Waits until so many bytes may go.
    func wait(for bytes: Int, heeding stop: EventFD) {
        let time = UInt64(clamping: bytes).multipliedReportingOverflow(by: 1_000_000_000)
        let cost = time.overflow ? 0 : time.partialValue / limit
        let start = free.withLock { free in
            let start = max(free, HostClock.monotonic)
            free = start &+ cost
            return start
        }
        while !stop.isPending {
            let now = HostClock.monotonic
            guard now < start else { return }
            HostClock.sleep(microseconds: Int(min((start - now) / 1000 + 1, 20_000)))
        }
    }
}
