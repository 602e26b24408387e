import Glibc
import Host

/// How a disk's image is copied into a snapshot, or out of one.
package enum ImageMode: Sendable {
    /// The copy shares the image's blocks until either is written (FICLONE, ioctl_ficlonerange(2)).
    case reflink
    /// Its bytes, but for zeroes.
    case copy
    /// The first where the file system can, the second elsewhere.
    case either
}

extension SnapshotFile {
    /// The image of a disk, by the disk's place in the manifest's list.
    static func image(_ index: Int) -> String { "disk\(index).raw" }
}

/// Fills a new file with a disk's image.
struct ImageTransfer: Sendable {
    /// The image, open for reading, its name for errors, and its length in bytes.
    let source: OwnedFile, path: String
    let size: UInt64
    /// The new file.
    let target: OwnedFile
    /// The error of something that the new file's side did not take.
    let failure: @Sendable (Errno, _ operation: String) -> SnapshotError
    /// Is asked before bytes are written at an offset.
    var hook: (@Sendable (UInt64) throws(Errno) -> Void)?
    /// Is asked again and again while bytes are copied; true ends it.
    var isCancelled: @Sendable () -> Bool = { false }

    /// - Returns: the sum of the bytes (see ``ImagePump``); nil where the blocks are shared and nobody looked at them.
    func run(_ mode: ImageMode, workers: Int? = nil) throws(SnapshotError) -> UInt32? {
        if mode != .copy {
            guard let refusal = target.descriptor.clone(source.descriptor) else { return nil }
            let isImpossible = [EOPNOTSUPP, EXDEV, EINVAL, ENOTTY].contains(refusal.number)
            guard isImpossible else { throw failure(refusal, "share the blocks of \(path)") }
            if mode == .reflink {
                throw SnapshotError(
                    .host(refusal), file: path, field: "disks",
                    "the image cannot be shared (reflink): \(refusal); image and copy have to be files of one btrfs or XFS, "
                        + "so put them on one, or ask for copy")
            }
        }
        do throws(HostError) { try target.descriptor.truncate(to: size, path: path) } catch {
            throw failure(error.errno, "set the length to \(size) bytes")
        }
        return try ImagePump(source: source, path: path, size: size) { bytes, offset throws(SnapshotError) in
            if isCancelled() {
                throw SnapshotError(
                    .cancelled, file: path, "the copying of this image was given up, since the process ends")
            }
            do throws(Errno) {
                try hook?(offset)
                try target.descriptor.writeAll(bytes, at: offset)
            } catch {
                throw failure(error, "write \(bytes.count) bytes")
            }
        }
        .run(workers: workers)
    }
}

