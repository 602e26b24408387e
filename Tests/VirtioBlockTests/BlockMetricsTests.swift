import TestSupport
import Testing
import Virtio

@testable import VirtioBlock

/// What a disk tells of itself.
struct BlockMetricsTests {
    private let scratch: ScratchDirectory
    private let path: String

    init() throws {
        scratch = try ScratchDirectory("block")
        path = try scratch.write("disk.raw", [UInt8](repeating: 1, count: 64 * 512))
    }

    @Test func requestsAreCountedByKindWithTheirTime() throws {
        let bench = try BlockBench(rawDisk(path))
        for sector in 0..<3 as Range<UInt64> {
            let read = try bench.request(0, sector: sector, [.writable(BlockBench.data, 1024)])
            #expect(read.status == 0)
        }
        #expect(try bench.request(1, sector: 0, [.readable(BlockBench.data, 512)]).status == 0)
        #expect(try bench.request(4, sector: 0, []).status == 0)
        // Beyond the end, and of no kind.
        #expect(try bench.request(0, sector: 64, [.writable(BlockBench.data, 512)]).status == 1)
        #expect(try bench.request(99, sector: 0, []).status == 2)
        let reading = bench.device.reading
        #expect(reading.operations.map(\.name) == ["read", "write", "flush", "discard", "write_zeroes", "get_id"])
        #expect(reading.operations.map(\.requests) == [3, 1, 1, 0, 0, 0])
        #expect(reading.operations.map(\.bytes) == [3072, 512, 0, 0, 0, 0])
        #expect(reading.operations.map { $0.latency?.count } == [3, 1, 1, 0, 0, 0])
        #expect(reading.errors == 2 && reading.drops == nil)
        let latency = try #require(reading.operations[0].latency)
        #expect(latency.shortest > 0 && latency.shortest <= latency.longest && latency.longest < 10_000_000_000)
        #expect(latency.sum >= latency.longest && latency.sum >= 3 * latency.shortest)
    }

    @Test func countersHaveTheNamesThatClientsKnow() throws {
        let bench = try BlockBench(rawDisk(path))
        func counters() -> [String: UInt64] {
            Dictionary(bench.device.reading.counters.map { ($0.name, $0.value) }) { first, _ in first }
        }
        let names = [
            "read_bytes", "write_bytes", "read_ops", "write_ops", "read_latency_min", "read_latency_max",
            "read_latency_avg", "write_latency_min", "write_latency_max", "write_latency_avg",
        ]
        #expect(counters() == Dictionary(uniqueKeysWithValues: names.map { ($0, 0) }))
        #expect(try bench.request(0, sector: 3, [.writable(BlockBench.data, 2048)]).status == 0)
        let after = counters()
        #expect(after["read_bytes"] == 2048 && after["read_ops"] == 1 && after["write_ops"] == 0)
        #expect(after["read_latency_min"] == after["read_latency_max"])
        #expect(after["read_latency_avg"] == after["read_latency_min"])
    }

    @Test func theQueueIsShortAgainWhenAllIsDone() throws {
        let bench = try BlockBench(rawDisk(path))
        #expect(try bench.request(0, sector: 3, [.writable(BlockBench.data, 512)]).status == 0)
        #expect(Deadline.seconds(5).wait { bench.device.reading.depths.allSatisfy { $0.depth == 0 } })
        #expect(bench.device.reading.depths.map(\.queue) == Array(0..<bench.device.queueSizes.count))
    }
}
