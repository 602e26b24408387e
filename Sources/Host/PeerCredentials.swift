/// Who is at the other end of a Unix socket, as the kernel vouches for it (SO_PEERCRED, unix(7)).
package struct PeerCredentials: Equatable, Sendable, CustomStringConvertible {
    /// The process, in this process's PID namespace; 0 when it is not visible there.
    package let process: Int32
    /// The effective user and group when it connected.
    package let user: UInt32, group: UInt32

    package init(process: Int32, user: UInt32, group: UInt32) {
        (self.process, self.user, self.group) = (process, user, group)
    }

    package var description: String { "pid=\(process) uid=\(user) gid=\(group)" }
}
