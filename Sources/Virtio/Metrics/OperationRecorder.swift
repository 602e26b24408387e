import Host
import Synchronization

/// A counter that one thread raises and any thread reads.
///
/// One writer needs no read-modify-write instruction: its load and store are plain moves.
package struct SoloCounter: ~Copyable, Sendable {
    private let number: Atomic<UInt64>

    package init(_ start: UInt64 = 0) { number = Atomic(start) }

    /// The number now. Ordering: a counter orders nothing else.
    @inline(__always)
    package var value: UInt64 { number.load(ordering: .relaxed) }

    /// Raises it; on its one thread only.
    @inline(__always)
    package func add(_ amount: UInt64 = 1) {
        number.store(number.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Sets it; on its one thread only.
    @inline(__always)
    package func set(_ value: UInt64) { number.store(value, ordering: .relaxed) }
}

/// Counts one kind of a queue's requests and how long they took: recorded by the queue's worker, read by anybody.
package final class OperationRecorder: Sendable {
    private let count = SoloCounter(), moved = SoloCounter()
    private let total = SoloCounter(), shortest = SoloCounter(.max), longest = SoloCounter()
    private let buckets = InlineArray<26, SoloCounter> { _ in SoloCounter() }

    package init() {}

    /// Notes a request that succeeded.
    ///
    /// - Parameter nanoseconds: how long it took from its taking to its completion.
    @inline(__always)
    package func record(bytes: Int, nanoseconds: UInt64) {
        count.add()
        moved.add(UInt64(truncatingIfNeeded: bytes))
        total.add(nanoseconds)
        if nanoseconds < shortest.value { shortest.set(nanoseconds) }
        if nanoseconds > longest.value { longest.set(nanoseconds) }
        buckets[LatencyReading.bucket(nanoseconds)].add()
    }

    /// The requests so far.
    package var requests: UInt64 { count.value }
    /// The bytes that they moved.
    package var bytes: UInt64 { moved.value }

    /// How long they took.
    package var latency: LatencyReading {
        var reading = LatencyReading()
        for index in buckets.indices { reading.counts[index] = buckets[index].value }
        (reading.sum, reading.longest) = (total.value, longest.value)
        reading.shortest = shortest.value
        return reading
    }
}

/// A distribution of durations over buckets whose bounds double.
package struct LatencyReading: Equatable, Sendable {
    /// The first bucket's bound is 2^10 ns.
    static let firstPower = 10
    /// 25 buckets up to 2^34 ns, 17 s, and one for what is longer.
    static let bucketCount = 26

    /// How many durations fell into each bucket, each counted in one bucket only; the last is for what no bound holds.
    package var counts = [UInt64](repeating: 0, count: LatencyReading.bucketCount)
    /// All durations together, in ns.
    package var sum: UInt64 = 0
    /// The shortest, `.max` for none, and the longest, in ns.
    package var shortest = UInt64.max, longest: UInt64 = 0

    package init() {}

    /// The largest duration of a bucket in ns; nil for the last.
    package static func bound(_ bucket: Int) -> UInt64? {
        bucket < bucketCount - 1 ? 1 << UInt64(firstPower + bucket) : nil
    }

    /// The bucket of a duration in ns: bounds belong to their buckets.
    @inline(__always)
    package static func bucket(_ nanoseconds: UInt64) -> Int {
        let power = UInt64.bitWidth - (max(nanoseconds, 1) - 1).leadingZeroBitCount
        return min(max(power - firstPower, 0), bucketCount - 1)
    }

    /// All durations.
    package var count: UInt64 { counts.reduce(0, &+) }
    /// The mean in ns; 0 for none.
    package var mean: UInt64 { count == 0 ? 0 : sum / count }

    /// The distribution of these durations and others together.
    package mutating func add(_ other: LatencyReading) {
        for index in counts.indices { counts[index] &+= other.counts[index] }
        sum &+= other.sum
        shortest = min(shortest, other.shortest)
        longest = max(longest, other.longest)
    }
}
