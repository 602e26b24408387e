import CLinux
import Host

/// What the kernel's page cache has of a file.
package enum PageCache {
    /// Has the kernel forget a file's bytes, which are on its disk.
    package static func drop(_ path: String) throws {
        let file = try FileDescriptor.openForReading(path)
        try file.sync(path: path)
        _ = posix_fadvise(file.raw, 0, 0, POSIX_FADV_DONTNEED)
    }

    /// Which pages of a file are in it (mincore(2)).
    package static func pages(_ path: String) throws -> [Bool] {
        let file = try FileDescriptor.openForReading(path)
        let length = Int(try file.status().size)
        let mapping = try Mapping(length: length, .privateFile(descriptor: file.raw, offset: 0))
        var found = [UInt8](repeating: 0, count: (length + 4095) / 4096)
        // SAFETY: the array has a byte for each page of the mapping.
        let result = unsafe found.withUnsafeMutableBufferPointer {
            unsafe mincore(mapping.base, length, $0.baseAddress)
        }
        guard result == 0 else { throw HostError("look for cached pages of", path, .current) }
        return found.map { $0 & 1 == 1 }
    }
}
