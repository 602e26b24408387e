import CLinux
import Host
import Synchronization

/// How a disk's image is opened.
package struct DiskOptions: Equatable, Sendable {
    /// The file or block device.
    package var path: String
    /// The configuration's place, for errors: `$.disks[0]`.
    package var field: String
    /// Whether the guest may not write.
    package var readOnly = false
    /// Whether the host's page cache is bypassed.
    package var direct = false
    /// Whether the user said that the image is raw; else it is looked at, and the guest may not write its first
    /// sector, where it could make the next look see another format.
    package var declaredRaw = false
    /// Whether discards give the file's space back.
    package var sparse = true
    /// What the guest is to take for the block sizes, in bytes; nil takes what the image has.
    package var logicalBlockSize: UInt32?, physicalBlockSize: UInt32?

    package init(path: String, field: String) { (self.path, self.field) = (path, field) }
}

/// A disk that cannot be used.
package struct DiskError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The configuration's place, the image's path, what is wrong, and what to do.
    package let field: String, path: String, problem: String, remedy: String?
    /// The kernel's reason, where the image cannot be opened.
    package let errno: Errno?

    init(_ options: DiskOptions, _ problem: String, remedy: String? = nil, errno: Errno? = nil) {
        (field, path) = (options.field, options.path)
        (self.problem, self.remedy, self.errno) = (problem, remedy, errno)
    }

    package var description: String { "\(field).path: \(path): \(problem)" + (remedy.map { "; \($0)" } ?? "") }
}

