import CLinux

/// Connecting to Unix stream sockets without waiting, and what both ends do with a connection (unix(7)).
package enum UnixConnection {
    /// Connects to a socket without waiting; the descriptor is non-blocking and close-on-exec.
    ///
    /// - Throws: the errno: `ENOENT` or `ECONNREFUSED` where nobody listens, `EAGAIN` while the listener's backlog is
    ///   full, `ENAMETOOLONG` for a path that does not fit into an address.
    package static func connect(_ path: String) throws(Errno) -> FileDescriptor {
        let raw = cl_unix_socket_nonblocking()
        guard raw >= 0 else { throw Errno(-raw) }
        let descriptor = FileDescriptor(owning: raw)
        // SAFETY: the path's bytes live through the call.
        let result = unsafe cl_unix_connect(descriptor.raw, path)
        guard result == 0 else { throw Errno(-result) }
        return descriptor
    }

    /// The parts of a connection that can be closed for themselves (shutdown(2)).
    package enum Half: Sendable { case reading, writing, both }
}

extension FileDescriptor {
    /// Closes a half of a connection for good; one that is gone already is no error.
    package borrowing func shutDown(_ half: UnixConnection.Half) {
        let how =
            switch half {
            case .reading: SHUT_RD
            case .writing: SHUT_WR
            case .both: SHUT_RDWR
            }
        _ = shutdown(raw, Int32(how))
    }

    /// Looks at what waits to be read from a socket and leaves it there: how many bytes of it went into the span, 0 at
    /// the end of the stream.
    ///
    /// - Throws: the errno, `EAGAIN` included; an interrupted call is repeated.
    package borrowing func peek(into span: inout MutableSpan<UInt8>) throws(Errno) -> Int {
        while true {
            // SAFETY: the span names initialised memory that is exclusively ours during the call.
            let count = unsafe span.withUnsafeMutableBufferPointer {
                unsafe recv(raw, $0.baseAddress, $0.count, Int32(MSG_PEEK))
            }
            if count >= 0 { return count }
            if cl_errno() != EINTR { throw Errno.current }
        }
    }
}
