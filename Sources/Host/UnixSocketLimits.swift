import CLinux

/// What the kernel allows on Unix sockets (unix(7)).
package enum UnixSocketLimits {
    /// How many descriptors travel with one message at most (SCM_MAX_FD).
    package static let descriptors = CL_DESCRIPTORS_AT_ONCE
    /// The longest path of a socket, in bytes.
    package static var path: Int { cl_unix_path_room() - 1 }
}
