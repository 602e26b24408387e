import Host

/// A step of the writing of a snapshot, for tests that end the process there or have the disk refuse it.
package enum SnapshotStep: Equatable, Sendable {
    /// The temporary directory is made.
    case makeDirectory
    /// A file is made.
    case create(String)
    /// Bytes are written to a file, at an offset.
    case write(String, UInt64)
    /// A file, or the directory as `.`, is put on its disk.
    case sync(String)
    /// The directory gets its name.
    case rename
    /// The name is put on its disk.
    case syncParent
}

/// Is told of each step before it is taken; throwing is as if the kernel had refused it.
package typealias SnapshotStepHook = @Sendable (SnapshotStep) throws(Errno) -> Void
