import Host

/// The directory that a snapshot is written into before it has its name: beside the target, with a name that begins with a
/// dot, locked as long as its writer lives.
struct TemporaryDirectory: ~Copyable, Sendable {
    /// The directory's path.
    let path: String
    /// The directory, whose lock tells others that the writer lives.
    let descriptor: FileDescriptor

    /// Makes one, and removes those that dead writers of the same target have left.
    init(for target: SnapshotTarget) throws(HostError) {
        Self.removeStale(for: target)
        var attempt = 0
        while true {
            let path = "\(target.parent)/\(DraftName.new(for: target.name))"
            do {
                try Directory.make(path)
            } catch {
                attempt += 1
                if error.errno == .exists, attempt < 8 { continue }
                throw error
            }
            guard let descriptor = try Self.locked(path) else {
                attempt += 1
                if attempt < 8 { continue }
                throw HostError("lock", path, .busy)
            }
            self.path = path
            self.descriptor = descriptor
            return
        }
    }

    /// Opens and locks a directory that was just made; nil where another writer took it for a dead one's meanwhile.
    private static func locked(_ path: String) throws(HostError) -> FileDescriptor? {
        do throws(HostError) {
            let descriptor = try Directory.open(path)
            // A file system without locks has nobody who could remove it.
            let isLocked = (try? descriptor.tryLock(path: path)) ?? true
            guard isLocked, descriptor.isAt(path) else { return nil }
            return descriptor
        } catch {
            if error.errno == .noSuchFile { return nil }
            throw error
        }
    }

    /// Removes what dead writers have left: nobody holds its lock.
    private static func removeStale(for target: SnapshotTarget) {
        Directory.removeStale(
            in: target.parent, where: { DraftName.isOne($0, of: target.name) }, of: SnapshotFile.isOne)
    }
}

/// The name that something has before it is whole: `.NAME.TAG.incomplete`.
package enum DraftName {
    private static let suffix = ".incomplete"

    /// As much of a name as is in it: one of 255 bytes has to leave room for the rest.
    private static func shortened(_ name: String) -> Substring {
        var name = Substring(name)
        while name.utf8.count > 180 { name.removeLast() }
        return name
    }

    /// A new one.
    static func new(for name: String) -> String { ".\(shortened(name)).\(Directory.newTag())\(suffix)" }

    /// The name that is in a draft's name; nil where it is none.
    package static func name(in draft: String) -> Substring? {
        guard draft.first == ".", draft.hasSuffix(suffix) else { return nil }
        let rest = draft.dropFirst().dropLast(suffix.count)
        guard let dot = rest.lastIndex(of: "."), Directory.isTag(rest[rest.index(after: dot)...]) else { return nil }
        return rest[..<dot]
    }

    /// Whether a name is one of something that is to have a name.
    static func isOne(_ draft: String, of name: String) -> Bool { self.name(in: draft) == shortened(name) }
}

/// Where a snapshot is to be.
struct SnapshotTarget: Sendable {
    /// The path as it was given, without slashes at its end.
    let path: String
    /// The directory that is to hold it, absolute.
    let parent: String
    /// Its name there.
    let name: String
    private let replacesEmptyDirectory: Bool

    /// - Throws: ``SnapshotError`` where the parent is no directory or the name is taken.
    init(_ given: String, replacesEmptyDirectory: Bool) throws(SnapshotError) {
        var path = Substring(given)
        while path.count > 1, path.last == "/" { path.removeLast() }
        let name = path.split(separator: "/", omittingEmptySubsequences: false).last.map(String.init) ?? ""
        guard !name.isEmpty, name != ".", name != "..", name.utf8.count <= 255, !path.utf8.contains(0) else {
            throw SnapshotError(.usage, file: given, "this names no new directory; name one that does not exist yet")
        }
        let above = path.dropLast(name.count)
        do {
            parent = try Directory.resolved(above.isEmpty ? "." : String(above))
        } catch {
            throw SnapshotError(
                .host(error.errno), file: String(above.isEmpty ? "." : above),
                "there is no directory to put the snapshot \(name) into: \(error.errno); make it first")
        }
        self.path = String(path)
        self.name = name
        self.replacesEmptyDirectory = replacesEmptyDirectory
        guard Directory.exists(self.path) else { return }
        let isEmpty = (try? Directory.entries(self.path))?.isEmpty ?? false
        guard replacesEmptyDirectory, isEmpty, !Directory.isLink(self.path) else { throw exists }
    }

    /// Gives a directory the name, unless somebody else has taken it meanwhile.
    func take(_ directory: String) throws(HostError) {
        if replacesEmptyDirectory {
            try Directory.renameOverEmpty(directory, to: path)
        } else {
            try Directory.renameNew(directory, to: path)
        }
    }

    /// The error where something has the name.
    var exists: SnapshotError {
        SnapshotError(
            .exists, file: path, "this exists, and a snapshot replaces nothing; name another directory or move this one"
        )
    }
}
