import CLinux
import Host

extension GuestMemory {
    /// Copies part of a file into guest memory that holds zeroes, as fresh memory does: pages that are zero in the file
    /// are left alone, so that the host does not allocate them.
    ///
    /// The file is mapped, which spares a copy of what is only looked at, and stays so until `releaseSources`. Where a page
    /// of it cannot be had, since the file became shorter or its medium fails, the rest is read, and the read tells why.
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
        guard let start = Int(exactly: offset), !start.addingReportingOverflow(count).overflow else {
            throw .shortFile(path: path, wanted: count, got: 0)
        }
        try expect(count, from: start, in: file, path)
        let done = copyMapped(file, start, count, address)
        if done < count {
            try load(
                file, offset: offset + UInt64(done), count: count - done, at: address + UInt64(done), path: path)
        }
        // The bytes behind a file's end read as zeroes up to the end of its last page.
        try expect(count, from: start, in: file, path)
    }

    /// Checks that the file has so many bytes from `start` on.
    private func expect(
        _ count: Int, from start: Int, in file: borrowing FileDescriptor, _ path: String
    ) throws(GuestMemoryError) {
        let size: Int
        do throws(HostError) {
            size = Int(clamping: try file.status().size)
        } catch {
            throw .host(HostError("look at", path, error.errno))
        }
        if size - start < count { throw .shortFile(path: path, wanted: count, got: max(0, size - start)) }
    }

    /// Copies what is not zero from a mapping of the file.
    ///
    /// - Returns: the bytes done; fewer than all where a page could not be had, none where the file cannot be mapped.
    private func copyMapped(
        _ file: borrowing FileDescriptor, _ start: Int, _ count: Int, _ address: UInt64
    ) -> Int {
        let skipped = start % Int(Self.pageSize)
        guard let target = unsafe hostPointer(address, UInt64(count)),
            let mapping = try? Mapping(
                length: skipped + count, .privateFile(descriptor: file.raw, offset: Int64(start - skipped)))
        else { return 0 }
        _ = mapping.advise(MADV_SEQUENTIAL)
        let source = Owner(mapping)
        sources.withLock { $0.append(source) }
        guard dirty.isTracking else {
            // SAFETY: the target range was checked, and the mapping has `count` bytes behind what is skipped.
            return unsafe cl_copy_nonzero_pages(target, source.mapping.base + skipped, count, nil)
        }
        let first = address / Self.pageSize
        let pages = Int((address + UInt64(count) - 1) / Self.pageSize - first) + 1
        var written = [UInt8](repeating: 0, count: pages)
        // SAFETY: as above; `written` has a byte for each page that the target touches.
        let done = unsafe written.withUnsafeMutableBufferPointer {
            unsafe cl_copy_nonzero_pages(target, source.mapping.base + skipped, count, $0.baseAddress)
        }
        for page in 0..<pages where written[page] != 0 {
            markDirty((first + UInt64(page)) * Self.pageSize, Self.pageSize)
        }
        return done
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
