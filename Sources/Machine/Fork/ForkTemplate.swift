import Host

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
        Directory.removeStale(in: base, age: age) { name in
            name.hasPrefix(prefix) || name.hasPrefix(".\(prefix)") && name.hasSuffix(".incomplete")
        }
    }
}
