import CLinux

/// A timer that a thread waits for with epoll (`timerfd_create(2)`), on the monotonic clock.
package struct IntervalTimer: ~Copyable, Sendable {
    private let file: FileDescriptor
    /// Milliseconds between two expirations; 0 while it stands still.
    package private(set) var interval = 0

    /// Creates a timer that stands still.
    package init() throws(HostError) {
        let raw = timerfd_create(Int32(CLOCK_MONOTONIC), Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK))
        guard raw >= 0 else { throw HostError("create a timer", nil, Errno.current) }
        file = FileDescriptor(owning: raw)
    }

    /// The descriptor's number, for epoll: readable from an expiration until `drain`.
    package var raw: Int32 { file.raw }

    /// Takes note of the expirations so far; the next one comes only after this.
    package borrowing func drain() {
        var count: UInt64 = 0
        // SAFETY: the kernel fills the eight bytes of the local.
        _ = unsafe read(file.raw, &count, 8)
    }

    /// Expires every so many milliseconds from now on; 0 stops it. Asking for what it does already costs nothing.
    package mutating func run(every milliseconds: Int) {
        guard milliseconds != interval else { return }
        interval = milliseconds
        let time = timespec(tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
        var setting = itimerspec(it_interval: time, it_value: time)
        // SAFETY: the kernel reads the local during the call.
        _ = unsafe timerfd_settime(file.raw, 0, &setting, nil)
    }
}
