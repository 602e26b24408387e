import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioBlock

/// Requests of a well-behaved driver against a real file (virtio 1.2 section 5.2.6).
struct BlockRequestTests {
    private let scratch: ScratchDirectory
    private let content = testBytes(64 * 512)
    private let path: String

    init() throws {
        scratch = try ScratchDirectory("block")
        path = try scratch.write("disk.raw", content)
    }

    private func file() throws -> [UInt8] { try scratch.read("disk.raw") }

    @Test func readOverManySegments() throws {
        let bench = try BlockBench(rawDisk(path))
        let (status, used) = try bench.request(
            0, sector: 3,
            [
                .writable(BlockBench.data, 1), .writable(BlockBench.data + 0x1000, 1023),
                .writable(BlockBench.data + 1, 512),
            ])
        #expect(status == 0 && used == 1537)
        let bytes =
            try bench.memory.bytes(at: BlockBench.data, count: 1)
            + bench.memory.bytes(at: BlockBench.data + 0x1000, count: 1023)
            + bench.memory.bytes(at: BlockBench.data + 1, count: 512)
        #expect(bytes == Array(content[3 * 512..<6 * 512]))
        #expect(bench.device.reading.operations[0].requests == 1)
        #expect(bench.device.reading.operations[0].bytes == 1536)
    }

    @Test func writeOverManySegments() throws {
        let bench = try BlockBench(rawDisk(path))
        let bytes = [UInt8](repeating: 0x77, count: 1024)
        try bench.memory.write(bytes, at: BlockBench.data)
        let (status, used) = try bench.request(
            1, sector: 62, [.readable(BlockBench.data, 700), .readable(BlockBench.data + 700, 324)])
        #expect(status == 0 && used == 1)
        #expect(try file() == content[..<(62 * 512)] + bytes)
        #expect(bench.device.reading.operations[1].bytes == 1024)
    }

