/// How much of a time is left.
package struct TimeLeft: Sendable {
    private let deadline: UInt64?

    /// - Parameter milliseconds: from now; nil for no end.
    package init(_ milliseconds: Int?) {
        deadline = milliseconds.map { HostClock.monotonic &+ UInt64(max(0, $0)) &* 1_000_000 }
    }

    /// Rounded up; nil for no end.
    package var milliseconds: Int? {
        deadline.map { deadline in
            let now = HostClock.monotonic
            return now >= deadline ? 0 : Int(clamping: (deadline - now + 999_999) / 1_000_000)
        }
    }
}
