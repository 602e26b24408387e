import Host
import Snapshot

/// The directories that hold a VM's memory while its children start.
enum ForkTemplate {
    /// What their names begin with.
    static let prefix = "swiftlet-fork-"

    /// The age in seconds at which one that nobody holds is a dead process's: between two steps of its making nobody does.
    private static let age: Int64 = 60

    /// Removes what processes that were killed in the middle of a fork have left.
    ///
    /// - Parameter base: the directory that they lie in.
    static func removeStale(in base: String) {
        Directory.removeStale(in: base, age: age, where: isOne, of: SnapshotFile.isOne)
    }

    /// Whether a name is `swiftlet-fork-PID-TAG`, or that of one that is being written.
    private static func isOne(_ name: String) -> Bool {
        let name = DraftName.name(in: name) ?? Substring(name)
        guard name.hasPrefix(prefix) else { return false }
        let rest = name.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
        return rest.count == 2 && Int32(rest[0]) != nil && Directory.isTag(rest[1])
    }
}
