import CLinux

/// What tells one file from another, whatever their names.
package struct FileIdentity: Equatable, Sendable {
    let device: UInt64, inode: UInt64

    /// What is at a path, a symbolic link itself; nil when nothing is.
    init?(_ path: String) {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the call.
        guard unsafe lstat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    /// The file that a path leads to, over symbolic links; nil when there is none.
    package init?(following path: String) {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the call.
        guard unsafe stat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    /// The file or block device that a path leads to, over symbolic links; nil when there is none, and for what keeps no
    /// bytes: terminals, `/dev/null`, FIFOs, sockets.
    package init?(ofStorage path: String) {
        var status = stat()
        // SAFETY: the kernel fills the local; the path's bytes live through the call.
        guard unsafe stat(path, &status) == 0 else { return nil }
        let kind = status.st_mode & UInt32(S_IFMT)
        guard kind == UInt32(S_IFREG) || kind == UInt32(S_IFBLK) else { return nil }
        self.init(status)
    }

    private init(_ status: stat) {
        (device, inode) = (UInt64(status.st_dev), UInt64(status.st_ino))
    }

    /// An open file.
    init(_ file: borrowing FileDescriptor) throws(HostError) {
        let status = try file.status()
        (device, inode) = (status.device, status.inode)
    }
}
