import CLinux

/// A listening Unix stream socket, non-blocking; its file is removed when the owner goes.
package struct UnixListener: ~Copyable, Sendable {
    private let file: FileDescriptor
    /// Where clients connect.
    package let path: String
    private let identity: FileIdentity?

    /// Who may connect.
    package struct Access: Sendable {
        /// The file's permissions, and the group that it is given to.
        package let mode: UInt32, group: UInt32?

        package init(mode: UInt32, group: UInt32? = nil) { (self.mode, self.group) = (mode, group) }
    }

    /// Creates the socket. A socket file that nobody listens on any more is replaced.
    ///
    /// - Parameters:
    ///   - backlog: how many clients may wait to be accepted; what connects beyond that waits or, when it does not
    ///     block, is refused.
    ///   - access: who may connect, from the first moment; what the process's umask leaves unless given.
    /// - Throws: `EADDRINUSE` when somebody listens there or the file is no socket.
    package init(path: String, backlog: Int32 = 16, access: Access? = nil) throws(HostError) {
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
        let identity = FileIdentity(path)
        do throws(HostError) {
            // Until it listens, nobody connects.
            if let access { try FileAccess.give(path, toGroup: access.group, mode: access.mode) }
            guard listen(descriptor.raw, backlog) == 0 else { throw HostError(operation, path, Errno.current) }
            try descriptor.setNonBlocking(true)
        } catch {
            if identity != nil, FileIdentity(path) == identity { unsafe unlink(path) }
            throw error
        }
        self.identity = identity
        file = descriptor
        self.path = path
    }

    /// Takes over a listening socket that the process inherited, and closes it in the end; a file that it is bound to
    /// stays, since whoever made it removes it.
    ///
    /// - Throws: `EBADF` when the descriptor is not open, `ENOTSOCK` when it is no socket, `EPROTOTYPE` when it is another
    ///   kind of socket or does not listen.
    package init(inherited number: Int32) throws(HostError) {
        _ = try checked(cl_check_unix_listener(number), "listen on the inherited descriptor", "\(number)")
        let descriptor = FileDescriptor(owning: number)
        _ = try checked(cl_fcntl(number, F_SETFD, Int(FD_CLOEXEC)), "keep from programs the descriptor", "\(number)")
        try descriptor.setNonBlocking(true)
        identity = nil
        file = descriptor
        path = "fd=\(number)"
    }

    deinit {
        // Somebody may have put another file there meanwhile; that one is theirs.
        if identity != nil, FileIdentity(path) == identity { unsafe unlink(path) }
    }

    /// The descriptor's number, for poll.
    package var raw: Int32 { file.raw }

    /// Takes the next waiting client, non-blocking; nil when none waits.
    package borrowing func accept() -> FileDescriptor? {
        let client = cl_unix_accept(file.raw)
        return client >= 0 ? FileDescriptor(owning: client) : nil
    }

    /// Takes the next waiting client, non-blocking; nil when none waits.
    ///
    /// - Throws: the errno, for example `EMFILE`: the client goes on waiting.
    package borrowing func acceptStream() throws(Errno) -> UnixStream? {
        guard let client = try acceptClient() else { return nil }
        return UnixStream(owning: client)
    }

    /// The same, as a plain descriptor.
    package borrowing func acceptClient() throws(Errno) -> FileDescriptor? {
        while true {
            let client = cl_unix_accept(file.raw)
            if client >= 0 { return FileDescriptor(owning: client) }
            switch -client {
            case EAGAIN: return nil
            // The client gave up while it waited; the next one may be there.
            case EINTR, ECONNABORTED: continue
            default: throw Errno(-client)
            }
        }
    }

    private static func isStale(_ path: String) -> Bool {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the calls.
        guard unsafe lstat(path, &status) == 0, Int32(status.st_mode) & S_IFMT == S_IFSOCK else { return false }
        // A listener whose backlog is full would let a blocking probe wait.
        let raw = cl_unix_socket_nonblocking()
        guard raw >= 0 else { return false }
        let probe = FileDescriptor(owning: raw)
        return unsafe cl_unix_connect(probe.raw, path) == -ECONNREFUSED
    }
}
