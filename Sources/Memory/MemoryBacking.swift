/// Where guest memory comes from on the host.
package struct MemoryBacking: Equatable, Sendable {
    /// A shared memfd that other processes can map, instead of private anonymous memory.
    package var shared = false
    /// Bytes of the explicit huge pages that it is made of; nil for the base page size.
    package var hugePageSize: UInt64?
    /// Whether every page is allocated before the guest starts.
    package var prefault = false
    /// Whether the host may merge pages with equal content (`MADV_MERGEABLE`).
    package var mergeable = false
    /// Whether the host may use transparent huge pages.
    package var transparentHugePages = true

    /// A memfd that somebody else made and filled, as large as the memory, in place of a new one; whoever sets it keeps it
    /// open meanwhile.
    package var adopted: Int32?

    package init() {}
}

/// A range of guest-physical addresses that is RAM.
package struct MemoryRange: Equatable, Sendable {
    /// The first guest-physical address.
    package let address: UInt64
    /// Its length in bytes.
    package let size: UInt64
    /// The first address behind the range.
    package var end: UInt64 { address + size }

    package init(address: UInt64, size: UInt64) {
        self.address = address
        self.size = size
    }
}
