import CLinux

/// A range of this process's memory that somebody keeps mapped, such as a guest's RAM, to be copied as a whole.
///
/// It is a view. The bytes may change at any time, so nobody gets a reference to them: they are written to files, filled
/// from files, compared and summed.
@safe
package struct HostRange: @unchecked Sendable {
    // Sendable: address and length never change; whose turn it is to write the bytes is for the range's users to say.

    /// SAFETY: `count` mapped bytes, by the word of whoever made the range.
    let base: UnsafeMutableRawPointer
    /// Its length in bytes.
    package let count: Int

    /// Wraps a range; nil at address 0.
    ///
    /// SAFETY: whoever calls this keeps the range mapped for as long as the value or a copy of it is in use.
    @unsafe
    package init?(address: UInt, count: Int) {
        guard let base = unsafe UnsafeMutableRawPointer(bitPattern: address), count >= 0 else { return nil }
        unsafe self.base = base
        self.count = count
    }

    private init(_ base: UnsafeMutableRawPointer, _ count: Int) {
        unsafe self.base = base
        self.count = count
    }

    /// Where it begins, for the kernel's calls that take addresses as numbers.
    package var address: UInt { unsafe UInt(bitPattern: base) }

    /// A part of the range, which has to lie in it.
    package func part(_ range: Range<Int>) -> HostRange {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        return unsafe HostRange(base + range.lowerBound, range.count)
    }

    /// Copies all the bytes of another range of the same length, which does not overlap this one.
    package func copy(from other: HostRange) {
        precondition(other.count == count)
        // SAFETY: both ranges have `count` bytes.
        unsafe base.copyMemory(from: other.base, byteCount: count)
    }
}

/// Pages of 4096 bytes of a chunk of at most 512: page i is bit i % 64 of word i / 64.
package typealias PageSet = SIMD8<UInt64>

extension HostRange {
    /// Bytes of a page in a page set.
    package static let pageSize = 4096

    /// Which pages of the set, all of which lie in the range, hold a byte that is not zero.
    package func nonzeroPages(of set: PageSet) -> PageSet {
        var found = PageSet()
        precondition(set.pageLimit * Self.pageSize <= count)
        // SAFETY: the pages were checked to lie in the range; both sets have eight words.
        unsafe withUnsafeBytes(of: set) { words in
            unsafe withUnsafeMutableBytes(of: &found) { target in
                unsafe cl_nonzero_pages(
                    base, words.bindMemory(to: UInt64.self).baseAddress,
                    target.bindMemory(to: UInt64.self).baseAddress)
            }
        }
        return found
    }

    /// Which pages of the set, all of which lie in both ranges, are not the other range's.
    package func pages(of set: PageSet, differingFrom other: HostRange) -> PageSet {
        precondition(set.pageLimit * Self.pageSize <= min(count, other.count))
        var found = set
        for page in 0..<set.pageLimit where set[page / 64] >> UInt64(page % 64) & 1 == 1 {
            let start = page * Self.pageSize
            // SAFETY: the page was checked to lie in both ranges.
            if unsafe memcmp(base + start, other.base + start, Self.pageSize) == 0 {
                found[page / 64] &= ~(1 << UInt64(page % 64))
            }
        }
        return found
    }

    /// Copies bytes into it.
    ///
    /// - Parameter offset: where the first of them goes; they end at its end at the latest.
    package func fill(_ bytes: [UInt8], at offset: Int = 0) {
        // SAFETY: the array's bytes live through the call and are only read.
        unsafe bytes.withUnsafeBytes { source in
            guard let address = source.baseAddress,
                let from = unsafe HostRange(address: UInt(bitPattern: address), count: bytes.count)
            else { return }
            part(offset..<offset + bytes.count).copy(from: from)
        }
    }

    /// A copy of its bytes.
    package var bytes: [UInt8] {
        // SAFETY: the range's owner keeps it mapped.
        unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: count))
    }

    /// Sets all the bytes to zero.
    package func clear() {
        // SAFETY: the range has `count` bytes.
        unsafe memset(base, 0, count)
    }

    /// The CRC-32C of the CRC-32Cs of the pages of the set, all of which lie in the range.
    package func checksum(of set: PageSet) -> UInt32 {
        precondition(set.pageLimit * Self.pageSize <= count)
        // SAFETY: the pages were checked to lie in the range; the set has eight words.
        return unsafe withUnsafeBytes(of: set) { words in
            unsafe cl_pages_checksum(base, words.bindMemory(to: UInt64.self).baseAddress)
        }
    }
}

extension PageSet {
    /// The number behind the highest page in the set; 0 when it is empty.
    package var pageLimit: Int {
        for word in stride(from: 7, through: 0, by: -1) where self[word] != 0 {
            return word * 64 + 64 - self[word].leadingZeroBitCount
        }
        return 0
    }
}

