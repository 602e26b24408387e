import CLinux

/// A range of mapped memory with one owner, unmapped when the owner goes.
@safe
package struct Mapping: ~Copyable, @unchecked Sendable {
    // Sendable: the address and length never change; what is done through the address is its user's matter.

    /// The range's first byte. SAFETY: `length` bytes are mapped there as long as this value lives.
    package let base: UnsafeMutableRawPointer
    /// Its length in bytes.
    package let length: Int

    /// How a mapping is backed.
    package enum Backing: Sendable {
        /// Private anonymous memory.
        case anonymous
        /// A file, memfd or device, shared with its other users.
        case shared(descriptor: Int32, offset: Int64)
        /// A file's contents, copied on write.
        case privateFile(descriptor: Int32, offset: Int64)
    }

    /// Maps memory for reading and writing, without reserving swap space for it. Huge pages are reserved: without that
    /// a page that is missing would only show itself as a fault.
    ///
    /// - Parameters:
    ///   - length: bytes, above zero.
    ///   - hugePageSize: bytes of the explicit huge pages that the memory is made of, or nil.
    ///   - mirrored: the address that the memory has elsewhere, if huge pages are to fit both there and here: the two
    ///     are equal in what is below `hugePage`. Nil takes any place.
    package init(
        length: Int, _ backing: Backing = .anonymous, hugePageSize: Int? = nil, mirrored: UInt64? = nil
    ) throws(HostError) {
        var flags = hugePageSize == nil ? MAP_NORESERVE : 0
        var descriptor: Int32 = -1
        var offset: Int64 = 0
        switch backing {
        case .anonymous:
            flags |= MAP_PRIVATE | MAP_ANONYMOUS
            if let hugePageSize { flags |= MAP_HUGETLB | Int32(hugePageSize.trailingZeroBitCount) << 26 }
        case .shared(let file, let start):
            (flags, descriptor, offset) = (flags | MAP_SHARED, file, start)
        case .privateFile(let file, let start):
            (flags, descriptor, offset) = (flags | MAP_PRIVATE, file, start)
        }
        var place: UnsafeMutableRawPointer?
        if let mirrored, hugePageSize == nil, length >= Self.hugePage {
            unsafe place = try Self.reserve(length, mirrored)
            flags |= MAP_FIXED
        }
        let address = unsafe mmap(place, length, PROT_READ | PROT_WRITE, flags, descriptor, Int(offset))
        guard let address = unsafe address, unsafe cl_is_error_mapping(address) == 0 else {
            let errno = Errno.current
            // SAFETY: the reservation is this function's own.
            if let place = unsafe place { unsafe munmap(place, length) }
            throw HostError("map \(length) bytes of memory", nil, errno)
        }
        unsafe base = address
        self.length = length
    }

    /// Bytes of the smallest huge page, transparent or not.
    package static let hugePage = 2 << 20

    /// Takes a range of addresses that equals `mirrored` in what is below `hugePage`, without memory behind it.
    @unsafe
    private static func reserve(_ length: Int, _ mirrored: UInt64) throws(HostError) -> UnsafeMutableRawPointer {
        let (room, overflow) = length.addingReportingOverflow(hugePage)
        let reserved = unsafe mmap(
            nil, overflow ? length : room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard !overflow, let start = unsafe reserved, unsafe cl_is_error_mapping(start) == 0 else {
            throw HostError("reserve \(length) bytes of addresses", nil, Errno.current)
        }
        let skipped = (Int(truncatingIfNeeded: mirrored) &- Int(bitPattern: start)) & (hugePage - 1)
        // SAFETY: `skipped` is below the spare room, so what is given back lies inside the reservation, around the rest.
        if skipped > 0 { unsafe munmap(start, skipped) }
        if skipped < hugePage { unsafe munmap(start + skipped + length, hugePage - skipped) }
        return unsafe start + skipped
    }

    deinit { unsafe munmap(base, length) }

    /// Advises the kernel of how the range is used (`madvise(2)`).
    ///
    /// - Returns: the errno, or nil when the advice was taken.
    package borrowing func advise(_ advice: Int32) -> Errno? { advise(advice, 0..<length) }

    /// The same for some of its bytes, which lie inside it.
    package borrowing func advise(_ advice: Int32, _ range: Range<Int>) -> Errno? {
        // SAFETY: the range is ours; the advices in use never unmap it.
        unsafe madvise(base + range.lowerBound, range.count, advice) == 0 ? nil : Errno.current
    }
}
