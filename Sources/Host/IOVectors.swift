import CLinux

/// A list of memory ranges for one vectored transfer, usually of guest memory.
///
/// It is a view: the code that makes one (a virtqueue's chain, a guest memory) says how long the ranges and the list
/// stay valid.
@safe
package struct IOVectors {
    /// SAFETY: `base` points to `count` initialised elements whose ranges are mapped; both are upheld by whoever
    /// calls the initialiser, for as long as its own documentation says.
    let base: UnsafeMutablePointer<iovec>
    /// How many ranges.
    package let count: Int
    /// The ranges' lengths together, in bytes.
    package let byteCount: Int

    /// Wraps an array of ranges that its maker keeps valid.
    package init(base: UnsafeMutablePointer<iovec>, count: Int, byteCount: Int) {
        unsafe self.base = base
        self.count = count
        self.byteCount = byteCount
    }
}

extension FileDescriptor {
    /// Reads at a position into the ranges, at most the first ``IOVectors/limit`` of them: the bytes read, 0 at the end
    /// of the file.
    package borrowing func read(into vectors: IOVectors, at offset: Int64) throws(Errno) -> Int {
        try repeated { unsafe preadv(raw, vectors.base, vectors.countAtOnce, Int(offset)) }
    }

    /// Writes the ranges, at most the first ``IOVectors/limit`` of them, at a position: the bytes written.
    package borrowing func write(_ vectors: IOVectors, at offset: Int64) throws(Errno) -> Int {
        try repeated { unsafe pwritev(raw, vectors.base, vectors.countAtOnce, Int(offset)) }
    }

    /// Reads into the ranges at the descriptor's position; for a tap, one packet.
    package borrowing func read(into vectors: IOVectors) throws(Errno) -> Int {
        try repeated { unsafe readv(raw, vectors.base, Int32(vectors.count)) }
    }

    /// Writes the ranges at the descriptor's position; for a tap, as one packet.
    package borrowing func write(_ vectors: IOVectors) throws(Errno) -> Int {
        try repeated { unsafe writev(raw, vectors.base, Int32(vectors.count)) }
    }

    // SAFETY of the four calls: `IOVectors` promises mapped ranges; the kernel checks each of them and answers EFAULT.
    @inline(__always)
    private borrowing func repeated(_ call: () -> Int) throws(Errno) -> Int {
        while true {
            let count = call()
            if count >= 0 { return count }
            if cl_errno() != EINTR { throw Errno.current }
        }
    }
}

extension IOVectors {
    /// The most ranges that one call of the kernel takes (IOV_MAX).
    package static let limit = 1024

    fileprivate var countAtOnce: Int32 { Int32(min(count, Self.limit)) }

    /// Touches each page of the ranges, so that all are there when this returns.
    package func touch() {
        for index in 0..<count {
            // SAFETY: the maker promises `count` elements, whose ranges are mapped.
            let range = unsafe base[index]
            unsafe HostRange(address: UInt(bitPattern: range.iov_base), count: range.iov_len)?.touch()
        }
    }

    /// Whether every range's address and length are multiples of a power of two, as direct I/O wants.
    package func isAligned(to alignment: Int) -> Bool {
        for index in 0..<count {
            // SAFETY: the maker promises `count` elements.
            let range = unsafe base[index]
            guard unsafe (Int(bitPattern: range.iov_base) | range.iov_len) & (alignment - 1) == 0 else { return false }
        }
        return true
    }
}
