import Snapshot
import Synchronization

/// What a snapshot keeps of a network device beside its queues.
package struct NetState: SavedState {
    package static let kind = "virtio-net"
    package static let version = 1

    /// How many pairs of queues the driver asked for.
    package var pairs: Int
}

/// How many pairs of queues a driver asked for (VIRTIO_NET_CTRL_MQ, virtio 1.2 section 5.1.6.5.5).
final class ActivePairs: Sendable {
    private let number = Atomic<Int>(1)
    /// Whether the driver is to announce itself to the network, and has not said yet that it has
    /// (VIRTIO_NET_S_ANNOUNCE, 5.1.6.5.4). Ordering: relaxed; the interrupt that tells of it orders it.
    private let announcing = Atomic<Bool>(false)

    var isAnnouncing: Bool {
        get { announcing.load(ordering: .relaxed) }
        set { announcing.store(newValue, ordering: .relaxed) }
    }

    /// One until it asks. Ordering: relaxed; stopping and starting the workers orders it.
    var count: Int {
        get { number.load(ordering: .relaxed) }
        set { number.store(newValue, ordering: .relaxed) }
    }
}
