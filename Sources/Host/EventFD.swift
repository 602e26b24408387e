import CLinux

/// A counter in the kernel that threads, KVM and epoll signal each other with (`eventfd(2)`), non-blocking.
///
/// Shared by the code that signals it and the code that waits; closed when the last of them lets go.
package final class EventFD: Sendable {
    private let file: FileDescriptor

    /// Creates a counter at zero.
    package init() throws(HostError) {
        let raw = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        guard raw >= 0 else { throw HostError("create an eventfd", nil, Errno.current) }
        file = FileDescriptor(owning: raw)
    }

    /// The descriptor's number, for epoll and KVM; valid as long as this object lives.
    package var raw: Int32 { file.raw }

    /// Adds one to the counter. A counter that is full already wakes its waiter, so that case is no error.
    package func signal() { _ = eventfd_write(file.raw, 1) }

    /// Sets the counter to zero and says whether it was above.
    @discardableResult
    package func drain() -> Bool {
        var value: eventfd_t = 0
        // SAFETY: eventfd_read fills the local and keeps no pointer to it.
        return unsafe eventfd_read(file.raw, &value) == 0
    }

    /// Whether the counter is above zero, without changing it.
    package var isPending: Bool {
        var entry = pollfd(fd: file.raw, events: Int16(POLLIN), revents: 0)
        // SAFETY: poll reads and writes the one local entry.
        return unsafe poll(&entry, 1, 0) == 1 && entry.revents & Int16(POLLIN) != 0
    }
}
