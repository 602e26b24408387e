import CLinux
import Host

extension GuestMemory {
    /// Bytes that are looked at together, and how many of them tell whether it is worth it to look.
    private static let chunk = 64 << 10
    private static let probe = 64

    /// Reads part of a file into guest memory that holds zeroes, as fresh memory does: pages that are zero in the file
    /// are left alone, so that the host does not allocate them.
    ///
    /// What begins with something else is read straight into place. Nothing is mapped, since a file that becomes
    /// shorter would end the process.
    ///
    /// - Parameters:
    ///   - offset: where in the file to begin, in bytes.
    ///   - path: the file's name for the error.
    package func loadIntoZeroes(
        _ file: borrowing FileDescriptor, offset: UInt64, count: Int, at address: UInt64, path: String
    ) throws(GuestMemoryError) {
        guard count > 0 else { return }
        guard let size = UInt64(exactly: count), unsafe hostPointer(address, size) != nil else {
            throw .outside(address: address, length: UInt64(clamping: count))
        }
        guard Int(exactly: offset).map({ $0.addingReportingOverflow(count).overflow }) == false else {
            throw .shortFile(path: path, wanted: count, got: 0)
        }
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunk, alignment: Int(Self.pageSize))
        defer { unsafe scratch.deallocate() }
        var done: UInt64 = 0
        while done < size {
            let length = Int(min(UInt64(Self.chunk), size - done))
            let head = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[..<min(length, Self.probe)])
            try unsafe fill(head, file, offset + done, path)
            if unsafe Self.isZero(.init(head)) {
                let part = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[..<length])
                try unsafe fill(part, file, offset + done, path)
                try unsafe writePages(.init(part), at: address + done)
            } else {
                try load(file, offset: offset + done, count: length, at: address + done, path: path)
            }
            done += UInt64(length)
        }
    }

    /// Writes the pages of some bytes that are not zero.
    @unsafe
    private func writePages(_ bytes: UnsafeRawBufferPointer, at address: UInt64) throws(GuestMemoryError) {
        for start in stride(from: 0, to: bytes.count, by: Int(Self.pageSize)) {
            let end = min(start + Int(Self.pageSize), bytes.count)
            let page = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
            if unsafe !Self.isZero(page) {
                try write(unsafe page.bindMemory(to: UInt8.self).span, at: address + UInt64(start))
            }
        }
    }

    /// SAFETY: the buffer is the caller's own.
    @unsafe
    private func fill(
        _ buffer: UnsafeMutableRawBufferPointer, _ file: borrowing FileDescriptor, _ offset: UInt64, _ path: String
    ) throws(GuestMemoryError) {
        var done = 0
        while done < buffer.count {
            // SAFETY: `done` stays below the buffer's length.
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let got = unsafe pread(file.raw, rest.baseAddress, rest.count, Int(offset) + done)
            if got == 0 { throw .shortFile(path: path, wanted: buffer.count, got: done) }
            if got < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                throw .host(HostError("read", path, errno))
            }
            done += got
        }
    }

    /// Whether all the bytes are zero: the first one is, and each is as the one before it.
    ///
    /// SAFETY: the buffer is the caller's own.
    @unsafe
    static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
        return unsafe base.load(as: UInt8.self) == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
    }
}
