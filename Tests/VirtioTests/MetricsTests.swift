import Host
import TestSupport
import Testing

@testable import Virtio

/// Counters that one thread raises and others read.
struct MetricsTests {
    @Test(
        arguments: [
            (0, 0), (1, 0), (1023, 0), (1024, 0), (1025, 1), (2048, 1), (2049, 2), (1 << 20, 10), ((1 << 20) + 1, 11),
            (1 << 34, 24), ((1 << 34) + 1, 25), (UInt64.max, 25),
        ] as [(UInt64, Int)])
    func aDurationFallsIntoTheBucketThatHoldsIt(nanoseconds: UInt64, bucket: Int) {
        #expect(LatencyReading.bucket(nanoseconds) == bucket)
        if let bound = LatencyReading.bound(bucket) { #expect(nanoseconds <= bound) }
        if bucket > 0, let below = LatencyReading.bound(bucket - 1) { #expect(nanoseconds > below) }
    }

    @Test func boundsDoubleAndEndWithNone() {
        let bounds = (0..<26).map { LatencyReading.bound($0) }
        #expect(bounds.first == 1024 && bounds[24] == 1 << 34 && bounds[25] == nil)
    }

    @Test func aRecorderKeepsCountSumAndExtremes() {
        let recorder = OperationRecorder()
        #expect(recorder.latency == LatencyReading() && recorder.latency.mean == 0)
        for nanoseconds in [3000, 1000, 5000] as [UInt64] { recorder.record(bytes: 512, nanoseconds: nanoseconds) }
        #expect(recorder.requests == 3 && recorder.bytes == 1536)
        let latency = recorder.latency
        #expect(latency.count == 3 && latency.sum == 9000 && latency.mean == 3000)
        #expect(latency.shortest == 1000 && latency.longest == 5000)
        #expect(latency.counts[0] == 1 && latency.counts[2] == 1 && latency.counts[3] == 1)
    }

    @Test func distributionsAddUp() {
        let first = OperationRecorder(), second = OperationRecorder()
        first.record(bytes: 1, nanoseconds: 10_000)
        second.record(bytes: 1, nanoseconds: 100)
        second.record(bytes: 1, nanoseconds: 10_001)
        var sum = first.latency
        sum.add(second.latency)
        #expect(sum.count == 3 && sum.sum == 20_101 && sum.shortest == 100 && sum.longest == 10_001)
        #expect(sum.counts[0] == 1 && sum.counts[4] == 2)
        sum.add(LatencyReading())
        #expect(sum.count == 3 && sum.shortest == 100)
    }

    @Test func aReaderNeverSeesACounterGoBack() throws {
        let recorder = OperationRecorder()
        let writer = try Thread("recorder") {
            for _ in 0..<200_000 { recorder.record(bytes: 1, nanoseconds: 1) }
        }
        var last: UInt64 = 0
        while last < 200_000 {
            let now = recorder.requests
            guard now >= last else {
                Issue.record("\(now) after \(last)")
                break
            }
            last = now
        }
        writer.join()
        #expect(recorder.bytes == 200_000 && recorder.latency.counts[0] == 200_000)
    }
}
