import CLinux

/// A file descriptor with one owner, closed when the owner goes.
package struct FileDescriptor: ~Copyable, Sendable {
    /// The kernel's number; valid as long as this value lives.
    package let raw: Int32

    /// Takes ownership of an open descriptor.
    package init(owning raw: Int32) { self.raw = raw }

    deinit { close(raw) }

    /// Gives the number away: the caller closes it.
    package consuming func release() -> Int32 {
        let number = raw
        discard self
        return number
    }

    /// Opens a file, close-on-exec.
    ///
    /// - Parameters:
    ///   - flags: `O_RDONLY`, `O_RDWR`, …; `O_CLOEXEC` is added.
    ///   - mode: permissions of a file that is created.
    package static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(HostError) -> FileDescriptor {
        // SAFETY: the string's bytes live through the call.
        let result = unsafe path.withCString { unsafe cl_open($0, flags, mode) }
        return FileDescriptor(owning: try checked(result, "open", path))
    }

    /// A second descriptor of the same open file, close-on-exec.
    package borrowing func duplicate() throws(HostError) -> FileDescriptor {
        FileDescriptor(owning: try checked(cl_fcntl(raw, F_DUPFD_CLOEXEC, 0), "duplicate a descriptor"))
    }

    /// Sets or clears `O_NONBLOCK` on the open file, which every descriptor of it shares.
    package borrowing func setNonBlocking(_ on: Bool) throws(HostError) {
        let flags = try checked(cl_fcntl(raw, F_GETFL, 0), "read the flags of a descriptor")
        let wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
        _ = try checked(cl_fcntl(raw, F_SETFL, Int(wanted)), "set the flags of a descriptor")
    }

    /// Whether the file was opened to be written.
    package borrowing func isForWriting() throws(HostError) -> Bool {
        try checked(cl_fcntl(raw, F_GETFL, 0), "read the flags of a descriptor") & O_ACCMODE != O_RDONLY
    }

    /// Whether the descriptor is a terminal.
    package var isTerminal: Bool { isatty(raw) == 1 }

    /// What kind of file it is and how large.
    package borrowing func status() throws(HostError) -> FileStatus {
        var status = stat()
        // SAFETY: fstat fills the structure that it is given and keeps no pointer to it.
        let result = unsafe fstat(raw, &status)
        guard result == 0 else { throw HostError("read the status of a descriptor", nil, Errno.current) }
        return FileStatus(status)
    }

    /// Reads at most the span's length at the descriptor's position; 0 at the end of the file.
    ///
    /// - Throws: the errno, `EAGAIN` included; an interrupted call is repeated.
    package borrowing func read(into span: inout MutableSpan<UInt8>) throws(Errno) -> Int {
        while true {
            // SAFETY: the span names initialised memory that is exclusively ours during the call.
            let count = unsafe span.withUnsafeMutableBufferPointer { unsafe CLinux.read(raw, $0.baseAddress, $0.count) }
            if count >= 0 { return count }
            if cl_errno() != EINTR { throw Errno.current }
        }
    }

    /// Writes what the kernel takes of the span at the descriptor's position and says how much it was.
    package borrowing func write(_ span: Span<UInt8>) throws(Errno) -> Int {
        while true {
            // SAFETY: the span names memory that lives through the call.
            let count = unsafe span.withUnsafeBufferPointer { unsafe CLinux.write(raw, $0.baseAddress, $0.count) }
            if count >= 0 { return count }
            if cl_errno() != EINTR { throw Errno.current }
        }
    }

    /// Writes all the bytes, waiting as long as it takes on a blocking descriptor.
    package borrowing func writeAll(_ bytes: [UInt8]) throws(Errno) {
        var done = 0
        while done < bytes.count {
            done += try write(bytes.span.extracting(done..<bytes.count))
        }
    }

    /// Reads a whole file of at most `limit` bytes from its start.
    ///
    /// - Throws: `EFBIG` when the file is longer than the limit.
    package borrowing func readAll(limit: Int) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            var span = chunk.mutableSpan
            let count = try read(into: &span)
            if count == 0 { return bytes }
            bytes.append(contentsOf: chunk[..<count])
            if bytes.count > limit { throw Errno(EFBIG) }
        }
    }
}

extension Errno {
    /// The calling thread's `errno`, to be read straight after the failed call.
    package static var current: Errno { Errno(cl_errno()) }
}

