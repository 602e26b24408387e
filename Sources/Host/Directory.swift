import CLinux

/// Directories and the names in them.
package enum Directory {
    /// Makes a directory that only its owner may use.
    package static func make(_ path: String) throws(HostError) {
        // SAFETY: the path's bytes live through the call.
        guard unsafe mkdir(path, 0o700) == 0 else { throw HostError("make the directory", path, Errno.current) }
    }

    /// Opens a directory, to lock or sync it.
    package static func open(_ path: String) throws(HostError) -> FileDescriptor {
        try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    }

    /// Opens a directory that is no symbolic link to one.
    private static func openItself(_ path: String) throws(HostError) -> FileDescriptor {
        try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }

    /// The names in a directory but `.` and `..`, in no order.
    package static func entries(_ path: String) throws(HostError) -> [String] { try entries(of: open(path), path) }

    private static func entries(
        of directory: borrowing FileDescriptor, _ path: String
    ) throws(HostError) -> [String] {
        let copy = try directory.duplicate()
        // SAFETY: the stream owns the copy from here on, and is closed once, behind its last use.
        guard let stream = unsafe fdopendir(copy.raw) else { throw HostError("list the directory", path, .current) }
        _ = copy.release()
        defer { unsafe closedir(stream) }
        unsafe rewinddir(stream)
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            // SAFETY: the entry is the stream's until the next call; its name ends with a zero byte.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { bytes in
                unsafe bytes.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Renames something unless the new name is taken, which is `EEXIST`.
    package static func renameNew(_ from: String, to: String) throws(HostError) {
        // SAFETY: the paths' bytes live through the call.
        _ = try checked(unsafe cl_rename_new(from, to), "rename \(from) to", to)
    }

    /// Renames a directory; where an empty directory has the new name, it is replaced in the same step.
    ///
    /// - Throws: `EEXIST` where anything else has the name.
    package static func renameOverEmpty(_ from: String, to: String) throws(HostError) {
        // SAFETY: the paths' bytes live through the call.
        guard unsafe rename(from, to) != 0 else { return }
        let errno = Errno.current
        let isTaken = errno.number == ENOTEMPTY || errno == .notDirectory
        throw HostError("rename \(from) to", to, isTaken ? .exists : errno)
    }

    /// Whether a path is a symbolic link.
    package static func isLink(_ path: String) -> Bool {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the call.
        guard unsafe lstat(path, &status) == 0 else { return false }
        return Int32(bitPattern: status.st_mode) & S_IFMT == S_IFLNK
    }

    /// Removes a directory and the files in it; those of them that are directories are removed if they are empty.
    ///
    /// - Throws: the first thing that could not be removed; what is gone already is no error.
    package static func removeWithFiles(_ path: String) throws(HostError) {
        let directory: FileDescriptor
        do throws(HostError) { directory = try openItself(path) } catch {
            if error.errno == .noSuchFile { return }
            throw error
        }
        try remove(directory, path, try entries(of: directory, path))
    }

    /// Removes a directory with the files that have these names: in the directory that was opened, whatever is at its path
    /// meanwhile.
    private static func remove(
        _ directory: borrowing FileDescriptor, _ path: String, _ names: [String]
    ) throws(HostError) {
        var failure: HostError?
        for name in names {
            // SAFETY: the name's bytes live through the calls.
            let isGone =
                unsafe unlinkat(directory.raw, name, 0) == 0 || unlinkat(directory.raw, name, AT_REMOVEDIR) == 0
            if !isGone { failure = HostError("remove", "\(path)/\(name)", Errno.current) }
        }
        // SAFETY: the path's bytes live through the call.
        if unsafe rmdir(path) != 0, Errno.current != .noSuchFile {
            throw failure ?? HostError("remove", path, Errno.current)
        }
    }

    /// The directory that a path's last part is in.
    package static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// A part of a name that nobody else chooses.
    package static func newTag() -> String { String(UInt64.random(in: 0 ... .max), radix: 36) }

    /// Whether a part of a name may be such a one.
    package static func isTag(_ text: some StringProtocol) -> Bool {
        1...13 ~= text.utf8.count && text.utf8.allSatisfy { 0x30...0x39 ~= $0 || 0x61...0x7A ~= $0 }
    }

    /// Removes directories that processes of this user which ended before they could have left: those that nobody has
    /// locked and that hold nothing but what such a process makes. Links are not followed.
    ///
    /// - Parameters:
    ///   - age: the seconds after the last change at which one may be taken for such.
    ///   - isOne: whether it may be one, by its name.
    ///   - isOurs: whether a file in it may be, by its name.
    package static func removeStale(
        in parent: String, age: Int64 = .min, where isOne: (String) -> Bool, of isOurs: (String) -> Bool
    ) {
        for name in (try? entries(parent)) ?? [] where isOne(name) {
            let path = "\(parent)/\(name)"
            guard let stale = try? openItself(path), isLeft(stale, path, age: age),
                let files = try? entries(of: stale, path), files.allSatisfy(isOurs)
            else { continue }
            try? remove(stale, path, files)
        }
    }

    /// Removes drafts of files that processes of this user have left. Links are not followed.
    ///
    /// - Parameter isOne: whether it may be one, by its name.
    package static func removeStaleFiles(in parent: String, where isOne: (String) -> Bool) {
        for name in (try? entries(parent)) ?? [] where isOne(name) {
            let path = "\(parent)/\(name)"
            guard let stale = try? FileDescriptor.open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK),
                (try? stale.status().kind) == .regular, isLeft(stale, path)
            else { continue }
            FileDescriptor.remove(path)
        }
    }

    /// Whether something is this user's, and nobody holds it.
    private static func isLeft(_ file: borrowing FileDescriptor, _ path: String, age: Int64 = .min) -> Bool {
        guard let status = try? file.status(), status.owner == geteuid(),
            HostClock.realTime.seconds - status.modified / 1_000_000_000 > age
        else { return false }
        return (try? file.tryLock(path: path)) == true && file.isAt(path)
    }

    /// Whether something has this name, a symbolic link that leads nowhere included.
    package static func exists(_ path: String) -> Bool { FileIdentity(path) != nil }

    /// The absolute path of something without symbolic links and dots (realpath(3)).
    package static func resolved(_ path: String) throws(HostError) -> String {
        // SAFETY: the path's bytes live through the call; the result is ours to free.
        guard let text = unsafe realpath(path, nil) else { throw HostError("find", path, Errno.current) }
        defer { unsafe free(text) }
        return unsafe String(cString: text)
    }
}

