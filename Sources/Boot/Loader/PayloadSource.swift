import Host
import Memory

/// A kernel, firmware or initramfs: a file on the host or bytes in this process.
package final class PayloadSource: Sendable {
    private enum Storage: Sendable {
        case file(OpenFile)
        case bytes([UInt8])
    }

    private final class OpenFile: Sendable {
        let descriptor: FileDescriptor
        init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
    }

    private let storage: Storage
    /// The configuration's field that names it: `$.payload.kernel`.
    package let field: String
    /// The file's path, or what the bytes are.
    package let name: String
    /// Its length in bytes.
    package let size: UInt64

    /// Opens a file.
    package init(path: String, field: String) throws(BootError) {
        let file: OpenFile
        let status: FileStatus
        do throws(HostError) {
            file = OpenFile(try FileDescriptor.openForReading(path))
            status = try file.descriptor.status()
        } catch {
            let remedy: String? =
                switch error.errno {
                case .noSuchFile: "check the path; a relative one starts at the directory that swiftlet runs in"
                case .accessDenied: "give this user the right to read it"
                default: nil
                }
            throw BootError(field, path, "cannot be opened: \(error.errno)", remedy: remedy, errno: error.errno)
        }
        switch status.kind {
        case .regular: break
        case .directory: throw BootError(field, path, "is a directory", remedy: "name the file in it")
        default: throw BootError(field, path, "is not a regular file", remedy: "copy it into one")
        }
        guard status.size > 0 else { throw BootError(field, path, "is empty", remedy: "fetch or build it again") }
        storage = .file(file)
        (self.field, name, size) = (field, path, UInt64(status.size))
    }

    /// Wraps bytes.
    package init(bytes: [UInt8], name: String, field: String) {
        storage = .bytes(bytes)
        (self.field, self.name, size) = (field, name, UInt64(bytes.count))
    }

    func error(_ problem: String, remedy: String? = nil) -> BootError {
        BootError(field, name, problem, remedy: remedy)
    }

    /// Copies a part out.
    ///
    /// - Throws: "truncated" when the payload ends before it.
    func read(_ offset: UInt64, _ count: Int, _ what: String) throws(BootError) -> [UInt8] {
        try check(offset, UInt64(count), what)
        switch storage {
        case .bytes(let bytes): return Array(bytes[Int(offset)..<Int(offset) + count])
        case .file(let file):
            do throws(HostError) {
                return try file.descriptor.readExactly(count, at: offset, path: name)
            } catch {
                throw self.error("\(error)")
            }
        }
    }

    /// Copies a part into guest memory.
    ///
    /// - Parameter zeroed: whether the memory there is known to hold zeroes, which then need not be copied.
    func load(
        _ offset: UInt64, _ count: UInt64, to address: UInt64, _ memory: GuestMemory, _ what: String,
        zeroed: Bool = false
    ) throws(BootError) {
        try check(offset, count, what)
        do throws(GuestMemoryError) {
            switch storage {
            case .bytes(let bytes):
                try memory.write(bytes.span.extracting(Int(offset)..<Int(offset + count)), at: address)
            case .file(let file) where zeroed:
                try memory.loadIntoZeroes(
                    file.descriptor, offset: offset, count: Int(count), at: address, path: name)
            case .file(let file):
                try memory.load(file.descriptor, offset: offset, count: Int(count), at: address, path: name)
            }
        } catch {
            throw self.error("its \(what) does not fit: \(error)", remedy: "raise memory.size")
        }
    }

    /// Checks that the payload does not end before a part's end.
    ///
    /// - Throws: "truncated" where it does.
    func check(_ offset: UInt64, _ count: UInt64, _ what: String) throws(BootError) {
        let (end, overflow) = offset.addingReportingOverflow(count)
        guard !overflow, end <= size else {
            throw error(
                "is truncated: its \(what) needs \(count) bytes at offset \(offset), and it has \(size)",
                remedy: "fetch it again")
        }
    }
}
