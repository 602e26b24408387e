import Snapshot

/// What a snapshot keeps of a disk, whose requests are all done: what the guest takes it for.
package struct BlockState: SavedState {
    package static let kind = "virtio-block"
    package static let version = 1

    /// Bytes.
    package var size: UInt64
    /// Whether the guest may only read it.
    package var isReadOnly: Bool
}
