import Host
import Synchronization

/// What the VM asks of a vCPU's thread between two entries into the guest.
final class VCPUErrands: Sendable {
    struct Errand: OptionSet {
        let rawValue: UInt8
        /// Stand still until told otherwise.
        static let park = Errand(rawValue: 1)
        /// Raise a non-maskable interrupt.
        static let nmi = Errand(rawValue: 2)
        /// Rest for a while.
        static let rest = Errand(rawValue: 4)
    }

    private let wanted = Atomic<UInt8>(0)
    private let parked = Atomic<Bool>(false)
    private let event: EventFD
    /// How long the next rest is, in us; relaxed, since the errand that is added afterwards orders it.
    let rest = Atomic<Int>(0)

    init() throws(HostError) { event = try EventFD() }

    /// Whether something is asked. Ordering: whoever asks kicks the thread afterwards, which looks again then.
    @inline(__always)
    var isPending: Bool { wanted.load(ordering: .acquiring) != 0 }

    func add(_ errand: Errand) { wanted.bitwiseOr(errand.rawValue, ordering: .releasing) }

    func has(_ errand: Errand) -> Bool { wanted.load(ordering: .acquiring) & errand.rawValue != 0 }

    /// Takes an errand; false when it is not asked.
    func take(_ errand: Errand) -> Bool {
        wanted.bitwiseAnd(~errand.rawValue, ordering: .acquiringAndReleasing).oldValue & errand.rawValue != 0
    }

    // MARK: Standing still

    /// Whether the thread stands still. Ordering: what it did before is visible to who sees this.
    var isParked: Bool { parked.load(ordering: .acquiring) }

    /// Has the thread look again at why it waits.
    func wake() { event.signal() }

    /// Ends the standing still, or the wish for it.
    func unpark() {
        _ = take(.park)
        event.signal()
    }

    /// Waits on the calling thread as long as it is to be parked and `condition` holds.
    func park(while condition: () -> Bool) {
        parked.store(true, ordering: .releasing)
        while has(.park), condition() {
            var entries = [PollEntry(event.raw, forReading: true)]
            PollEntry.wait(&entries)
            event.drain()
        }
        parked.store(false, ordering: .releasing)
    }
}
