internal import CLinux
internal import Host

/// Says why a socket cannot be connected to, with what is likely behind it.
enum ConnectFailure {
    /// The kernel's words, and the likely cause with what to do.
    static func causes(_ errno: Errno, _ path: String) -> [String] { ["\(errno)", hint(errno.number, path)] }

    private static func hint(_ number: Int32, _ path: String) -> String {
        switch number {
        case ENOENT: "no VMM has made this socket: is the path right, and is the VMM started?"
        case ECONNREFUSED: "nobody listens there: the VMM that made this socket has ended, or the file is no socket"
        case EACCES, EPERM:
            "a VMM's socket is for its user alone: run as that user, or start the VMM with --api-group and be in that group"
        case EAGAIN: "the VMM accepts no more clients: it is stopped or overloaded"
        case ENAMETOOLONG: "a socket's path has 1 to \(UnixSocketLimits.path) bytes, this one \(path.utf8.count)"
        case ENOTDIR: "a part of the path before its last is no directory"
        case EPROTOTYPE: "this socket is of another type than a VMM's"
        case EMFILE, ENFILE: "too many files are open: close some, or raise the limit (ulimit -n)"
        default: "the kernel refuses it"
        }
    }
}
