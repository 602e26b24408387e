import Host

/// What can be wrong with a range of guest memory.
package enum GuestMemoryError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The guest-physical range is not RAM, or not all of it.
    case outside(address: UInt64, length: UInt64)
    /// A file ended before it filled the range.
    case shortFile(path: String, wanted: Int, got: Int)
    /// The host could not provide or fill the memory.
    case host(HostError)
    /// The VM was to end while the memory was allocated ahead.
    case cancelled
    /// A region's size or place that cannot be.
    case badRegion(address: UInt64, size: UInt64)

    package var description: String {
        switch self {
        case .outside(let address, let length):
            "guest-physical range 0x\(String(address, radix: 16)) of \(length) bytes is not guest RAM"
        case .shortFile(let path, let wanted, let got):
            "\(path) ended early: \(wanted) bytes were wanted and \(got) read; is the file being changed?"
        case .host(let error): error.description
        case .cancelled: "the VM was to end while its memory was allocated ahead (memory.prefault)"
        case .badRegion(let address, let size):
            "no memory region of \(size) bytes can lie at 0x\(String(address, radix: 16))"
        }
    }
}
