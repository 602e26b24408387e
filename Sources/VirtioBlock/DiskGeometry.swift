import CLinux
import Host

/// How large an image is, and in which parts it is read and written.
struct DiskGeometry {
    /// Bytes, a whole number of logical blocks.
    let size: UInt64
    /// What the guest is told of the block sizes, in bytes: the smallest part that can be addressed, and the one that is
    /// written at once. Powers of two.
    let logicalBlockSize: UInt32, physicalBlockSize: UInt32
    /// What addresses and lengths of memory are multiples of in direct I/O, in bytes.
    let memoryAlignment: Int
    /// Whether space can be given back.
    let canDiscard: Bool
    let isBlockDevice: Bool

    /// What the image itself has.
    private struct Native {
        var size: UInt64
        var logical: UInt32 = 512, physical: UInt32 = 512
        var memoryAlignment: Int
        var canDiscard = true
        var isBlockDevice = false
    }

    /// Looks at an open image.
    ///
    /// - Throws: for what is no disk, or cannot have the blocks that the options ask for.
    init(_ file: borrowing FileDescriptor, _ options: DiskOptions) throws(DiskError) {
        let native = try Self.native(file, options)
        logicalBlockSize = options.logicalBlockSize ?? native.logical
        physicalBlockSize = max(options.physicalBlockSize ?? native.physical, logicalBlockSize)
        (size, memoryAlignment) = (native.size, native.memoryAlignment)
        (canDiscard, isBlockDevice) = (native.canDiscard, native.isBlockDevice)
        // The page cache puts parts of blocks together; direct I/O refuses them, each time.
        guard !options.direct || logicalBlockSize >= native.logical else {
            throw DiskError(
                options,
                "is read and written in blocks of \(native.logical) bytes with direct, and logical_block_size is "
                    + "\(logicalBlockSize)", remedy: "leave logical_block_size out, or direct")
        }
        try checkSize(options)
    }

    private func checkSize(_ options: DiskOptions) throws(DiskError) {
        guard size >= DiskImage.sectorSize else {
            throw DiskError(options, "has \(size) bytes; a disk has at least 512", remedy: "truncate -s 1G makes one")
        }
        // A guest sees whole blocks: the rest would silently be missing from what it reads.
        let block = UInt64(logicalBlockSize)
        guard size % block == 0 else {
            let whole = (size / block + 1) * block
            let what = block == DiskImage.sectorSize ? "sectors" : "blocks"
            throw DiskError(
                options, "has \(size) bytes, and a disk is made of whole \(what) of \(block)",
                remedy: isBlockDevice
                    ? "lower logical_block_size" : "truncate -s \(whole) \(options.path) fills the last one with zeros")
        }
    }

    private static func native(
        _ file: borrowing FileDescriptor, _ options: DiskOptions
    ) throws(DiskError) -> Native {
        let status: FileStatus
        do throws(HostError) { status = try file.status() } catch { throw DiskError(options, "\(error)") }
        switch status.kind {
        case .regular:
            var native = Native(size: UInt64(max(status.size, 0)), memoryAlignment: 4096)
            if options.direct { native.logical = directBlockSize(file) }
            return native
        case .blockDevice: return try device(file, status, options)
        case .directory:
            throw DiskError(options, "is a directory", remedy: "name an image file or a block device")
        default:
            throw DiskError(
                options, "is neither a file nor a block device", remedy: "name an image file or a block device")
        }
    }

    /// What positions and lengths in a file are multiples of in direct I/O. Kernels before 6.1 do not tell.
    private static func directBlockSize(_ file: borrowing FileDescriptor) -> UInt32 {
        let bytes = cl_direct_offset_alignment(file.raw)
        return (512...4096).contains(bytes) && bytes.nonzeroBitCount == 1 ? bytes : 512
    }

    private static func device(
        _ file: borrowing FileDescriptor, _ status: FileStatus, _ options: DiskOptions
    ) throws(DiskError) -> Native {
        var readOnly: Int32 = 0
        var (logical, physical): (Int32, UInt32) = (512, 512)
        // SAFETY: the requests fill the 32-bit locals.
        unsafe _ = cl_ioctl_pointer(file.raw, CL_BLKROGET, &readOnly)
        unsafe _ = cl_ioctl_pointer(file.raw, CL_BLKSSZGET, &logical)
        unsafe _ = cl_ioctl_pointer(file.raw, CL_BLKPBSZGET, &physical)
        // The kernel opens it for writing all the same, and refuses each write.
        guard readOnly == 0 || options.readOnly else {
            throw DiskError(
                options, "is a read-only block device", remedy: "set readonly, or make it writable: blockdev --setrw",
                errno: .readOnly)
        }
        var native = Native(
            size: try deviceSize(file, options), logical: UInt32(max(logical, 512)), memoryAlignment: 512)
        native.physical = max(physical, native.logical)
        native.memoryAlignment = Int(native.logical)
        native.isBlockDevice = true
        // A partition's limits are those of its disk.
        let directory = "/sys/dev/block/\(status.deviceNumber.major):\(status.deviceNumber.minor)"
        let limit =
            HostProbe.number("\(directory)/queue/discard_max_bytes")
            ?? HostProbe.number("\(directory)/../queue/discard_max_bytes")
        native.canDiscard = limit != 0
        return native
    }

    /// How large a block device is now, in bytes.
    static func deviceSize(_ file: borrowing FileDescriptor, _ options: DiskOptions) throws(DiskError) -> UInt64 {
        var bytes: UInt64 = 0
        // SAFETY: the request fills a 64-bit local.
        let result = unsafe cl_ioctl_pointer(file.raw, CL_BLKGETSIZE64, &bytes)
        guard result >= 0 else { throw DiskError(options, "does not tell its size: \(Errno(-result))") }
        return bytes
    }
}
