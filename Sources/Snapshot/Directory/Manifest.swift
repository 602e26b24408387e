import Host

/// What `manifest.json` says of a snapshot: what it is, what it needs, and what its files are.
package struct Manifest: Codable, Equatable, Sendable {
    /// The format that is written; older ones are read for ever.
    package static let format = 1

    /// The format of the directory.
    package var format: Int
    /// The snapshot's own id, a random UUID in lower case.
    package var id: String
    /// The program that wrote it, with its version.
    package var writer: String
    /// When it was written, in UTC, as in RFC 3339.
    package var time: String
    /// The guest's architecture, as uname(2) says it.
    package var architecture: String
    /// The snapshot that a diff builds upon; nil in a full one.
    package var parent: SnapshotParent?
    /// What the host has to have.
    package var needs: SnapshotNeeds
    /// The guest's RAM.
    package var memory: MemoryLayout
    /// The files beside the manifest by their names.
    package var files: [String: FileEntry]
    /// The disks' images as they were; nil where nobody looked.
    package var disks: [SnapshotDisk]?

    /// Whether the snapshot has only the pages that were written since its parent.
    package var isDiff: Bool { parent != nil }

    /// A file beside the manifest.
    package struct FileEntry: Codable, Equatable, Sendable {
        /// Its length in bytes.
        package var length: UInt64
        /// The CRC-32C of its bytes in eight hexadecimal digits, for a disk's image that of ``ImagePump``; nil for the
        /// memory, whose chunks have their own, and for an image that shares its blocks with the original.
        package var crc32c: String?
    }

    /// The guest's RAM and its place in the memory's file.
    package struct MemoryLayout: Codable, Equatable, Sendable {
        /// Bytes of a page: 4096.
        package var pageSize: Int
        /// Bytes of a chunk: 2 MiB.
        package var chunkSize: Int
        /// Bytes of pages in the file that are no holes.
        package var dataBytes: UInt64
        /// The regions in ascending order.
        package var regions: [Region]

        enum CodingKeys: String, CodingKey {
            case pageSize = "page_size"
            case chunkSize = "chunk_size"
            case dataBytes = "data_bytes"
            case regions
        }
    }

    /// One region of the guest's RAM.
    package struct Region: Codable, Equatable, Sendable {
        /// The first guest-physical address.
        package var guestAddress: UInt64
        /// Its length in bytes.
        package var size: UInt64
        /// Where in the memory's file it begins, a multiple of the chunk size.
        package var fileOffset: UInt64

        enum CodingKeys: String, CodingKey {
            case guestAddress = "guest_address"
            case size
            case fileOffset = "file_offset"
        }
    }
}

/// The snapshot that a diff builds upon.
package struct SnapshotParent: Codable, Equatable, Sendable {
    /// Its id.
    package var id: String
    /// Its directory, relative to the diff's own.
    package var path: String

    package init(id: String, path: String) {
        self.id = id
        self.path = path
    }
}

/// A disk's image as it was when its guest stood still for the snapshot. Without it the guest's memory and its disk do not
/// agree.
package struct SnapshotDisk: Codable, Equatable, Sendable {
    /// The disk's id, and the path of its image.
    package var id: String, path: String
    /// The image's length in bytes, and its number in its file system.
    package var size: Int64, inode: UInt64
    /// When it was last written, in ns since 1970 in UTC; 0 for a block device, which does not know.
    package var modified: Int64
    /// The file of the snapshot that has its bytes; nil where the snapshot has none.
    package var file: String?

    /// Looks at an image; nil for what is neither a file nor a block device.
    package init?(id: String, path: String) {
        guard let file = try? FileDescriptor.openForReading(path), let status = try? file.status() else { return nil }
        (self.id, self.path) = (id, path)
        switch status.kind {
        case .regular: (size, inode, modified) = (status.size, status.inode, status.modified)
        case .blockDevice: (size, inode, modified) = (Int64(clamping: file.end() ?? 0), 0, 0)
        default: return nil
        }
    }

    /// What has changed about the image since; nil if nothing has.
    package var change: String? {
        guard var now = SnapshotDisk(id: id, path: path) else { return "it is not there any more" }
        now.file = file
        if now == self { return nil }
        if now.size != size { return "it had \(size) bytes and has \(now.size)" }
        if now.inode != inode { return "another file is in its place" }
        return "it was written \((now.modified &- modified) / 1_000_000_000) s after the guest stood still"
    }
}

/// What a host has to have for a snapshot to run on it.
package struct SnapshotNeeds: Codable, Equatable, Sendable {
    /// The bits of CPUID that the guest saw set.
    package var cpuid: [CPUIDWord]
    /// The capabilities of KVM by their names, for example `KVM_CAP_XSAVE2`.
    package var kvm: [String]

    package init(cpuid: [CPUIDWord] = [], kvm: [String] = []) {
        (self.cpuid, self.kvm) = (cpuid, kvm)
    }

    /// A register of a CPUID leaf.
    package struct CPUIDWord: Codable, Equatable, Sendable {
        /// The leaf and the subleaf that are asked for.
        package var leaf: UInt32, subleaf: UInt32
        /// The register of the answer.
        package var register: Register
        /// The bits that have to be set in it.
        package var bits: UInt32

        package init(leaf: UInt32, subleaf: UInt32 = 0, _ register: Register, bits: UInt32) {
            (self.leaf, self.subleaf, self.register, self.bits) = (leaf, subleaf, register, bits)
        }
    }

    /// The registers that CPUID answers in.
    package enum Register: String, Codable, Equatable, Sendable { case eax, ebx, ecx, edx }
}

/// The names of a snapshot's files.
package enum SnapshotFile {
    /// What the snapshot is.
    package static let manifest = "manifest.json"
    /// The VM's configuration.
    package static let config = "config.json"
    /// The state of vCPUs, chips and devices.
    package static let state = "state.json"
    /// The guest's RAM at true offsets, with holes for zeroes.
    package static let memory = "memory.bin"
    /// Which pages are in it, with checksums.
    package static let memoryMap = "memory.map"
    /// What the last guest from it touched first; no part of the snapshot, and listed nowhere.
    package static let workingSet = "working-set"

    /// Whether a file of a snapshot that is being written may have this name.
    package static func isOne(_ name: String) -> Bool {
        if [manifest, config, state, memory, memoryMap, workingSet, workingSet + ".new"].contains(name) { return true }
        let digits = name.dropFirst(4).dropLast(4)
        return name.hasPrefix("disk") && name.hasSuffix(".raw") && !digits.isEmpty
            && digits.utf8.allSatisfy { 0x30...0x39 ~= $0 }
    }
}