extension FileDescriptor {
    /// Waits until the file, or the names in a directory, are on their disk (fsync(2)).
    package borrowing func sync(path: String) throws(HostError) {
        while fsync(raw) != 0 {
            let errno = Errno.current
            if errno != .interrupted { throw HostError("write to its disk", path, errno) }
        }
    }

    /// Waits until the file's bytes, and what it takes to find them, are on their disk (fdatasync(2)).
    package borrowing func syncBytes() throws(Errno) {
        while fdatasync(raw) != 0 {
            let errno = Errno.current
            if errno != .interrupted { throw errno }
        }
    }

    /// Locks the open file for this owner alone without waiting (flock(2)); the kernel unlocks it when it is closed,
    /// however the process ends.
    ///
    /// - Returns: whether it is locked now; false when somebody else has it.
    package borrowing func tryLock(path: String) throws(HostError) -> Bool {
        guard flock(raw, LOCK_EX | LOCK_NB) != 0 else { return true }
        let errno = Errno.current
        if errno == .wouldBlock { return false }
        throw HostError("lock", path, errno)
    }

    /// Whether a path leads to this very file.
    package borrowing func isAt(_ path: String) -> Bool {
        guard let there = FileIdentity(path) else { return false }
        return there == (try? FileIdentity(self))
    }

    /// The bytes that may still be written to the file's file system.
    package borrowing func freeBytes() -> UInt64? {
        var bytes: UInt64 = 0
        // SAFETY: the shim fills the local.
        return unsafe cl_free_bytes(raw, &bytes) == 0 ? bytes : nil
    }

    /// Has the kernel begin to write a range of the file to its disk, without waiting for it.
    package borrowing func startWriteback(at offset: UInt64, count: Int) {
        cl_start_writeback(raw, Int64(clamping: offset), Int64(count))
    }

    /// Has this new file share the blocks of another one until either is written (FICLONE).
    ///
    /// - Returns: why it cannot; nil when it does.
    package borrowing func clone(_ other: borrowing FileDescriptor) -> Errno? {
        let result = cl_clone_file(raw, other.raw)
        return result == 0 ? nil : Errno(-result)
    }

    /// Where the file, or the block device, ends, in bytes; nil for what has no end.
    package borrowing func end() -> UInt64? { UInt64(exactly: lseek(raw, 0, SEEK_END)) }

    /// The first bytes at or behind an offset that are no hole, up to where a hole or the end follows; nil when there are
    /// none.
    package borrowing func nextData(from offset: UInt64) throws(Errno) -> Range<UInt64>? {
        guard let start = Int64(exactly: offset) else { throw .tooLarge }
        let data = cl_next_data(raw, start)
        if data == -Int64(ENXIO) { return nil }
        guard data >= 0 else { throw Errno(Int32(-data)) }
        let hole = cl_next_hole(raw, data)
        guard hole >= 0 else { throw Errno(Int32(-hole)) }
        // The file may have become shorter between the two questions.
        return hole > data ? UInt64(data)..<UInt64(hole) : nil
    }
}
