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

    /// One until it asks. Ordering: relaxed; stopping and starting the workers orders it.
    var count: Int {
        get { number.load(ordering: .relaxed) }
        set { number.store(newValue, ordering: .relaxed) }
    }
}
