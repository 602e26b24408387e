import Host

extension GuestMemory {
    /// The regions with their first guest-physical addresses as ranges of this process, to be saved and filled as a
    /// whole; in use no longer than this object.
    package var hostRanges: [(address: UInt64, host: HostRange)] {
        ranges.enumerated().compactMap { index, range in
            // SAFETY: each region's whole size is mapped as long as this object lives, which the caller upholds.
            unsafe HostRange(address: hostAddress(ofRegion: index), count: Int(range.size)).map { (range.address, $0) }
        }
    }
}
