import FoundationEssentials
import Host
import Synchronization

/// Writes one snapshot: into a temporary directory beside the target, which gets the target's name when all is on the
/// disk. Until then the target is absent; whatever fails, or ends the process, leaves it so.
///
/// The VM has to stand still during `write` and may run on before `commit`, which waits for the disk.
package final class SnapshotWriter: Sendable {
    private let target: SnapshotTarget
    private let directory: TemporaryDirectory
    private let hook: SnapshotStepHook?
    private let progress = Mutex(Progress())

    private struct Progress {
        /// What the manifest is to say of the files so far.
        var files: [String: Manifest.FileEntry] = [:]
        /// The files that are yet to be synced.
        var written: [WrittenFile] = []
        /// What was written, when all is.
        var manifest: Manifest?
        /// Whether the directory has the target's name, or is gone.
        var isOver = false
    }

    /// The path that the snapshot will have.
    package var path: String { target.path }

    /// Makes the temporary directory, and removes those that dead writers of the same target have left.
    ///
    /// - Parameters:
    ///   - path: what the snapshot is to be: it must not exist, and what is above it must.
    ///   - replacesEmptyDirectory: whether it may be an empty directory, which the snapshot takes the place of in one
    ///     step when it is complete.
    ///   - hook: is told of each step.
    /// - Throws: ``SnapshotError`` where the target exists or its parent cannot be written to.
    package init(
        _ path: String, replacesEmptyDirectory: Bool = false, hook: SnapshotStepHook? = nil
    ) throws(SnapshotError) {
        let target = try SnapshotTarget(path, replacesEmptyDirectory: replacesEmptyDirectory)
        do throws(HostError) {
            do throws(Errno) { try hook?(.makeDirectory) } catch {
                throw HostError("make a directory in", target.parent, error)
            }
            directory = try TemporaryDirectory(for: target)
        } catch {
            throw SnapshotError(
                Self.kind(error.errno), file: target.path,
                "\(error)\(Self.advice(error.errno, target.parent))")
        }
        self.target = target
        self.hook = hook
    }

    deinit { abandon() }

    /// Writes all files, without waiting for the disk. Whatever fails removes the temporary directory.
    ///
    /// - Parameters:
    ///   - memory: all of it, or for a diff what was written since the parent.
    ///   - workers: how many threads write memory; nil for as many as there are processors.
    package func write(
        _ contents: SnapshotContents, memory: LiveMemory, workers: Int? = nil
    ) throws(SnapshotError) {
        guard memory.isDiff == (contents.parent != nil) else {
            throw SnapshotError(
                .usage, file: path, field: "parent",
                "a diff has both a parent and the pages written since; a full one none")
        }
        try write(contents, source: memory, workers: workers)
    }

    func write(
        _ contents: SnapshotContents, source: some MemorySource, workers: Int?
    ) throws(SnapshotError) {
        do throws(SnapshotError) {
            let parent = try contents.parent.map { parent throws(SnapshotError) in try relative(parent) }
            let map = try writeMemory(source, isDiff: parent != nil, workers)
            try write(SnapshotFile.memoryMap, map.encoded)
            let disks = try writeImages(contents, workers)
            try write(SnapshotFile.config, contents.config)
            try write(SnapshotFile.state, contents.state)
            let manifest = Manifest(
                format: Manifest.format, id: contents.origin?.id ?? UUID().uuidString.lowercased(),
                writer: contents.writer,
                time: contents.origin?.time ?? CalendarTime(secondsSince1970: HostClock.realTime.seconds).text,
                architecture: ManifestCheck.architecture,
                parent: parent, needs: contents.needs,
                memory: .init(
                    pageSize: HostRange.pageSize, chunkSize: MemoryGeometry.chunkSize,
                    dataBytes: UInt64(map.dataPages * HostRange.pageSize), regions: source.geometry.regions),
                files: progress.withLock { $0.files }, disks: disks.isEmpty ? nil : disks)
            try write(SnapshotFile.manifest, try ManifestText.encode(manifest))
            progress.withLock { $0.manifest = manifest }
        } catch {
            let full = error.kind == .noSpace ? noSpace(error, contents, source) : error
            abandon()
            throw full
        }
    }

    /// Waits until all is on the disk and gives the snapshot its name. Whatever fails removes the temporary directory.
    ///
    /// - Returns: what the snapshot is.
    package func commit() throws(SnapshotError) -> Manifest {
        let (manifest, written, isOver) = progress.withLock { ($0.manifest, $0.written, $0.isOver) }
        guard let manifest, !isOver else {
            throw SnapshotError(.usage, file: path, "there is no snapshot to be completed")
        }
        do throws(SnapshotError) {
            for file in written {
                try step(.sync(file.name), file.name) { () throws(HostError) in
                    try file.descriptor.sync(path: file.name)
                }
            }
            try step(.sync("."), ".") { () throws(HostError) in try directory.descriptor.sync(path: directory.path) }
            try step(.rename, "") { () throws(HostError) in try target.take(directory.path) }
            do throws(SnapshotError) {
                try step(.syncParent, "..") { () throws(HostError) in
                    try Directory.open(target.parent).sync(path: target.parent)
                }
            } catch {
                // Nobody knows whether the name would outlast a crash, so the snapshot is not given out.
                try? Directory.renameNew(target.path, to: directory.path)
                throw error
            }
        } catch {
            abandon()
            throw error
        }
        end()
        return manifest
    }

    /// Closes the files; false where it was done before.
    @discardableResult private func end() -> Bool {
        progress.withLock { progress in
            defer { (progress.isOver, progress.written) = (true, []) }
            return !progress.isOver
        }
    }

    /// Removes what was written; the target stays absent.
    package func abandon() {
        guard end() else { return }
        try? Directory.removeWithFiles(directory.path)
    }
}

