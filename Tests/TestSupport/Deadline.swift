import Glibc

/// A point in time by which something has to have happened, on the monotonic clock.
package struct Deadline: Sendable {
    private let end: ContinuousClock.Instant

    /// A deadline that passes this long after now.
    package init(after duration: Duration) { end = ContinuousClock.now.advanced(by: duration) }

    /// A deadline that passes this many seconds after now.
    package static func seconds(_ seconds: Int) -> Deadline { Deadline(after: .seconds(seconds)) }

    /// Whether the time is up.
    package var hasPassed: Bool { ContinuousClock.now >= end }

    /// The time left, never negative.
    package var remaining: Duration { max(.zero, ContinuousClock.now.duration(to: end)) }

    /// Asks again and again until the answer is yes or the time is up; says which.
    ///
    /// The question is asked at least once, and the calling thread sleeps between two questions.
    package func wait(every pause: Duration = .milliseconds(2), until holds: () throws -> Bool) rethrows -> Bool {
        while true {
            if try holds() { return true }
            if hasPassed { return false }
            sleepThread(min(pause, remaining))
        }
    }
}

/// Puts the calling thread to sleep.
package func sleepThread(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    var time = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
    // SAFETY: nanosleep reads the structure during the call and is told not to write the rest back.
    _ = unsafe nanosleep(&time, nil)
}
