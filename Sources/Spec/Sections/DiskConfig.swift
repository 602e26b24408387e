/// One of `disks`: a block device of the guest, backed by a file or a block device of the host.
package struct DiskConfig: Sendable, Equatable {
    /// The image's path on the host.
    package var path: String
    /// The name of the device in the API; nil until one is assigned.
    package var id: String?
    /// Whether the guest may only read.
    package var readonly = false
    /// Whether the host's page cache is bypassed (O_DIRECT).
    package var direct = false
    /// What the guest reads as the disk's id, at most 20 bytes; nil means none.
    package var serial: String?
    /// Request queues.
    package var queueCount: UInt16 = 1
    /// Entries of each queue, a power of two.
    package var queueSize: UInt16 = 128
    /// The format of the image.
    package var imageType = DiskImageType.unknown
    /// Whether discarded and zeroed ranges become holes.
    package var sparse = true
    /// Whether io_uring is left aside.
    package var disableIOUring = false
    /// Whether Linux AIO is left aside.
    package var disableAIO = false
    /// How the image is locked against other users.
    package var lockGranularity = DiskLockGranularity.byteRange
    /// Bytes of a sector as the guest sees it; nil takes a block device's own, for a file 512, or with `direct` what its
    /// file system takes.
    /// Not in Cloud Hypervisor's format.
    package var logicalBlockSize: UInt32?
    /// Bytes that are written at once; nil takes the logical size. Not in Cloud Hypervisor's format.
    package var physicalBlockSize: UInt32?

    /// A disk with the defaults.
    package init(path: String) { self.path = path }
}

/// The format of a disk image.
package enum DiskImageType: String, Sendable, CaseIterable {
    /// The disk's bytes as they are.
    case raw = "Raw"
    /// To be detected; a detected raw image refuses writes to its first sector.
    case unknown = "Unknown"
    /// QEMU's format; not supported.
    case qcow2 = "Qcow2"
    /// Virtual PC's fixed format; not supported.
    case fixedVHD = "FixedVhd"
    /// Hyper-V's format; not supported.
    case vhdx = "Vhdx"
    /// VMware's flat format; not supported.
    case flatVMDK = "FlatVmdk"
}

/// How a disk image is locked against other users (open file description locks).
package enum DiskLockGranularity: String, Sendable, CaseIterable {
    /// The bytes that the image has when it is opened.
    case byteRange = "ByteRange"
    /// The whole file.
    case full = "Full"
}

extension DiskConfig {
    init(_ reader: SectionReader) {
        if reader.value("path") == nil { reader.missing("path", "the path of a disk image") }
        self.init(path: reader.string("path", "a path") ?? "/")
        id = reader.string("id")
        readonly = reader.bool("readonly", default: readonly)
        direct = reader.bool("direct", default: direct)
        serial = reader.string("serial")
        queueCount = reader.integer("num_queues", Limits.diskQueues) ?? queueCount
        queueSize = reader.integer("queue_size", Limits.diskQueueSize) ?? queueSize
        imageType = reader.choice("image_type", default: imageType)
        sparse = reader.bool("sparse", default: sparse)
        disableIOUring = reader.bool("disable_io_uring", default: disableIOUring)
        disableAIO = reader.bool("disable_aio", default: disableAIO)
        lockGranularity = reader.choice("lock_granularity", default: lockGranularity)
        logicalBlockSize = reader.integer("logical_block_size", Limits.logicalBlockSize)
        physicalBlockSize = reader.integer("physical_block_size", Limits.physicalBlockSize)
        reader.finish(
            [
                "path", "id", "readonly", "direct", "serial", "num_queues", "queue_size", "image_type", "sparse",
                "disable_io_uring", "disable_aio", "lock_granularity", "logical_block_size", "physical_block_size",
            ],
            unsupported: Harmless.pciPlacement.merging([
                "vhost_user": .value(.bool(false)), "vhost_socket": .nothing, "rate_limit_group": .nothing,
                "rate_limiter_config": .rateLimiter, "queue_affinity": .nothing, "backing_files": .nothing,
            ]) { $1 })
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("id", id.map { .string($0) }), ("pci_segment", .integer(0)), ("path", .string(path)),
            ("readonly", .bool(readonly)), ("direct", .bool(direct)), ("num_queues", .integer(queueCount)),
            ("queue_size", .integer(queueSize)), ("vhost_user", .bool(false)),
            ("disable_io_uring", .bool(disableIOUring)), ("disable_aio", .bool(disableAIO)),
            ("serial", serial.map { .string($0) }), ("backing_files", .bool(false)), ("sparse", .bool(sparse)),
            ("image_type", .string(imageType.rawValue)), ("lock_granularity", .string(lockGranularity.rawValue)),
            ("logical_block_size", logicalBlockSize.map { .integer($0) }),
            ("physical_block_size", physicalBlockSize.map { .integer($0) }),
        ])
    }

    func validate(bootVCPUs: UInt32, _ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.filePath("path", self.path)
        checks.id(id)
        checks.noNull("serial", serial)
        if let serial, serial.utf8.count > Limits.diskSerialLength {
            let length = "\(serial.utf8.count) bytes long, expected at most \(Limits.diskSerialLength)"
            checks.invalid("serial", "\(quoted(serial)) is \(length)")
        }
        checks.range("num_queues", queueCount, Limits.diskQueues)
        if queueCount > bootVCPUs {
            checks.invalid(
                "num_queues",
                "\(queueCount) queues for \(bootVCPUs) boot vCPU\(bootVCPUs == 1 ? "" : "s"); give at most one for each"
            )
        }
        checks.powerOfTwo("queue_size", queueSize, Limits.diskQueueSize)
        if imageType != .raw, imageType != .unknown {
            let advice = "only Raw and Unknown are; convert the image with 'qemu-img convert -O raw'"
            checks.report(
                .unsupported, "image_type", "\(imageType.rawValue) is not supported yet by this version; \(advice)")
        }
        if let logicalBlockSize {
            checks.powerOfTwo("logical_block_size", logicalBlockSize, Limits.logicalBlockSize)
        }
        if let physicalBlockSize {
            checks.powerOfTwo("physical_block_size", physicalBlockSize, Limits.physicalBlockSize)
            if physicalBlockSize < logicalBlockSize ?? 512 {
                let logical = logicalBlockSize ?? 512
                checks.invalid(
                    "physical_block_size",
                    "\(physicalBlockSize) is less than the logical block size, \(logical); raise it")
            }
        }
    }
}
