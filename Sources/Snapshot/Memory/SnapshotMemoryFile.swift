import Host

/// The memory's file of a snapshot that a guest runs from.
struct SnapshotMemoryFile: Sendable {
    /// Its path when it was opened.
    let path: String
    private let file: OwnedFile
    private let length: UInt64

    init(_ directory: SnapshotDirectory) {
        (path, file, length) = (directory.memoryPath, directory.memory, directory.memoryLength)
    }

    /// What keeps its bytes from being had, as far as its length tells; nil as long as they may be.
    var problem: SnapshotError? {
        guard let status = try? file.descriptor.status(), UInt64(clamping: status.size) < length else { return nil }
        return SnapshotError(
            .length, file: path,
            "a guest runs from this file, which had \(length) bytes and has \(status.size) now: what is missing is lost for "
                + "the guest; let nobody change a snapshot that is in use, and restore the VM when the file is as it was"
        )
    }
}
