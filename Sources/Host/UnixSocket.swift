import CLinux

/// A listening Unix stream socket, non-blocking; its file is removed when the owner goes.
package struct UnixListener: ~Copyable, Sendable {
    private let file: FileDescriptor
    /// Where clients connect.
    package let path: String
    private let identity: FileIdentity?

    private struct FileIdentity: Equatable, Sendable {
        let device: UInt64, inode: UInt64
    }

    /// Creates the socket. A socket file that nobody listens on any more is replaced.
    ///
    /// - Throws: `EADDRINUSE` when somebody listens there or the file is no socket.
    package init(path: String) throws(HostError) {
        let operation = "listen on the socket"
        let descriptor = FileDescriptor(owning: try checked(cl_unix_socket(), "create a socket"))
        // SAFETY: the path's bytes live through each call.
        var result = unsafe cl_unix_bind(descriptor.raw, path)
        if result == -EADDRINUSE, Self.isStale(path) {
            _ = unsafe unlink(path)
            result = unsafe cl_unix_bind(descriptor.raw, path)
        }
        if result == -ENAMETOOLONG {
            let operation = "\(operation) (its path may have 1 to \(cl_unix_path_room() - 1) bytes)"
            throw HostError(operation, path, Errno(ENAMETOOLONG))
        }
        _ = try checked(result, operation, path)
        let identity = Self.identity(path)
        guard listen(descriptor.raw, 16) == 0 else { throw HostError(operation, path, Errno.current) }
        try descriptor.setNonBlocking(true)
        self.identity = identity
        file = descriptor
        self.path = path
    }

    deinit {
        // Somebody may have put another file there meanwhile; that one is theirs.
        if identity != nil, Self.identity(path) == identity { unsafe unlink(path) }
    }

    /// The descriptor's number, for poll.
    package var raw: Int32 { file.raw }

    /// Takes the next waiting client, non-blocking; nil when none waits.
    package borrowing func accept() -> FileDescriptor? {
        let client = cl_unix_accept(file.raw)
        return client >= 0 ? FileDescriptor(owning: client) : nil
    }

    private static func identity(_ path: String) -> FileIdentity? {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the call.
        guard unsafe lstat(path, &status) == 0 else { return nil }
        return FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    private static func isStale(_ path: String) -> Bool {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the calls.
        guard unsafe lstat(path, &status) == 0, Int32(status.st_mode) & S_IFMT == S_IFSOCK else { return false }
        let raw = cl_unix_socket()
        guard raw >= 0 else { return false }
        let probe = FileDescriptor(owning: raw)
        return unsafe cl_unix_connect(probe.raw, path) == -ECONNREFUSED
    }
}
