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
    package init(length: Int, _ backing: Backing = .anonymous, hugePageSize: Int? = nil) throws(HostError) {
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
        let address = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, flags, descriptor, Int(offset))
        guard let address = unsafe address, unsafe cl_is_error_mapping(address) == 0 else {
            throw HostError("map \(length) bytes of memory", nil, Errno.current)
        }
        unsafe base = address
        self.length = length
    }

    deinit { unsafe munmap(base, length) }

    /// Advises the kernel of how the range is used (`madvise(2)`).
    ///
    /// - Returns: the errno, or nil when the advice was taken.
    package borrowing func advise(_ advice: Int32) -> Errno? {
        // SAFETY: the range is ours; the advices in use never unmap it.
        unsafe madvise(base, length, advice) == 0 ? nil : Errno.current
    }
}
