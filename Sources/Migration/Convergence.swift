/// Whether the guest's memory is sent often enough to stop it: a value, without time of its own.
package struct Convergence: Equatable, Sendable {
    /// What comes next.
    package enum Verdict: Equatable, Sendable {
        /// What is left fits into the downtime, and another round would not shorten that by much.
        case stop
        /// Another round, with the vCPUs held back by so many per cent.
        case another(throttle: Int)
    }

    /// ms that the guest may stand still.
    package let downtime: UInt64
    /// Whether the vCPUs may be held back.
    package let mayThrottle: Bool
    /// Bytes a second that went over, and that the guest writes.
    package private(set) var rate: UInt64 = 0, dirtyRate: UInt64 = 0
    private var throttle = 0
    /// Rounds in a row in which the guest wrote more than half of what went over.
    private var losses = 0
    /// What was left when it last fitted into the downtime.
    private var fitting: UInt64?
    /// Whether what is left now fits into the downtime, though another round is worth its time.
    package private(set) var fits = false

    /// Bytes that go over in no time worth measuring.
    static let little: UInt64 = 1 << 20
    /// ms that nobody minds.
    static let unnoticed: UInt64 = 5
    static let firstThrottle = 20, throttleStep = 10, lastThrottle = 99

    package init(downtime: UInt64, mayThrottle: Bool) { (self.downtime, self.mayThrottle) = (downtime, mayThrottle) }

    /// How long it takes to send so many bytes, in ms; nil before a rate is known.
    package func time(for bytes: UInt64) -> UInt64? {
        guard rate > 0 else { return nil }
        return UInt64(clamping: Self.scaled(bytes, 1000, over: rate))
    }

    /// Judges after a round.
    ///
    /// - Parameters:
    ///   - sent: bytes that went over in the round, and the ns that it took.
    ///   - left: bytes of pages that were written meanwhile.
    package mutating func judge(sent: UInt64, nanoseconds: UInt64, left: UInt64) -> Verdict {
        let time = max(nanoseconds, 1)
        fits = false
        dirtyRate = Self.scaled(left, 1_000_000_000, over: time)
        // A round of a few pages measures how long it takes to look for them and to answer, not the line.
        if sent >= Self.little {
            rate = max(1, Self.scaled(sent, 1_000_000_000, over: time))
        } else if rate > 0 {
            // The line takes at least that much.
            rate = max(rate, Self.scaled(sent, 1_000_000_000, over: time))
        } else if left <= Self.little {
            return .stop
        }
        if let expected = self.time(for: left), expected <= downtime {
            // A round that leaves less than half is worth the time that it takes: all of them take less than what is left.
            let shrinks = dirtyRate < rate / 2 && fitting.map { left < $0 / 2 } ?? true
            guard shrinks, expected > Self.unnoticed, throttle == 0 else { return .stop }
            (fitting, fits) = (left, true)
            return .another(throttle: 0)
        }
        losses = left > sent / 2 ? losses + 1 : 0
        if mayThrottle, losses >= 2 {
            losses = 0
            throttle = throttle == 0 ? Self.firstThrottle : min(throttle + Self.throttleStep, Self.lastThrottle)
        }
        return .another(throttle: throttle)
    }

    private static func scaled(_ value: UInt64, _ factor: UInt64, over divisor: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: factor)
        guard product.high < divisor else { return .max }
        return divisor.dividingFullWidth(product).quotient
    }
}
