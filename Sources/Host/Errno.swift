import CLinux

/// An error number of the kernel, for example `ENOENT`.
package struct Errno: Error, Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The positive number as `errno` has it.
    package let number: Int32

    package init(_ number: Int32) { self.number = number }

    /// The error's words and name, for example `No such file or directory (ENOENT)`.
    package var description: String {
        var buffer = [CChar](repeating: 0, count: 128)
        // SAFETY: the words are a constant or lie in the array, which outlives the copy made of them.
        let words = unsafe buffer.withUnsafeMutableBufferPointer { space in
            unsafe String(cString: cl_error_words(number, space.baseAddress, space.count))
        }
        guard let name = Self.names[number] else { return "\(words) (errno \(number))" }
        return "\(words) (\(name))"
    }

    private static let names: [Int32: String] = [
        EPERM: "EPERM", ENOENT: "ENOENT", EINTR: "EINTR", EIO: "EIO", ENXIO: "ENXIO", E2BIG: "E2BIG", EBADF: "EBADF",
        EAGAIN: "EAGAIN", ENOMEM: "ENOMEM", EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY", EEXIST: "EEXIST",
        ENODEV: "ENODEV", ENOTDIR: "ENOTDIR", EISDIR: "EISDIR", EINVAL: "EINVAL", ENFILE: "ENFILE", EMFILE: "EMFILE",
        ENOTTY: "ENOTTY", ETXTBSY: "ETXTBSY", EFBIG: "EFBIG", ENOSPC: "ENOSPC", EROFS: "EROFS", EPIPE: "EPIPE",
        ENOSYS: "ENOSYS", ENAMETOOLONG: "ENAMETOOLONG", ELOOP: "ELOOP", EOPNOTSUPP: "EOPNOTSUPP",
        EADDRINUSE: "EADDRINUSE", ECONNREFUSED: "ECONNREFUSED", ETIMEDOUT: "ETIMEDOUT", EDOM: "EDOM",
        ECONNRESET: "ECONNRESET", EOVERFLOW: "EOVERFLOW", EBADFD: "EBADFD", ENOTSOCK: "ENOTSOCK",
        EPROTOTYPE: "EPROTOTYPE", ENOTCONN: "ENOTCONN", EDQUOT: "EDQUOT",
    ]

    package static let notPermitted = Errno(EPERM)
    package static let noSuchFile = Errno(ENOENT)
    package static let interrupted = Errno(EINTR)
    package static let wouldBlock = Errno(EAGAIN)
    package static let noMemory = Errno(ENOMEM)
    package static let accessDenied = Errno(EACCES)
    package static let busy = Errno(EBUSY)
    package static let exists = Errno(EEXIST)
    package static let invalid = Errno(EINVAL)
    package static let noSpace = Errno(ENOSPC)
    package static let quotaExceeded = Errno(EDQUOT)
    package static let readOnly = Errno(EROFS)
    package static let notSupported = Errno(EOPNOTSUPP)
    package static let isDirectory = Errno(EISDIR)
    package static let notDirectory = Errno(ENOTDIR)
    package static let brokenPipe = Errno(EPIPE)
    package static let tooManyFiles = Errno(EMFILE)
    package static let addressInUse = Errno(EADDRINUSE)
    package static let tooLarge = Errno(EFBIG)
    package static let inputOutput = Errno(EIO)
    package static let linkLoop = Errno(ELOOP)
    package static let connectionReset = Errno(ECONNRESET)
}

/// A call to the kernel that failed: what was attempted, on what, and why.
package struct HostError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was attempted, as a verb phrase: `open`, `map 256 MiB`.
    package let operation: String
    /// The path or name of what it was attempted on, if it has one.
    package let subject: String?
    /// The kernel's reason.
    package let errno: Errno

    package init(_ operation: String, _ subject: String? = nil, _ errno: Errno) {
        self.operation = operation
        self.subject = subject
        self.errno = errno
    }

    package var description: String {
        guard let subject else { return "cannot \(operation): \(errno)" }
        return "cannot \(operation) \(subject): \(errno)"
    }
}

/// The value of a shim that answers `-errno` on failure, or the error.
package func checked(
    _ result: Int32, _ operation: @autoclosure () -> String, _ subject: @autoclosure () -> String? = nil
) throws(HostError) -> Int32 {
    guard result < 0 else { return result }
    throw HostError(operation(), subject(), Errno(-result))
}
