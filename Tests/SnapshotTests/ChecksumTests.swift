import Host
import Testing

@testable import Snapshot

@Suite struct ChecksumTests {
    /// RFC 3720, appendix B.4, and the check value of CRC-32C.
    @Test(
        arguments: [
            (Array("123456789".utf8), 0xe306_9283), ([UInt8](repeating: 0, count: 32), 0x8a91_36aa),
            ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43), (Array(0..<32), 0x46dd_794e), ([], 0),
        ] as [([UInt8], UInt32)])
    func knownSums(_ bytes: [UInt8], _ sum: UInt32) {
        #expect(Checksum.crc32c(bytes) == sum)
        #expect(Checksum.portableCRC32C(bytes) == sum)
    }

    @Test func theInstructionAndTheTableAgree() {
        var generator = SplitMix(seed: 1)
        for length in Array(0..<200) + [1023, 4095, 4096, 4097, 8191, 8192, 12_345, 70_000] {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(Checksum.crc32c(bytes) == Checksum.portableCRC32C(bytes))
        }
    }

    @Test func aChunksSumIsTheSumOfItsPagesSums() throws {
        let memory = try ScratchMemory(count: MemoryGeometry.chunkSize)
        var generator = SplitMix(seed: 2)
        var set = PageSet()
        var sums: [UInt8] = []
        for number in 0..<512 where number % 3 != 1 {
            let bytes = (0..<page).map { _ in UInt8.random(in: 0...255, using: &generator) }
            memory.fill(bytes, at: number * page)
            set[number / 64] |= 1 << UInt64(number % 64)
            sums += ValueBytes.of(Checksum.portableCRC32C(bytes).littleEndian)
        }
        #expect(memory.range.checksum(of: set) == Checksum.portableCRC32C(sums))
        #expect(memory.range.nonzeroPages(of: PageSet(lowest: 512)) == set)
        #expect(memory.range.checksum(of: PageSet()) == 0)
    }

    @Test func pageSetsCountAndRun() {
        #expect(PageSet(lowest: 0).isEmpty)
        #expect(PageSet(lowest: 512).pageCount == 512)
        #expect(PageSet(lowest: 70).pageCount == 70)
        #expect(PageSet(lowest: 70).runs == [0..<70])
        #expect(PageSet(lowest: 512).runs == [0..<512])
        var set = PageSet(lowest: 130).without(PageSet(lowest: 60))
        set[7] = 1 << 63
        #expect(set.runs == [60..<130, 511..<512])
        #expect(set.pageLimit == 512)
        #expect(set.contains(60) && !set.contains(59) && set.contains(511))
    }
}