/// A new image of a disk, beside the one that there is.
package enum DiskImageFile {
    /// Copies an image that nobody writes to meanwhile; the copy is there whole or not at all.
    ///
    /// - Parameters:
    ///   - image: the image's path.
    ///   - disk: the disk's id, for errors.
    ///   - path: what the copy is to be; nothing may be there.
    ///   - isCancelled: asked again and again; true ends it.
    package static func copy(
        _ image: String, of disk: String, to path: String, _ mode: ImageMode,
        unless isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(SnapshotError) {
        let source: OwnedFile
        do throws(HostError) { source = OwnedFile(try FileDescriptor.openForReading(image)) } catch {
            throw SnapshotError(
                .host(error.errno), file: image, "cannot open the image of the disk \"\(disk)\": \(error.errno)")
        }
        guard let size = source.descriptor.end() else {
            throw SnapshotError(.malformed, file: image, "this is no image of a disk")
        }
        try make(path, disk) { target, failure throws(SnapshotError) in
            var transfer = ImageTransfer(source: source, path: image, size: size, target: target, failure: failure)
            transfer.isCancelled = isCancelled
            _ = try transfer.run(mode)
        }
    }

    /// Makes a file beside its place and gives it its name when it is whole.
    static func make(
        _ path: String, _ disk: String,
        _ fill: (OwnedFile, @escaping @Sendable (Errno, String) -> SnapshotError) throws(SnapshotError) -> Void
    ) throws(SnapshotError) {
        let failure: @Sendable (Errno, String) -> SnapshotError = { errno, operation in
            errno == .exists
                ? SnapshotError(
                    .exists, file: path,
                    "this exists; move it away, or give the disk \"\(disk)\" another path by overrides")
                : SnapshotError(
                    errno == .noSpace ? .noSpace : .host(errno), file: path,
                    "cannot make the disk \"\(disk)\": \(operation): \(errno)")
        }
        if Directory.exists(path) { throw failure(.exists, "") }
        let parent = Directory.parent(of: path)
        let name = path.split(separator: "/").last.map(String.init) ?? ""
        Directory.removeStaleFiles(in: parent) { DraftName.isOne($0, of: name) }
        let draft = "\(parent)/\(DraftName.new(for: name))"
        let target: OwnedFile
        do throws(HostError) {
            target = OwnedFile(try FileDescriptor.createNew(draft))
            // As long as it is held, nobody takes it for a dead process's. Some file systems have no locks.
            _ = try? target.descriptor.tryLock(path: draft)
            guard target.descriptor.isAt(draft) else { throw HostError("lock", draft, .busy) }
        } catch {
            throw failure(error.errno, "create it")
        }
        do throws(SnapshotError) {
            try fill(target, failure)
            do throws(HostError) { try Directory.renameNew(draft, to: path) } catch {
                throw failure(error.errno, "name it")
            }
        } catch {
            FileDescriptor.remove(draft)
            throw error
        }
    }
}

extension SnapshotDirectory {
    /// Makes a file of a disk's image in the snapshot; it is there whole or not at all.
    ///
    /// - Parameters:
    ///   - disk: one of the manifest's.
    ///   - path: what the file is to be; nothing may be there.
    ///   - isCancelled: asked again and again; true ends it.
    /// - Throws: ``SnapshotError`` of kind `exists` where something is, and whatever else keeps it from being made.
    package func putImage(
        of disk: SnapshotDisk, at path: String, _ mode: ImageMode, workers: Int? = nil,
        unless isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(SnapshotError) {
        guard let name = disk.file, let entry = manifest.files[name] else {
            throw SnapshotError(
                .missing, file: "\(self.path)/\(SnapshotFile.manifest)", field: "disks",
                "the snapshot does not have the image of the disk \"\(disk.id)\": it was taken without disks; leave disks "
                    + "out to use the image that is at the disk's path")
        }
        let from = "\(self.path)/\(name)"
        let source = try Self.openFile(from).0
        try DiskImageFile.make(path, disk.id) { target, failure throws(SnapshotError) in
            var transfer = ImageTransfer(
                source: source, path: from, size: entry.length, target: target, failure: failure)
            transfer.isCancelled = isCancelled
            try checkImage(name, entry, try transfer.run(mode, workers: workers))
        }
    }

    /// Checks all the bytes of the images; of one that shares its blocks with the original only the length is known.
    func verifyImages(_ workers: Int?) throws(SnapshotError) {
        for disk in manifest.disks ?? [] {
            guard let name = disk.file, let entry = manifest.files[name], entry.crc32c != nil else { continue }
            let path = "\(self.path)/\(name)"
            let pump = ImagePump(source: try Self.openFile(path).0, path: path, size: entry.length, write: nil)
            try checkImage(name, entry, try pump.run(workers: workers))
        }
    }

    private func checkImage(_ name: String, _ entry: Manifest.FileEntry, _ sum: UInt32?) throws(SnapshotError) {
        guard let sum, let expected = entry.crc32c.flatMap({ Hexadecimal.value($0.utf8) }), sum != expected else {
            return
        }
        throw .checksum("\(path)/\(name)", field: "files.\(name).crc32c", found: sum, expected: expected)
    }

    /// Checks that the images are there with their lengths.
    func checkImageLengths() throws(SnapshotError) {
        for disk in manifest.disks ?? [] {
            guard let name = disk.file, let entry = manifest.files[name] else { continue }
            let (_, length) = try Self.openFile("\(path)/\(name)")
            if length != entry.length { throw Self.wrongLength("\(path)/\(name)", length, entry.length) }
        }
    }
}