/// Sums that tell whether bytes are those that were written.
package enum Checksum {
    /// The CRC-32C (RFC 3720) of bytes.
    package static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        // SAFETY: the array's bytes live through the call.
        unsafe bytes.withUnsafeBytes { unsafe cl_crc32c(0, $0.baseAddress, $0.count) }
    }

    /// The CRC-32C of bytes that continue those of `sum`; 0 begins.
    package static func crc32c(_ range: HostRange, after sum: UInt32 = 0) -> UInt32 {
        // SAFETY: the range has `count` bytes, which its owner keeps mapped.
        unsafe cl_crc32c(sum, range.base, range.count)
    }

    /// The same by a table, as on a processor without an instruction for it.
    package static func portableCRC32C(_ bytes: [UInt8]) -> UInt32 {
        // SAFETY: the array's bytes live through the call.
        unsafe bytes.withUnsafeBytes { unsafe cl_crc32c_portable(0, $0.baseAddress, $0.count) }
    }
}

extension FileDescriptor {
    /// Writes a range at a position of the file, all of it.
    package borrowing func writeAll(_ range: HostRange, at offset: UInt64) throws(Errno) {
        guard let start = Int(exactly: offset), !start.addingReportingOverflow(range.count).overflow else {
            throw .tooLarge
        }
        var done = 0
        while done < range.count {
            let count = try unsafe range.transfer(done) { unsafe pwrite(raw, $0, $1, start + done) }
            if count == 0 { throw .inputOutput }
            done += count
        }
    }

    /// Fills a range from a position of the file.
    ///
    /// - Returns: the bytes read: fewer than the range has where the file ends in it.
    package borrowing func readAll(into range: HostRange, at offset: UInt64) throws(Errno) -> Int {
        guard let start = Int(exactly: offset), !start.addingReportingOverflow(range.count).overflow else {
            throw .tooLarge
        }
        var done = 0
        while done < range.count {
            let count = try unsafe range.transfer(done) { unsafe pread(raw, $0, $1, start + done) }
            if count == 0 { break }
            done += count
        }
        return done
    }
}

extension HostRange {
    /// Calls the kernel with what is left of the range behind `done` bytes, again while signals interrupt it.
    fileprivate func transfer(
        _ done: Int, _ call: (UnsafeMutableRawPointer, Int) -> Int
    ) throws(Errno) -> Int {
        while true {
            // SAFETY: `done` is below `count`. The kernel answers EFAULT where a page cannot be had.
            let result = unsafe call(base + done, count - done)
            if result >= 0 { return result }
            let errno = Errno.current
            if errno != .interrupted { throw errno }
        }
    }
}

extension FileDescriptor {
    /// Has a range of memory show the file's bytes, copied on write, in place of what is there (mmap(2), MAP_FIXED).
    ///
    /// The range's owner unmaps it as before. The file must not become shorter while the mapping is in use: a page that
    /// is lost is a SIGBUS for whoever touches it. The mapping does not need the descriptor afterwards.
    ///
    /// - Parameter offset: in the file, a multiple of the page size, as are the range's address and length.
    package borrowing func mapPrivately(_ range: HostRange, offset: UInt64) throws(Errno) {
        guard range.count > 0 else { return }
        let pages = unsafe UInt(bitPattern: range.base) | UInt(range.count)
        guard let start = Int(exactly: offset), start % HostRange.pageSize == 0,
            pages % UInt(HostRange.pageSize) == 0
        else { throw .invalid }
        let flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE
        // SAFETY: only the range's own pages are replaced, which its users expect of this call.
        let result = unsafe mmap(range.base, range.count, PROT_READ | PROT_WRITE, flags, raw, start)
        guard let result = unsafe result, unsafe cl_is_error_mapping(result) == 0 else { throw .current }
        // A dump of a crash is about us; the guest's memory is its owner's.
        _ = unsafe madvise(range.base, range.count, CL_MADV_DONTDUMP)
    }
}

/// Memory of one's own to put bytes into for a while, zero at first.
package final class ScratchMemory: Sendable {
    private let mapping: Mapping
    /// All of it; in use no longer than this object lives.
    package let range: HostRange

    /// - Parameter count: bytes, above zero.
    package init(count: Int) throws(HostError) {
        let mapping = try Mapping(length: count)
        guard let range = unsafe HostRange(address: UInt(bitPattern: mapping.base), count: count) else {
            throw HostError("map \(count) bytes of memory", nil, .noMemory)
        }
        self.range = range
        self.mapping = mapping
    }

    /// Copies bytes into it.
    package func fill(_ bytes: [UInt8], at offset: Int = 0) { range.fill(bytes, at: offset) }

    /// A copy of some of its bytes.
    package func bytes(_ part: Range<Int>) -> [UInt8] {
        precondition(part.lowerBound >= 0 && part.upperBound <= mapping.length)
        // SAFETY: the part was checked to lie in the mapping.
        return unsafe [UInt8](UnsafeRawBufferPointer(start: mapping.base + part.lowerBound, count: part.count))
    }
}