    @Test func headerAndDataInAnyDescriptors() throws {
        // The framing of messages is the driver's (2.7.4.1): the header may be split, or in one buffer with the data.
        let bench = try BlockBench(rawDisk(path))
        try bench.writeHeader(1, 5)
        try bench.memory.write([UInt8](repeating: 0x11, count: 512), at: BlockBench.header + 16)
        let joined = try bench.exchange([.readable(BlockBench.header, 528), .writable(BlockBench.status, 1)])
        #expect(joined.status == 0)
        try bench.writeHeader(1, 6)
        let split = try bench.exchange([
            .readable(BlockBench.header, 3), .readable(BlockBench.header + 3, 10),
            .readable(BlockBench.header + 13, 515),
            .writable(BlockBench.status, 1),
        ])
        #expect(split.status == 0)
        #expect(try file()[(5 * 512)..<(7 * 512)].allSatisfy { $0 == 0x11 })
        try bench.writeHeader(0, 0)
        let status = BlockBench.data + 512
        try bench.memory.write(BlockBench.pattern, at: status)
        _ = try bench.exchange([.readable(BlockBench.header, 16), .writable(BlockBench.data, 513)])
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 513) == content[..<512] + [0])
    }

    @Test func indirectRequest() throws {
        let bench = try BlockBench(rawDisk(path))
        try bench.writeHeader(0, 1)
        try bench.drivers[0].sendIndirect(
            [.readable(BlockBench.header, 16), .writable(BlockBench.data, 512), .writable(BlockBench.status, 1)],
            table: 0x30000)
        bench.drivers[0].kick()
        #expect(try bench.drivers[0].waitUsed().length == 513)
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 512) == Array(content[512..<1024]))
    }

    @Test func manySegments() throws {
        // More ranges than one vectored call takes (IOV_MAX is 1024).
        var settings = BlockSettings()
        settings.queueSize = 4096
        let large = try scratch.write("large.raw", testBytes(2048 * 512))
        let bench = try BlockBench(rawDisk(large), settings, queueSize: 4096)
        let buffers = (0..<2048).map { FakeDriver.Buffer.writable(BlockBench.data + 512 * UInt64($0), 512) }
        let read = try bench.request(0, sector: 0, buffers)
        #expect(read.status == 0 && read.used == 2048 * 512 + 1)
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 2048 * 512) == testBytes(2048 * 512))
        try bench.memory.write([UInt8](repeating: 9, count: 2000 * 512), at: BlockBench.data)
        let write = try bench.request(1, sector: 0, buffers[..<2000].map { .readable($0.address, $0.length) })
        #expect(write.status == 0)
        #expect(try scratch.read("large.raw")[..<(2000 * 512)].allSatisfy { $0 == 9 })
    }

    @Test func flushAndName() throws {
        var settings = BlockSettings()
        settings.serial = "swiftlet-serial-0123456789"
        let bench = try BlockBench(rawDisk(path), settings)
        let flush = try bench.request(4, sector: 0)
        #expect(flush.status == 0 && flush.used == 1)
        #expect(bench.device.reading.operations[2].requests == 1)
        let name = try bench.request(8, sector: 0, [.writable(BlockBench.data, 20)])
        #expect(name.status == 0 && name.used == 21)
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 21) == Array("swiftlet-serial-0123".utf8) + [0])
        let short = try bench.request(8, sector: 0, [.writable(BlockBench.data, 19)])
        #expect(short.status == 1)
    }

    private func ranges(_ bench: BlockBench, _ ranges: [(UInt64, UInt32, UInt32)]) throws -> FakeDriver.Buffer {
        for (index, range) in ranges.enumerated() {
            let place = BlockBench.data + 16 * UInt64(index)
            try bench.memory.write(range.0, at: place)
            try bench.memory.write(range.1, at: place + 8)
            try bench.memory.write(range.2, at: place + 12)
        }
        return .readable(BlockBench.data, UInt32(16 * ranges.count))
    }

    @Test func writeZeroes() throws {
        for unmap in [0, 1] as [UInt32] {
            try scratch.write("disk.raw", content)
            let bench = try BlockBench(rawDisk(path))
            let result = try bench.request(13, sector: 0, [try ranges(bench, [(2, 3, unmap), (60, 4, unmap)])])
            #expect(result.status == 0 && result.used == 1)
            var expected = content
            expected.replaceSubrange(1024..<2560, with: [UInt8](repeating: 0, count: 1536))
            expected.replaceSubrange(60 * 512..<64 * 512, with: [UInt8](repeating: 0, count: 2048))
            #expect(try file() == expected)
        }
    }

    @Test func discardKeepsTheSizeAndTheRest() throws {
        let bench = try BlockBench(rawDisk(path))
        let result = try bench.request(11, sector: 0, [try ranges(bench, [(8, 8, 0)])])
        #expect(result.status == 0)
        let now = try file()
        #expect(now.count == content.count)
        #expect(now[..<4096] == content[..<4096] && now[8192...] == content[8192...])
        #expect(now[4096..<8192].allSatisfy { $0 == 0 })
        let dense = try BlockBench(rawDisk(try scratch.write("dense.raw", content)) { $0.sparse = false })
        #expect(try dense.request(11, sector: 0, [try ranges(dense, [(8, 8, 0)])]).status == 0)
        #expect(try scratch.read("dense.raw") == content)
    }

    @Test func rangesThatAreRefused() throws {
        let bench = try BlockBench(rawDisk(path))
        let cases: [(UInt32, [(UInt64, UInt32, UInt32)], UInt8)] = [
            (11, [(60, 5, 0)], 1), (13, [(60, 5, 0)], 1), (13, [(.max, 1, 0)], 1), (13, [(1 << 55, 1, 0)], 1),
            (11, [(0, .max, 0)], 1), (11, [(0, 1, 1)], 2), (13, [(0, 1, 2)], 2), (13, [(0, 1, 0x8000_0000)], 2),
            (11, Array(repeating: (0, 0, 0), count: 17), 1), (11, [], 1),
        ]
        for (type, list, status) in cases {
            let data = list.isEmpty ? [] : [try ranges(bench, list)]
            #expect(try bench.request(type, sector: 0, data).status == status, "\(type) \(list)")
        }
        for type in [11, 13] as [UInt32] {
            for length in [1, 15, 17] as [UInt32] {
                #expect(try bench.request(type, sector: 0, [.readable(BlockBench.data, length)]).status == 1)
            }
        }
        #expect(try file() == content)
    }

    @Test func queuesWorkAtTheSameTime() throws {
        var settings = BlockSettings()
        settings.queues = 3
        settings.affinity = [1: [0]]
        let bench = try BlockBench(rawDisk(path), settings)
        for queue in 0..<3 {
            let data = BlockBench.data + UInt64(queue) * 0x1000
            let header = BlockBench.header + UInt64(queue) * 16
            try bench.writeHeader(0, UInt64(queue) * 10, at: header)
            try bench.drivers[queue].send([
                .readable(header, 16), .writable(data, 1024), .writable(BlockBench.status + UInt64(queue), 1),
            ])
        }
        for driver in bench.drivers { driver.kick() }
        for queue in 0..<3 {
            #expect(try bench.drivers[queue].waitUsed().length == 1025)
            let bytes = try bench.memory.bytes(at: BlockBench.data + UInt64(queue) * 0x1000, count: 1024)
            #expect(bytes == Array(content[queue * 5120..<queue * 5120 + 1024]))
            #expect(Deadline.seconds(5).wait { bench.drivers[queue].interrupt.count == 1 })
        }
    }

    @Test func progressSurvivesDeactivation() throws {
        let bench = try BlockBench(rawDisk(path))
        for _ in 0..<3 { #expect(try bench.request(4, sector: 0).status == 0) }
        #expect(bench.device.deactivate() == [0: QueueProgress(nextAvailable: 3, nextUsed: 3)])
        #expect(bench.device.deactivate().isEmpty)
        // What came without a worker is served when one starts again, without a kick.
        try bench.writeHeader(4, 0)
        try bench.drivers[0].send([.readable(BlockBench.header, 16), .writable(BlockBench.status, 1)])
        try bench.device.activate(
            VirtioActivation(
                memory: bench.memory, features: bench.device.features, queues: [bench.drivers[0].resources()],
                transport: bench.transport))
        #expect(try bench.drivers[0].waitUsed().length == 1)
    }
}
