import CLinux

/// Who is at the other end of a Unix socket, as the kernel vouches for it (SO_PEERCRED, unix(7)).
package struct PeerCredentials: Equatable, Sendable, CustomStringConvertible {
    /// The process, in this process's PID namespace; 0 when it is not visible there.
    package let process: Int32
    /// The effective user and group when it connected.
    package let user: UInt32, group: UInt32

    package init(process: Int32, user: UInt32, group: UInt32) {
        (self.process, self.user, self.group) = (process, user, group)
    }

    /// Whoever connected the socket, or made it listen when this end connected; nil for what is no Unix socket.
    package init?(ofSocket number: Int32) {
        var (process, user, group): (Int32, UInt32, UInt32) = (0, 0, 0)
        // SAFETY: the call fills the locals.
        guard unsafe cl_peer_credentials(number, &process, &user, &group) == 0 else { return nil }
        self.init(process: process, user: user, group: group)
    }

    package var description: String { "pid=\(process) uid=\(user) gid=\(group)" }
}
