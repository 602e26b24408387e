import CLinux
import Host

extension GuestMemory {
    /// Writes a range into a file, leaving holes where whole pages are zero.
    ///
    /// - Parameters:
    ///   - offset: where in the file the range begins, in bytes. The file must be empty or a hole there.
    ///   - path: the file's name for the error.
    package func save(
        _ range: MemoryRange, to file: borrowing FileDescriptor, offset: UInt64, path: String
    ) throws(GuestMemoryError) {
        guard let base = unsafe hostPointer(range.address, range.size), let start = Int(exactly: offset) else {
            throw .outside(address: range.address, length: range.size)
        }
        let page = Int(Self.pageSize)
        let length = Int(range.size)
        var from = 0
        while from < length {
            var end = from
            // SAFETY: the range was checked, and `end` and `from` stay below its length, a multiple of the page size.
            while end < length, unsafe !Self.isZero(.init(start: base + end, count: page)) { end += page }
            var done = from
            while done < end {
                let count = min(end - done, 1 << 20)
                let put = unsafe pwrite(file.raw, base + done, count, start + done)
                guard put > 0 else {
                    let errno = put == 0 ? Errno(EIO) : Errno.current
                    if errno == .interrupted { continue }
                    throw .host(HostError("write", path, errno))
                }
                done += put
            }
            from = end
            while from < length, unsafe Self.isZero(.init(start: base + from, count: page)) { from += page }
        }
    }
}