/// What `fstat` says of an open file.
package struct FileStatus: Equatable, Sendable {
    /// What the file is.
    package enum Kind: Equatable, Sendable {
        case regular, directory, blockDevice, characterDevice, fifo, socket, other
    }
    /// What a path leads to, over links; nil where that is nothing, or cannot be looked at.
    package static func kind(at path: String) -> Kind? {
        var status = stat()
        // SAFETY: the path's bytes live through the call, which fills the local.
        guard unsafe stat(path, &status) == 0 else { return nil }
        return FileStatus(status).kind
    }

    /// What the file is.
    package let kind: Kind
    /// Its length in bytes; 0 for a device.
    package let size: Int64
    /// The device that holds the file, and its number there: together its identity.
    package let device: UInt64, inode: UInt64
    /// When its bytes were last changed, in ns since 1970 in UTC.
    package let modified: Int64
    /// The number of the user whose it is.
    package let owner: UInt32
    /// Which device a device node stands for (makedev(3)).
    package let deviceNumber: DeviceNumber

    /// A device's number in its two parts.
    package struct DeviceNumber: Equatable, Sendable {
        /// The driver's part, and the part that the driver gives out.
        package let major: UInt64, minor: UInt64

        init(_ number: UInt64) {
            major = number >> 8 & 0xFFF | number >> 32 & ~0xFFF
            minor = number & 0xFF | number >> 12 & ~0xFF
        }
    }

    init(_ status: stat) {
        kind =
            switch Int32(status.st_mode) & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFBLK: .blockDevice
            case S_IFCHR: .characterDevice
            case S_IFIFO: .fifo
            case S_IFSOCK: .socket
            default: .other
            }
        size = Int64(status.st_size)
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        modified = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        owner = status.st_uid
        deviceNumber = DeviceNumber(UInt64(status.st_rdev))
    }
}

extension FileDescriptor {
    /// A second descriptor of one that the process inherited, such as standard input.
    package static func duplicate(number: Int32) throws(HostError) -> FileDescriptor {
        let name =
            switch number {
            case 0: "standard input"
            case 1: "standard output"
            case 2: "standard error"
            default: "descriptor \(number)"
            }
        return FileDescriptor(owning: try checked(cl_fcntl(number, F_DUPFD_CLOEXEC, 3), "use", name))
    }

    /// Creates or empties a file to write to.
    package static func createForOutput(_ path: String) throws(HostError) -> FileDescriptor {
        try open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    }

    /// Opens a file to write behind what is in it, or makes it.
    package static func openToAppend(_ path: String) throws(HostError) -> FileDescriptor {
        let flags = O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY
        do throws(HostError) {
            let file = try open(path, O_WRONLY | flags, mode: 0o644)
            if try file.status().kind != .fifo { try file.setNonBlocking(false) }
            return file
        } catch {
            // A FIFO that nobody reads yet; a socket stays an error below.
            guard error.errno.number == ENXIO else { throw error }
        }
        return try open(path, O_RDWR | flags)
    }
}

extension FileDescriptor {
    /// Opens a file to read it; a FIFO does not make the caller wait.
    package static func openForReading(_ path: String) throws(HostError) -> FileDescriptor {
        try open(path, O_RDONLY | O_NONBLOCK)
    }

    /// Reads exactly `count` bytes at a position.
    ///
    /// - Throws: `ENODATA` when the file ends before.
    package borrowing func readExactly(_ count: Int, at offset: UInt64, path: String) throws(HostError) -> [UInt8] {
        guard count > 0 else { return [] }
        guard let start = Int(exactly: offset) else { throw HostError("read", path, .invalid) }
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            // SAFETY: the pointer and length stay inside the array.
            let got = unsafe bytes.withUnsafeMutableBytes { space in
                unsafe pread(raw, space.baseAddress.map { unsafe $0 + done }, count - done, start + done)
            }
            if got == 0 { throw HostError("read", path, Errno(ENODATA)) }
            if got < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                throw HostError("read", path, errno)
            }
            done += got
        }
        return bytes
    }
}

/// A descriptor's number that somebody else owns.
package enum OpenDescriptor {
    /// Whether the number is one of this process's open descriptors.
    package static func exists(_ number: Int32) -> Bool { cl_fcntl(number, F_GETFD, 0) >= 0 }
}
