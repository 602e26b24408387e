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
        // Bit 63: in RAM, 62: swapped out, 61: a file's page or shared memory.
        pages(range) { $0 >> 62 != 0 && $0 >> 61 & 1 == 0 }
    }

    /// Which pages of a range, of at most 512, this process has at hand, in RAM or swapped out.
    ///
    /// A page of a file's private mapping is at hand once this process has touched it, whoever else has it in the page
    /// cache. The kernel gives a process that touches one its cached neighbours too: up to 64 KiB (fault-around), or all of
    /// a large page of the page cache. So there may be more pages than were touched.
    ///
    /// - Returns: nil where the kernel does not tell.
    package borrowing func presentPages(_ range: HostRange) -> PageSet? { pages(range) { $0 >> 62 != 0 } }

    private borrowing func pages(_ range: HostRange, where isWanted: (UInt64) -> Bool) -> PageSet? {
        precondition(range.count <= 512 * HostRange.pageSize)
        let count = (range.count + HostRange.pageSize - 1) / HostRange.pageSize
        var entries = [UInt64](repeating: 0, count: count)
        let offset = Int(range.address / UInt(HostRange.pageSize)) * 8
        // SAFETY: the array has room for so many entries and lives through the call.
        let got = unsafe entries.withUnsafeMutableBytes { unsafe pread(file.raw, $0.baseAddress, $0.count, offset) }
        guard got == count * 8 else { return nil }
        var pages = PageSet()
        for (index, entry) in entries.enumerated() where isWanted(entry) {
            pages[index / 64] |= 1 << UInt64(index % 64)
        }
        return pages
    }
}
