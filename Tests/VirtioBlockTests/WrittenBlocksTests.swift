import Host
import TestSupport
import Testing

@testable import VirtioBlock

/// Which blocks a guest wrote, for a copy that is made meanwhile.
struct WrittenBlocksTests {
    private static let sectors: UInt64 = 4 << 11
    private let scratch: ScratchDirectory
    private let path: String

    init() throws {
        scratch = try ScratchDirectory("written")
        path = try scratch.sparse("disk.raw", bytes: Self.sectors * 512)
    }

    private func blocks(_ words: [UInt64]) -> [Int] {
        words.enumerated().flatMap { word, bits in
            (0..<64).filter { bits >> UInt64($0) & 1 == 1 }.map { word * 64 + $0 }
        }
    }

    /// A discard or write-zeroes request of one range.
    private func range(_ bench: BlockBench, _ type: UInt32, _ sector: UInt64, _ count: UInt32) throws -> UInt8 {
        try bench.memory.write(sector, at: BlockBench.data)
        try bench.memory.write(count, at: BlockBench.data + 8)
        try bench.memory.write(0 as UInt32, at: BlockBench.data + 12)
        return try bench.request(type, sector: 0, [.readable(BlockBench.data, 16)]).status
    }

    @Test(arguments: [false, true]) func allWaysToWriteAreNoted(_ direct: Bool) throws {
        var settings = BlockSettings()
        settings.queues = 2
        let bench: BlockBench
        do { bench = try BlockBench(rawDisk(path) { $0.direct = direct }, settings) } catch {
            // A file system without direct I/O.
            guard direct else { throw error }
            return
        }
        let image = bench.device.image
        #expect(try bench.write(1, sector: 0) == 0)
        #expect(image.takeWritten().isEmpty)
        try image.beginNoting()
        #expect(blocks(image.takeWritten()).isEmpty)
        #expect(try bench.write(1, sector: 127, count: 2) == 0 && bench.write(1, sector: 4000 / 512 * 512) == 0)
        #expect(blocks(image.takeWritten()) == [0, 1, 28])
        #expect(blocks(image.takeWritten()).isEmpty)
        // By another queue, and of memory that is not aligned.
        try bench.writeHeader(1, 512)
        try bench.memory.write([UInt8](repeating: 5, count: 1024), at: BlockBench.data + 8)
        let written = try bench.exchange(
            [
                .readable(BlockBench.header, 16), .readable(BlockBench.data + 8, 1024),
                .writable(BlockBench.status, 1),
            ], queue: 1)
        #expect(written.status == 0 && blocks(image.takeWritten()) == [4])
        #expect(try range(bench, 13, 128, 256) == 0)
        #expect(blocks(image.takeWritten()) == [1, 2])
        #expect(try range(bench, 11, 640, 129) == 0)
        #expect(blocks(image.takeWritten()) == [5, 6])
        #expect(try range(bench, 13, 0, UInt32(Self.sectors)) == 0)
        #expect(blocks(image.takeWritten()) == Array(0..<64))
        // Reading and flushing write nothing; what is refused may not have been written at all.
        #expect(try bench.request(0, sector: 3, [.writable(BlockBench.data, 512)]).status == 0)
        #expect(try bench.request(4, sector: 0).status == 0 && bench.write(1, sector: Self.sectors) == 1)
        #expect(blocks(image.takeWritten()).isEmpty)
        image.endNoting()
        #expect(try bench.write(1, sector: 0) == 0 && image.takeWritten().isEmpty)
        // After a resize it is the new size that counts.
        try image.resize(to: 8 << 20) {}
        try image.beginNoting()
        #expect(try bench.write(1, sector: (8 << 11) - 1) == 0 && blocks(image.takeWritten()) == [127])
    }

    @Test func rangesAcrossWords() {
        let written = WrittenBlocks()
        let size = WrittenBlocks.blockSize * 200
        written.begin(size: size)
        for (offset, count, expected) in [
            (0, 0, []), (0, 1, [0]), (65535, 2, [0, 1]), (63 * 65536, 65537, [63, 64]),
            (62 * 65536, 131 * 65536, Array(62...192)), (0, size, Array(0..<200)), (199 * 65536, 65536, [199]),
        ] as [(UInt64, UInt64, [Int])] {
            written.add(offset, count)
            #expect(blocks(written.take()) == expected, "\(offset) \(count)")
        }
        // What lies behind the end, or wraps, is no reason to crash.
        for (offset, count) in [(.max, .max), (size, 1 << 40), (1 << 40, 1)] as [(UInt64, UInt64)] {
            written.add(offset, count)
        }
        #expect(blocks(written.take()).allSatisfy { $0 >= 200 })
        written.end()
        written.add(0, 65536)
        #expect(written.take().isEmpty)
    }

    @Test func readingForACopy() throws {
        let image = try DiskImage(rawDisk(path))
        let data = try ScratchMemory(count: 65536)
        data.fill([UInt8](repeating: 3, count: 65536))
        let writer = try FileDescriptor.open(path, 2)
        try writer.writeAll(data.range, at: 1 << 20)
        let found = try #require(try image.nextData(from: 0))
        #expect(found.contains(1 << 20) && found.lowerBound > 0 && found.upperBound < 2 << 20)
        #expect(try image.nextData(from: 3 << 20) == nil && image.nextData(from: 4 << 20) == nil)
        data.range.clear()
        try image.read(into: data.range, at: 1 << 20)
        #expect(data.bytes(0..<65536).allSatisfy { $0 == 3 })
        #expect(throws: Errno.inputOutput) { try image.read(into: data.range, at: (4 << 20) - 512) }
        #expect(image.blockSizes.logical == 512)
    }
}
