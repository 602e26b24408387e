import CLinux

/// Missing pages of this process's memory, answered by the process itself (`userfaultfd(2)`).
///
/// Whoever touches a page of a registered range that is not there waits, KVM and other users in the kernel included, until
/// somebody gives the page its bytes. Many threads may give pages at once; each page is given once.
package final class UserFault: Sendable {
    private let file: FileDescriptor

    /// - Throws: `EPERM` where this user may not have it, `ENOSYS` and `EOPNOTSUPP` where the kernel has no such thing, or
    ///   not for all kinds of memory.
    package init() throws(HostError) {
        file = FileDescriptor(owning: try checked(cl_userfault_open(), "answer page faults by userfaultfd"))
    }

    /// The descriptor's number, for poll: it is readable while somebody waits.
    package var raw: Int32 { file.raw }

    /// Has accesses to missing pages of a range wait from now on.
    ///
    /// - Parameters:
    ///   - range: whole pages of one mapping, huge ones where it is made of them.
    ///   - isShared: whether the mapping is of a file in memory; what is in it already is removed then.
    package func register(_ range: HostRange, isShared: Bool) throws(HostError) {
        let place = unsafe UnsafeMutableRawPointer(bitPattern: range.address)
        // SAFETY: the range is mapped, and whoever registers it wants its bytes to come from elsewhere.
        if isShared, unsafe madvise(place, range.count, CL_MADV_REMOVE) != 0 {
            throw HostError("empty \(range.count) bytes of shared memory", nil, .current)
        }
        _ = try checked(
            cl_userfault_register(raw, UInt64(range.address), UInt64(range.count)),
            "have userfaultfd tell of \(range.count) bytes of memory")
    }

    /// Ends that: who waits goes on, and what is missing reads as zeroes.
    package func unregister(_ range: HostRange) {
        _ = cl_userfault_unregister(raw, UInt64(range.address), UInt64(range.count))
        // The kernel wakes who waits before it takes the range's mark away, and waits then for those who are just about to
        // wait: nobody would wake them.
        _ = cl_userfault_wake(raw, UInt64(range.address), UInt64(range.count))
    }

    /// The address of the next access that waits; nil where none does.
    package func next() throws(Errno) -> UInt? {
        let address = cl_userfault_next(raw)
        if address >= 0 { return UInt(address) }
        let errno = Errno(Int32(-address))
        if errno == .wouldBlock { return nil }
        throw errno
    }

    /// Gives the pages of a range bytes of the same length, and wakes who waits for them. Those that are there already stay
    /// as they are.
    ///
    /// - Parameter pageSize: bytes of the mapping's pages.
    /// - Throws: `ENOENT` where the range is not registered any more.
    package func fill(_ range: HostRange, from source: HostRange, pageSize: Int) throws(Errno) {
        precondition(source.count == range.count)
        try give(range, pageSize) { done in
            // SAFETY: the kernel reads at most what is left of the source behind `done`.
            let from = unsafe UnsafeRawPointer(bitPattern: source.address + UInt(done))
            return unsafe cl_userfault_copy(raw, UInt64(range.address) + UInt64(done), from, UInt64(range.count - done))
        }
    }

    /// Gives the pages of a range, which are not huge, zeroes, and wakes who waits for them.
    package func fillWithZeroes(_ range: HostRange) throws(Errno) {
        try give(range, HostRange.pageSize) { done in
            cl_userfault_zero(raw, UInt64(range.address) + UInt64(done), UInt64(range.count - done))
        }
    }

    private func give(_ range: HostRange, _ pageSize: Int, _ call: (Int) -> Int64) throws(Errno) {
        var done = 0
        while done < range.count {
            let result = call(done)
            if result > 0 {
                done += Int(result)
                continue
            }
            let errno = Errno(Int32(-result))
            switch errno {
            case .exists:
                // Who waited for it while it came is woken; nobody else would.
                _ = cl_userfault_wake(raw, UInt64(range.address) + UInt64(done), UInt64(pageSize))
                done += pageSize
            // The process's mappings are changing at the moment (ioctl_userfaultfd(2)).
            case .wouldBlock, .interrupted: continue
            default: throw errno
            }
        }
    }
}

extension HostRange {
    /// Touches each page, so that all are there when this returns, for as long as nobody takes one away.
    package func touch() {
        guard count > 0 else { return }
        let mask = UInt(Self.pageSize - 1)
        // The range may begin inside a page.
        for page in stride(from: address & ~mask, to: address + UInt(count), by: Self.pageSize) {
            // SAFETY: a byte of the range, in this page.
            unsafe cl_touch(UnsafeRawPointer(bitPattern: max(page, address)))
        }
    }
}