/// A file that was written and is to be synced.
private struct WrittenFile {
    let name: String
    let file: OwnedFile
    var descriptor: FileDescriptor { _read { yield file.descriptor } }
}

/// A descriptor that several own.
final class OwnedFile: Sendable {
    let descriptor: FileDescriptor
    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
}

extension SnapshotWriter {
    /// Takes a step, unless the hook refuses it.
    private func step(
        _ step: SnapshotStep, _ name: String, _ body: () throws(HostError) -> Void
    ) throws(SnapshotError) {
        do throws(Errno) { try hook?(step) } catch { throw failure(error, name, "\(step)") }
        do throws(HostError) { try body() } catch {
            throw failure(error.errno, name, name.isEmpty ? "give the snapshot this name" : error.operation)
        }
    }

    private func failure(_ errno: Errno, _ name: String, _ operation: String) -> SnapshotError {
        Self.failure(errno, name, operation, target)
    }

    private static func failure(
        _ errno: Errno, _ name: String, _ operation: String, _ target: SnapshotTarget
    ) -> SnapshotError {
        if errno == .exists, name.isEmpty { return target.exists }
        let file = name.isEmpty ? target.path : "\(target.path)/\(name)"
        return SnapshotError(kind(errno), file: file, "cannot \(operation): \(errno)\(advice(errno, target.parent))")
    }

    private static func kind(_ errno: Errno) -> SnapshotError.Kind {
        errno == .noSpace || errno == .quotaExceeded ? .noSpace : .host(errno)
    }

    private static func advice(_ errno: Errno, _ parent: String) -> String {
        switch errno {
        case .noSpace: "; the file system of \(parent) is full: free space there or choose another directory"
        case .quotaExceeded: "; this user's share of the file system of \(parent) is used up: choose another directory"
        case .accessDenied, .notPermitted: "; let this user write to \(parent), or choose another directory"
        case .readOnly: "; the file system of \(parent) is mounted read-only: choose another directory"
        case .inputOutput: "; the disk under \(parent) fails: look at the kernel's log, and choose another one"
        case .tooManyFiles: "; raise the limit of open files (ulimit -n)"
        case .busy: "; is it a mount point? name a directory in it"
        case .tooLarge: "; the file system takes no file of that length, or the process may not write one (ulimit -f)"
        default: ""
        }
    }

    /// The error of a full file system with what was needed and what is free.
    private func noSpace(
        _ error: SnapshotError, _ contents: SnapshotContents, _ source: some MemorySource
    ) -> SnapshotError {
        let pages = Atomic<Int>(0)
        let counted: Void? = try? WorkerPool.run(source.geometry.chunkCount, workers: nil) {
            index, scratch throws(SnapshotError) in
            let chunk = source.geometry.chunk(index)
            let wanted = source.pages(of: chunk)
            guard !wanted.isEmpty else { return }
            let found = try source.bytes(of: chunk, scratch).nonzeroPages(of: wanted).pageCount
            // Ordering: a count that is read when the threads are joined.
            pages.wrappingAdd(found, ordering: .relaxed)
        }
        guard counted != nil else { return error }
        if !contents.images.isEmpty { return error }
        let bytes = pages.load(ordering: .relaxed) * HostRange.pageSize + contents.config.count + contents.state.count
        abandon()
        let free = (try? Directory.open(target.parent))?.freeBytes()
        let words = free.map { "\(ByteCount.words($0)) are free" } ?? "too little is free"
        return SnapshotError(
            .noSpace, file: error.file, field: error.field,
            "\(error.words). The snapshot needs \(ByteCount.words(UInt64(bytes))) and \(words)")
    }

    /// The parent as the manifest names it.
    private func relative(_ parent: SnapshotContents.Parent) throws(SnapshotError) -> SnapshotParent {
        do throws(HostError) {
            let place = try Directory.resolved(parent.directory)
            return SnapshotParent(id: parent.id, path: RelativePath.from("\(target.parent)/\(target.name)", to: place))
        } catch {
            throw SnapshotError(
                .parentGone, file: parent.directory,
                "the snapshot that the diff builds upon is gone: \(error.errno); take a full snapshot")
        }
    }

