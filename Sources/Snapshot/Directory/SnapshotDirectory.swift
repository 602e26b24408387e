import Host

/// One snapshot's directory, opened: its manifest and small files were checked, its memory has the right length.
///
/// A diff's memory is in its parents too: `SnapshotChain` opens all of them.
package final class SnapshotDirectory: Sendable {
    /// The directory's path as it was given.
    package let path: String
    /// What it is.
    package let manifest: Manifest
    /// The bytes of `config.json`; empty where only the memory was opened.
    package let config: [UInt8]
    /// The bytes of `state.json`; empty where only the memory was opened.
    package let stateBytes: [UInt8]

    let geometry: MemoryGeometry
    let map: MemoryMap
    /// The memory's file, open for reading.
    let memory: OwnedFile

    /// Which files are opened.
    enum Part { case all, memory }

    /// Opens a snapshot and checks its manifest, the lengths of all its files, and the checksums of all but the memory.
    ///
    /// - Throws: ``SnapshotError`` with the file and the field.
    package convenience init(opening path: String) throws(SnapshotError) { try self.init(path, .all) }

    init(_ path: String, _ part: Part) throws(SnapshotError) {
        self.path = path
        try Self.checkDirectory(path)
        let manifestPath = "\(path)/\(SnapshotFile.manifest)"
        let text = try Self.read(manifestPath, limit: ManifestText.limit)
        let manifest = try ManifestText.decode(text, file: manifestPath)
        self.manifest = manifest
        geometry = MemoryGeometry(manifest.memory.regions)
        let isWhole = part == .all
        config = isWhole ? try Self.listed(SnapshotFile.config, manifest, path) : []
        stateBytes = isWhole ? try Self.listed(SnapshotFile.state, manifest, path) : []
        let mapBytes = try Self.listed(SnapshotFile.memoryMap, manifest, path)
        map = try MemoryMap(mapBytes, manifest, file: "\(path)/\(SnapshotFile.memoryMap)")
        memory = try Self.openMemory(manifest, "\(path)/\(SnapshotFile.memory)")
        if isWhole { try checkImageLengths() }
    }

    /// The state, to be read device by device.
    package func state() throws(SnapshotError) -> StateDocument {
        try StateDocument(stateBytes, file: "\(path)/\(SnapshotFile.state)")
    }

    /// The length of the memory's file, in bytes.
    var memoryLength: UInt64 { manifest.files[SnapshotFile.memory]?.length ?? 0 }

    /// The path of the memory's file, for errors.
    var memoryPath: String { "\(path)/\(SnapshotFile.memory)" }

    /// The path that the parent is at, if it has one.
    var parentPath: String? {
        guard let parent = manifest.parent else { return nil }
        if parent.path.hasPrefix("/") { return parent.path }
        // The directory may have been reached over a link; the parent is beside the directory itself.
        let base = (try? Directory.resolved(path)) ?? path
        return RelativePath.joined(base, parent.path)
    }
}

extension SnapshotDirectory {
    private static func checkDirectory(_ path: String) throws(SnapshotError) {
        do throws(HostError) {
            _ = try Directory.open(path)
        } catch {
            switch error.errno {
            case .noSuchFile:
                throw SnapshotError(
                    .missing, file: path.isEmpty ? "''" : path, "there is no such directory; name that of a snapshot")
            case .notDirectory: throw SnapshotError(.malformed, file: path, "this is no directory, as a snapshot is")
            default: throw SnapshotError(.host(error.errno), file: path, "cannot open the directory: \(error.errno)")
            }
        }
    }

    /// Opens a regular file.
    static func openFile(_ path: String) throws(SnapshotError) -> (OwnedFile, length: UInt64) {
        let file: OwnedFile
        let status: FileStatus
        do throws(HostError) {
            file = OwnedFile(try FileDescriptor.openForReading(path))
            status = try file.descriptor.status()
        } catch {
            if error.errno == .noSuchFile {
                throw SnapshotError(
                    .missing, file: path,
                    "this file of the snapshot is missing; bring it back from where the snapshot came")
            }
            throw SnapshotError(.host(error.errno), file: path, "cannot open it: \(error.errno)")
        }
        guard status.kind == .regular else {
            throw SnapshotError(.malformed, file: path, "this is no regular file, as those of a snapshot are")
        }
        return (file, UInt64(clamping: status.size))
    }

    static func read(_ path: String, limit: Int) throws(SnapshotError) -> [UInt8] {
        let (file, length) = try openFile(path)
        guard length <= UInt64(limit) else {
            throw SnapshotError(.length, file: path, "\(length) bytes are more than such a file has (\(limit))")
        }
        do throws(HostError) {
            return try file.descriptor.readExactly(Int(length), at: 0, path: path)
        } catch {
            throw SnapshotError(.host(error.errno), file: path, "cannot read it: \(error.errno)")
        }
    }

    /// Reads a small file and checks it against the manifest.
    private static func listed(
        _ name: String, _ manifest: Manifest, _ directory: String
    ) throws(SnapshotError) -> [UInt8] {
        let path = "\(directory)/\(name)"
        guard let entry = manifest.files[name] else {
            throw SnapshotError(.malformed, file: path, "the manifest does not list this file")
        }
        let bytes = try read(path, limit: StateDocument.limit)
        guard UInt64(bytes.count) == entry.length else {
            throw wrongLength(path, UInt64(bytes.count), entry.length)
        }
        let sum = Checksum.crc32c(bytes)
        guard let expected = entry.crc32c.flatMap({ Hexadecimal.value($0.utf8) }), sum == expected else {
            let expected = entry.crc32c.flatMap { Hexadecimal.value($0.utf8) } ?? 0
            throw .checksum(path, field: "files.\(name).crc32c", found: sum, expected: expected)
        }
        return bytes
    }

    private static func openMemory(_ manifest: Manifest, _ path: String) throws(SnapshotError) -> OwnedFile {
        let (file, length) = try openFile(path)
        let expected = manifest.files[SnapshotFile.memory]?.length ?? 0
        guard length == expected else { throw wrongLength(path, length, expected) }
        return file
    }

    static func wrongLength(_ path: String, _ found: UInt64, _ expected: UInt64) -> SnapshotError {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        return SnapshotError(
            .length, file: path, field: "files.\(name).length",
            "the file has \(found) bytes and was written with \(expected); bring it back from where the snapshot came, or "
                + "take another snapshot")
    }
}
