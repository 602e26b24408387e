import CLinux

/// A file whose lock says that somebody uses what it stands for; unlocked and removed when the owner goes.
///
/// The lock belongs to the open file (F_OFD_SETLK, fcntl(2)), so the kernel lets go of it when the process dies, however it
/// dies, and a file that is left behind locks nobody out.
package struct LockFile: ~Copyable, Sendable {
    private let file: FileDescriptor
    /// Where the file is.
    package let path: String

    /// Creates the file when it is not there, locks it and writes this process's number into it.
    ///
    /// - Throws: `EAGAIN` when somebody else holds the lock, `EEXIST` when the file holds something else than a number.
    package init(path: String) throws(HostError) {
        while true {
            let file = try FileDescriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
            var lock = flock()
            lock.l_type = Int16(F_WRLCK)
            lock.l_whence = Int16(SEEK_SET)
            // SAFETY: the kernel reads the local during the call.
            _ = try checked(unsafe cl_fcntl_lock(file.raw, CL_F_OFD_SETLK, &lock), "lock", path)
            // Whoever had it may have removed the file between the opening and the locking: such a lock is worth nothing.
            guard try FileIdentity(file) == FileIdentity(path) else { continue }
            guard Self.isLock(file) else { throw HostError("take over", path, Errno(EEXIST)) }
            guard ftruncate(file.raw, 0) == 0, lseek(file.raw, 0, SEEK_SET) == 0 else {
                throw HostError("empty", path, Errno.current)
            }
            do { try file.writeAll(Array("\(getpid())\n".utf8)) } catch { throw HostError("write", path, error) }
            self.file = file
            self.path = path
            return
        }
    }

    deinit {
        // Removed before the lock goes with the descriptor. Somebody may have put another file there; that one is theirs.
        if let there = FileIdentity(path), there == (try? FileIdentity(file)) {
            // SAFETY: the path's bytes live through the call.
            unsafe unlink(path)
        }
    }

    /// Whether a file is one that a lock left behind: it is empty or holds the number of a process.
    private static func isLock(_ file: borrowing FileDescriptor) -> Bool {
        guard let bytes = try? file.readAll(limit: 64) else { return false }
        return bytes.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x0A }
    }

    /// The number of the process that wrote itself into a lock file, if one did.
    package static func holder(of path: String) -> Int32? {
        guard let file = try? FileDescriptor.openForReading(path), let bytes = try? file.readAll(limit: 64) else {
            return nil
        }
        return Int32(String(decoding: bytes.prefix { $0 != 0x0A }, as: UTF8.self))
    }
}