    /// Writes a small file.
    private func write(_ name: String, _ bytes: [UInt8]) throws(SnapshotError) {
        let file = try create(name)
        try step(.write(name, 0), name) { () throws(HostError) in
            do throws(Errno) { try file.descriptor.writeAll(bytes) } catch { throw HostError("write", name, error) }
        }
        let sum = Hexadecimal.text(Checksum.crc32c(bytes))
        progress.withLock { $0.files[name] = .init(length: UInt64(bytes.count), crc32c: sum) }
    }

    private func create(_ name: String) throws(SnapshotError) -> OwnedFile {
        do throws(Errno) { try hook?(.create(name)) } catch { throw failure(error, name, "create") }
        do throws(HostError) {
            let file = OwnedFile(try FileDescriptor.createNew("\(directory.path)/\(name)"))
            progress.withLock { $0.written.append(WrittenFile(name: name, file: file)) }
            return file
        } catch {
            throw failure(error.errno, name, "create")
        }
    }

    /// Writes the images of the disks.
    ///
    /// - Returns: the disks with their files.
    private func writeImages(_ contents: SnapshotContents, _ workers: Int?) throws(SnapshotError) -> [SnapshotDisk] {
        var disks = contents.disks
        for (index, disk) in disks.enumerated() {
            guard let path = contents.images[disk.id] else { continue }
            let name = SnapshotFile.image(index)
            let size = UInt64(clamping: disk.size)
            let source: OwnedFile
            do throws(HostError) { source = OwnedFile(try FileDescriptor.openForReading(path)) } catch {
                throw SnapshotError(
                    .host(error.errno), file: path, "cannot open the image of the disk \"\(disk.id)\": \(error.errno)")
            }
            let (hook, target) = (hook, target)
            var transfer = ImageTransfer(
                source: source, path: path, size: size, target: try create(name),
                failure: { Self.failure($0, name, $1, target) })
            transfer.isCancelled = contents.isCancelled
            transfer.hook = { offset throws(Errno) in try hook?(.write(name, offset)) }
            let sum = try transfer.run(contents.imageMode, workers: workers)
            let known = contents.origin.flatMap { origin in disk.file.flatMap { origin.files[$0]?.crc32c } }
            if let sum, let known, Hexadecimal.text(sum) != known {
                throw .checksum(path, found: sum, expected: Hexadecimal.value(known.utf8) ?? 0)
            }
            progress.withLock { $0.files[name] = .init(length: size, crc32c: sum.map(Hexadecimal.text) ?? known) }
            disks[index].file = name
        }
        return disks
    }

    /// Writes the memory's file on several threads.
    private func writeMemory(
        _ source: some MemorySource, isDiff: Bool, _ workers: Int?
    ) throws(SnapshotError) -> MemoryMap {
        let name = SnapshotFile.memory
        let file = try create(name)
        let length = source.geometry.fileLength
        do throws(HostError) { try file.descriptor.truncate(to: length, path: name) } catch {
            throw failure(error.errno, name, "set the length of the file to \(length) bytes")
        }
        progress.withLock { $0.files[name] = .init(length: length, crc32c: nil) }
        let records = Mutex<[MemoryMap.Record]>([])
        let (hook, target) = (hook, target)
        let geometry = source.geometry
        try WorkerPool.run(geometry.chunkCount, workers: workers) { index, scratch throws(SnapshotError) in
            let chunk = geometry.chunk(index)
            let present = source.pages(of: chunk)
            guard !present.isEmpty else { return }
            let bytes = try source.bytes(of: chunk, scratch)
            let data = bytes.nonzeroPages(of: present)
            if data.isEmpty, !isDiff { return }
            let record = MemoryMap.Record(
                chunk: UInt32(index), checksum: bytes.checksum(of: data), present: present, data: data)
            records.withLock { $0.append(record) }
            for run in data.runs {
                let offset = run.lowerBound * HostRange.pageSize
                let part = bytes.part(offset..<run.upperBound * HostRange.pageSize)
                do throws(Errno) {
                    try hook?(.write(name, chunk.fileOffset + UInt64(offset)))
                    try file.descriptor.writeAll(part, at: chunk.fileOffset + UInt64(offset))
                } catch {
                    throw Self.failure(error, name, "write \(part.count) bytes", target)
                }
            }
            // The disk works while the next chunks are looked at.
            file.descriptor.startWriteback(at: chunk.fileOffset, count: chunk.count)
        }
        return records.withLock { MemoryMap(isDiff: isDiff, chunkCount: geometry.chunkCount, records: $0) }
    }
}

/// Numbers of bytes for people.
enum ByteCount {
    static func words(_ bytes: UInt64) -> String {
        if bytes < 10 << 10 { return "\(bytes) bytes" }
        if bytes < 10 << 20 { return "\((bytes + 1023) >> 10) KiB" }
        return "\((bytes + (1 << 20) - 1) >> 20) MiB"
    }
}
