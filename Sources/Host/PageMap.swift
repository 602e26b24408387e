import CLinux

/// What the kernel says of this process's pages: `/proc/self/pagemap` (kernel `Documentation/admin-guide/mm/pagemap.rst`).
package struct PageMap: ~Copyable, Sendable {
    private let file: FileDescriptor

    /// - Throws: where there is no /proc.
    package init() throws(HostError) { file = try FileDescriptor.openForReading("/proc/self/pagemap") }

    /// Which pages of a range, of at most 512, are memory of this process's own, in RAM or swapped out: neither untouched
    /// nor a file's.
    ///
    /// - Parameter range: begins at a page.
    /// - Returns: nil where the kernel does not tell.
    package borrowing func ownPages(_ range: HostRange) -> PageSet? {
        precondition(range.count <= 512 * HostRange.pageSize)
        let count = (range.count + HostRange.pageSize - 1) / HostRange.pageSize
        var entries = [UInt64](repeating: 0, count: count)
        let offset = Int(range.address / UInt(HostRange.pageSize)) * 8
        // SAFETY: the array has room for so many entries and lives through the call.
        let got = unsafe entries.withUnsafeMutableBytes { unsafe pread(file.raw, $0.baseAddress, $0.count, offset) }
        guard got == count * 8 else { return nil }
        var pages = PageSet()
        for (index, entry) in entries.enumerated() {
            // Bit 63: in RAM, 62: swapped out, 61: a file's page or shared memory.
            let isOwn = entry >> 62 != 0 && entry >> 61 & 1 == 0
            if isOwn { pages[index / 64] |= 1 << UInt64(index % 64) }
        }
        return pages
    }
}
