import CLinux

/// Has the process make files and sockets that only their owner may use (umask 077).
package func makeNewFilesPrivate() { umask(0o077) }

extension FileDescriptor {
    /// Creates a file that does not exist yet, readable by its owner alone.
    ///
    /// - Throws: `EEXIST` where there is one.
    package static func createNew(_ path: String) throws(HostError) -> FileDescriptor {
        try open(path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
    }

    /// Sets the file's length in bytes; what is beyond its end before reads as zero.
    package borrowing func truncate(to length: UInt64, path: String) throws(HostError) {
        guard let length = Int(exactly: length), ftruncate(raw, length) == 0 else {
            throw HostError("set the length of", path, Errno.current)
        }
    }

    /// Removes a file's name; one that is gone already is no error.
    package static func remove(_ path: String) {
        // SAFETY: the path's bytes live through the call.
        _ = unsafe unlink(path)
    }
}
