import Host
import Memory
import Synchronization

/// How much memory the guest and its devices write, measured between two looks at KVM's dirty log.
///
/// While KVM logs, it maps the guest's memory in small pages and takes a fault at the first write to each page after a
/// look, so it logs only while somebody asks.
final class DirtyMeter: Sendable {
    /// What was measured.
    struct Reading: Equatable, Sendable {
        /// Bytes of the pages that were written, each counted once a look.
        var bytes: UInt64 = 0
        /// The same a second, between the last two looks; nil before the second one.
        var bytesPerSecond: UInt64?
    }

    private struct State {
        var reading = Reading()
        var lookedAt: UInt64
    }

    private let state = Mutex<State?>(nil)

    /// What was measured; nil while nothing is.
    var reading: Reading? { state.withLock { $0?.reading } }

    /// Notes the start.
    func begin() { state.withLock { $0 = State(lookedAt: HostClock.monotonic) } }
    /// Forgets what was measured.
    func end() { state.withLock { $0 = nil } }

    /// Notes the pages that were written since the look before.
    func add(pages: UInt64) {
        state.withLock { state in
            guard var next = state else { return }
            let now = HostClock.monotonic
            let bytes = pages &* GuestMemory.pageSize
            let passed = max(now &- next.lookedAt, 1)
            next.lookedAt = now
            next.reading.bytes &+= bytes
            next.reading.bytesPerSecond = UInt64(Double(bytes) * 1e9 / Double(passed))
            state = next
        }
    }
}
