import Host

/// What is wrong with a snapshot: in which file, at which field, and what to do about it.
package struct SnapshotError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What sort of thing is wrong, for code that decides by it.
    package enum Kind: Equatable, Sendable {
        /// A file or directory of the snapshot is not there.
        case missing
        /// A file's bytes are not what the format says.
        case malformed
        /// A number of the format that this version does not know.
        case format(found: Int, newest: Int)
        /// A device's section has a version that this version does not read.
        case version(device: String, kind: String, found: Int, known: [Int])
        /// A device's section is that of another kind of device.
        case kindOfDevice(device: String, found: String, wanted: String)
        /// The snapshot has no section for the device.
        case noSuchDevice(String)
        /// The snapshot has sections that nobody read.
        case unknownDevices([String])
        /// Two sections for one device.
        case duplicateDevice(String)
        /// A file's length is not the manifest's.
        case length
        /// A file's checksum is not the manifest's, or a chunk's not the table's.
        case checksum
        /// The snapshot is of another architecture.
        case architecture
        /// The parent of a diff is not where it was.
        case parentGone
        /// What lies in the parent's place is another snapshot.
        case notTheParent
        /// The target exists.
        case exists
        /// The file system is full.
        case noSpace
        /// The snapshot's memory does not have the ranges that the machine has.
        case memoryLayout
        /// The host refused.
        case host(Errno)
        /// What was asked for makes no sense, whatever the snapshot holds.
        case usage
        /// Whoever waited for it gave up.
        case cancelled
    }

    /// What sort of thing is wrong.
    package let kind: Kind
    /// The path of the file or directory.
    package let file: String?
    /// The place in it: keys with dots between them, or a chunk's number.
    package let field: String?
    /// What is wrong there and what to do.
    package let words: String

    package init(_ kind: Kind, file: String? = nil, field: String? = nil, _ words: String) {
        (self.kind, self.file, self.field, self.words) = (kind, file, field, words)
    }

    /// One line: where, what, what to do. What a file says appears in it without control characters.
    package var description: String {
        let line = [file, field, words].compactMap { $0 }.joined(separator: ": ")
        let plain = line.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }
        return String(String.UnicodeScalarView(plain))
    }

    /// The same error of a file that the place where it was made did not know.
    func of(_ path: String) -> SnapshotError {
        file == nil ? SnapshotError(kind, file: path, field: field, words) : self
    }
}