/// A raw image or block device, open and locked; its queues' workers use it at once.
package final class DiskImage: Sendable {
    let file: FileDescriptor
    /// What it was opened with.
    package let options: DiskOptions
    /// Bytes, a whole number of sectors. Ordering: who sees a size sees the file that it was made for.
    package var size: UInt64 { currentSize.load(ordering: .acquiring) }
    let currentSize: Atomic<UInt64>
    let geometry: DiskGeometry
    /// Whether it was opened while another process had it. Ordering: nothing is ordered by it.
    private let isYetToBeRead: Atomic<Bool>
    /// What was written, while a copy is made of the image.
    let written = WrittenBlocks()
    var isBlockDevice: Bool { geometry.isBlockDevice }

    /// A sector of the virtio protocol, in bytes.
    package static let sectorSize: UInt64 = 512

    /// Opens the image and takes its lock: shared for reading only, else exclusive, so that two VMs cannot write one
    /// image. The lock belongs to the open file, whoever else in this process opens it (fcntl(2), F_OFD_SETLK).
    ///
    /// - Parameter isStandby: whether another process still has the lock: it comes with `takeBack`, and nothing of the image
    ///   is read before that.
    package init(_ options: DiskOptions, isStandby: Bool = false) throws(DiskError) {
        let opened = try Self.open(options, options.readOnly ? O_RDONLY : O_RDWR)
        let geometry = try DiskGeometry(opened.file, options)
        if !isStandby {
            try Self.lock(opened.file, options)
            if !options.declaredRaw { try Self.refuseOtherFormats(opened.file, options) }
        }
        isYetToBeRead = Atomic(isStandby)
        currentSize = Atomic(geometry.size)
        self.geometry = geometry
        self.options = options
        file = try opened.duplicate(options)
    }

    /// A process that is being started has a copy of the descriptor until its program is executed, and would keep the lock.
    deinit { unlock() }

    /// Looks whether an image could be opened: it is opened for reading only, and no lock is taken.
    ///
    /// - Parameter ignoringLock: whether it is no matter that another VM has the lock now.
    /// - Returns: its length in bytes.
    /// - Throws: what `init` would find wrong with the file, apart from the right to write it.
    @discardableResult
    package static func check(_ options: DiskOptions, ignoringLock: Bool = false) throws(DiskError) -> UInt64 {
        let opened = try open(options, O_RDONLY)
        let geometry = try DiskGeometry(opened.file, options)
        if !ignoringLock { try lock(opened.file, options, onlyLooking: true) }
        if !options.declaredRaw { try refuseOtherFormats(opened.file, options) }
        return geometry.size
    }

    /// Brings what was written to stable storage and lets go of the lock, for another process to take the image over. No
    /// worker uses it then, until `takeBack`.
    package func letGo() throws(DiskError) {
        if !options.readOnly {
            do throws(Errno) { try flush() } catch { throw DiskError(options, "cannot be flushed: \(error)") }
        }
        unlock()
    }

    private func unlock() {
        var lock = flock()
        lock.l_type = Int16(F_UNLCK)
        lock.l_whence = Int16(SEEK_SET)
        // SAFETY: the kernel reads the local during the call.
        _ = unsafe cl_fcntl_lock(file.raw, CL_F_OFD_SETLK, &lock)
    }

    /// Takes the lock again.
    ///
    /// - Throws: when another process has it.
    package func takeBack() throws(DiskError) {
        try Self.lock(file, options)
        guard isYetToBeRead.exchange(false, ordering: .relaxed) else { return }
        // The look at another's image, before it was opened, has left its beginning in this host's cache: by now that may be
        // the past, where the image is on another host.
        _ = posix_fadvise(file.raw, 0, Self.lookedAt, POSIX_FADV_DONTNEED)
        if !options.declaredRaw { try Self.refuseOtherFormats(file, options) }
    }

    /// More bytes than the kernel reads ahead of a look at the first sector.
    private static let lookedAt = 4 << 20

    private static func open(_ options: DiskOptions, _ access: Int32) throws(DiskError) -> OpenImage {
        do throws(HostError) {
            let flags = access | O_NONBLOCK | (options.direct ? CL_O_DIRECT : 0)
            return OpenImage(try FileDescriptor.open(options.path, flags))
        } catch {
            throw openError(options, error.errno)
        }
    }

    private final class OpenImage: Sendable {
        let file: FileDescriptor
        init(_ file: consuming FileDescriptor) { self.file = file }
        func duplicate(_ options: DiskOptions) throws(DiskError) -> FileDescriptor {
            do throws(HostError) { return try file.duplicate() } catch { throw DiskError(options, "\(error)") }
        }
    }

    private static func openError(_ options: DiskOptions, _ errno: Errno) -> DiskError {
        let remedy: String? =
            switch errno {
            case .noSuchFile: "check the path; a relative one starts at the directory that swiftlet runs in"
            case .accessDenied, .notPermitted, .readOnly:
                options.readOnly
                    ? "give this user the right to read it" : "give this user the right to write it, or set readonly"
            case .isDirectory: "name an image file or a block device"
            case .invalid where options.direct: "its file system may not support direct I/O: leave direct out"
            default: nil
            }
        return DiskError(options, "cannot be opened: \(errno)", remedy: remedy, errno: errno)
    }

    /// - Parameter onlyLooking: whether the lock is only looked for, not taken.
    private static func lock(
        _ file: borrowing FileDescriptor, _ options: DiskOptions, onlyLooking: Bool = false
    ) throws(DiskError) {
        var lock = flock()
        lock.l_type = Int16(options.readOnly ? F_RDLCK : F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        // SAFETY: the kernel reads the local, and fills it with the lock that is in the way when it only looks.
        let result = unsafe cl_fcntl_lock(file.raw, onlyLooking ? CL_F_OFD_GETLK : CL_F_OFD_SETLK, &lock)
        let isTaken = onlyLooking && result >= 0 && lock.l_type != Int16(F_UNLCK)
        if isTaken || result == -EAGAIN || result == -EACCES {
            throw DiskError(
                options, "is locked: another VM uses it",
                remedy: "stop that VM, give this one another image, or give both of them the image with readonly")
        }
        // A file system without locks leaves the user to take care.
        guard result >= 0 || result == -EOPNOTSUPP || result == -ENOLCK else {
            throw DiskError(options, "cannot be locked: \(Errno(-result))")
        }
    }

    private static func refuseOtherFormats(_ file: borrowing FileDescriptor, _ options: DiskOptions) throws(DiskError) {
        // Direct I/O wants an aligned buffer, so the look goes through a descriptor of its own.
        guard let plain = try? FileDescriptor.openForReading(options.path),
            let head = try? plain.readExactly(512, at: 0, path: options.path)
        else { return }
        let formats: [([UInt8], String)] = [
            (Array("QFI\u{FB}".unicodeScalars.map { UInt8($0.value) }), "Qcow2"), (Array("vhdxfile".utf8), "Vhdx"),
            (Array("conectix".utf8), "FixedVhd"),
        ]
        for (magic, name) in formats where head.starts(with: magic) {
            throw DiskError(
                options, "is a \(name) image, which is not supported",
                remedy: "convert it: qemu-img convert -O raw \(options.path) IMAGE.raw")
        }
    }
}
