import CLinux

/// Time of the host.
package enum HostClock {
    /// Nanoseconds of the monotonic clock, which never jumps.
    package static var monotonic: UInt64 { read(CLOCK_MONOTONIC) }

    /// Seconds and nanoseconds since 1970 in UTC.
    package static var realTime: (seconds: Int64, nanoseconds: Int64) {
        var time = timespec()
        // SAFETY: the call fills the local.
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return (Int64(time.tv_sec), Int64(time.tv_nsec))
    }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        // SAFETY: the call fills the local.
        unsafe clock_gettime(clock, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }
}

extension HostClock {
    /// The processor time of one of this process's threads in ns; nil when there is none of that number.
    static func processorTime(ofThread number: Int32) -> UInt64? {
        // As the kernel makes the clocks of pthread_getcpuclockid(3): the number's complement, of one thread, on its
        // processor. (include/linux/posix-timers_types.h)
        let clock = ~number << 3 | 4 | 2
        var time = timespec()
        // SAFETY: the call fills the local.
        guard unsafe clock_gettime(clock, &time) == 0 else { return nil }
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    /// The processor time of all threads of this process so far, in ns.
    package static var processorTime: UInt64 { read(CLOCK_PROCESS_CPUTIME_ID) }

    /// Lets the calling thread sleep, at least that long unless a signal comes.
    package static func sleep(milliseconds: Int) { sleep(microseconds: milliseconds * 1000) }

    /// Lets the calling thread sleep, at least that long unless a signal comes.
    package static func sleep(microseconds: Int) {
        var time = timespec(tv_sec: microseconds / 1_000_000, tv_nsec: microseconds % 1_000_000 * 1000)
        // SAFETY: the call reads the local.
        _ = unsafe nanosleep(&time, nil)
    }
}
