import Foundation
import Host
import TestSupport
import Testing

@testable import Migration

/// Frames of disks whose bytes are not what they should be, and the sets of blocks behind them.
struct DiskWireTests {
    private static let size: UInt64 = (5 << 20) + 512

    private func disk(_ id: String, _ size: UInt64) -> MirroredDisk {
        MirroredDisk(id: id, size: size, dataBytes: size, logicalBlockSize: 512, physicalBlockSize: 512)
    }

    @Test func aHeadComesBack() throws {
        let head = DiskHead(disk: 0x0102_0304, round: 5, offset: 0x0807_0605_0403_0201, count: .max)
        #expect(head.bytes.count == DiskHead.size && DiskHead(head.bytes) == head)
        #expect(
            DiskHead([]) == nil && DiskHead(head.bytes + [0]) == nil && DiskHead(Array(head.bytes.dropLast())) == nil)
    }

    /// What blocks may not be: of no disk, behind its end, no blocks, twice, of another round, more than a frame has.
    @Test func blocksThatCannotBeAreRefused() throws {
        let scratch = try ScratchDirectory("blocks")
        let paths = ["a", "b"].map { scratch.path($0) }
        let disks = try ArrivingDisks([disk("a", Self.size), disk("b", 512)], at: paths)
        let data = try ScratchMemory(count: 2 << 20)
        data.fill([UInt8](repeating: 7, count: 2 << 20))
        func put(
            _ kind: FrameKind, _ offset: UInt64, _ count: UInt64, disk: UInt32 = 0, round: UInt32 = 1, bytes: Int? = nil
        ) -> Bool {
            let head = DiskHead(disk: disk, round: round, offset: offset, count: count)
            let given = kind == .diskData ? bytes ?? Int(clamping: min(count, 2 << 20)) : 0
            let frame = Frame(kind: kind, payload: head.bytes, pageBytes: given)
            return (try? disks.put(frame, data.range)) != nil
        }
        let block: UInt64 = 64 << 10
        for kind in [FrameKind.diskData, .diskZeroes] {
            for (offset, count) in [
                (0, 0), (1, block), (512, block), (block, 512), (Self.size, 512), (5 << 20, 1024), (.max, 1),
                (.max - 65535, block), (1 << 63, 1 << 63), (0, .max), (0, 6 << 20), (block, .max - block + 1),
            ] as [(UInt64, UInt64)] {
                #expect(!put(kind, offset, count), "\(kind) \(offset) \(count)")
            }
            #expect(!put(kind, 0, block, disk: 2) && !put(kind, 0, block, disk: .max))
            #expect(!put(kind, 0, block, round: 0) && !put(kind, 0, block, round: 2) && !put(kind, 0, 512))
        }
        // More than a frame of bytes may have; and other bytes than the head says.
        #expect(!put(.diskData, 0, 17 * block) && !put(.diskData, 0, block, bytes: 512))
        #expect(try scratch.read("a.swiftlet-incoming").allSatisfy { $0 == 0 })
        // The last block is short.
        #expect(put(.diskData, 5 << 20, 512) && put(.diskData, 0, 512, disk: 1))
        #expect(put(.diskZeroes, 16 * block, 17 * block))
        #expect(put(.diskData, 2 * block, 2 * block) && !put(.diskData, 2 * block, block))
        #expect(!put(.diskZeroes, block, 2 * block) && put(.diskZeroes, block, block))
        #expect(!put(.diskData, 0, 2 * block) && put(.diskData, 0, block))
        disks.begin(round: 2)
        #expect(!put(.diskData, 0, block) && put(.diskZeroes, 0, 3 * block, round: 2))
        try disks.close()
        #expect(!put(.diskData, 4 * block, block, round: 2) && !put(.diskData, 4 * block, block, round: 3))
        try disks.install()
        disks.keep()
        disks.discard()
        let bytes = try scratch.read("a")
        #expect(bytes.count == Int(Self.size) && bytes.last == 7)
        #expect(bytes.indices.allSatisfy { (bytes[$0] == 7) == ($0 / 65536 == 3 || $0 >= 5 << 20) })
        #expect(try scratch.entries() == ["a", "b"])
        // A kind that has no such head.
        #expect((try? disks.put(Frame(kind: .diskData, payload: [1], pageBytes: 0), data.range)) == nil)
        var none: ArrivingDisks?
        let (left, _) = try StreamConnection.pair()
        let report = MigrationProgress(.init(.destination, token: "", peer: "", state: ""))
        let stray = Frame(kind: .diskZeroes, payload: [UInt8](repeating: 0, count: 24), pageBytes: 0)
        #expect(throws: MigrationError.self) { try none.put(stray, FrameChannel(left), report) }
        none = disks
        #expect(throws: MigrationError.self) { try none.put(stray, FrameChannel(left), report) }
    }

    @Test func aHelloWithDisksThatCannotBeIsRefused() throws {
        var hello = Hello(
            token: Hello.newToken(), writer: "t", config: "{}", needs: .init(), states: [:])
        hello.memory = [.init(address: 0, size: 4096)]
        hello.disks = [disk("a", 512), disk("b", MirroredDisk.sizeLimit)]
        #expect(try Hello(hello.bytes) == hello)
        let bad = [
            [disk("a", 512), disk("a", 512)], [disk("a", 0)], [disk("a", 513)], [disk("a", .max - 511)],
            [disk("a", MirroredDisk.sizeLimit + 512)], (0..<257).map { disk("\($0)", 512) },
        ]
        for disks in bad {
            hello.disks = disks
            #expect(throws: MigrationError.self) { try Hello(hello.bytes) }
        }
    }

    @Test func aCursorHandsOutEachBlockOnce() {
        var seed: UInt64 = 3
        for _ in 0..<50 {
            let blocks: [[UInt64]] = (0..<3).map { disk in
                (0..<disk * 3 + 1).map { _ in
                    seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    return seed >> 62 == 0 ? 0 : seed & seed << 17 & seed >> 9
                }
            }
            var cursor = DiskBlocks.Cursor(blocks)
            var found = blocks.map { $0.map { _ in UInt64(0) } }
            while let part = cursor.next() {
                #expect(part.mask != 0)
                for run in DiskSender.runs(part.mask) {
                    for block in run {
                        let number = part.first + block
                        #expect(found[part.disk][number / 64] >> UInt64(number % 64) & 1 == 0)
                        found[part.disk][number / 64] |= 1 << UInt64(number % 64)
                    }
                }
            }
            #expect(found == blocks)
        }
        #expect(DiskSender.runs(0b1000_0000_0110_0111).map(\.count) == [3, 2, 1])
        #expect(DiskSender.runs(.max) == [0..<16])
        #expect(DiskBlocks.count(in: 1) == 1 && DiskBlocks.count(in: 65536) == 1 && DiskBlocks.count(in: 65537) == 2)
    }

    @Test func zeroesAreFoundByBlock() throws {
        let buffer = try DiskBuffer()
        let all = buffer.data
        #expect(DiskSender.pieces(all, 1 << 20).map(\.range) == [0..<1 << 20])
        let one = try ScratchMemory(count: 4096)
        one.fill([1])
        all.part(65536 * 2 + 61440..<65536 * 3).copy(from: one.range)
        // What is behind the bytes does not count.
        all.part(65536 * 3 + 4096..<65536 * 3 + 8192).copy(from: one.range)
        let pieces = DiskSender.pieces(all, 65536 * 3 + 4096)
        #expect(pieces.map(\.range) == [0..<131072, 131072..<196608, 196608..<200704])
        #expect(pieces.map(\.isZero) == [true, false, true])
        #expect(DiskSender.pieces(all, 512).map(\.isZero) == [true])
    }

    @Test func seenBlocks() {
        var seen = SeenBlocks(bytes: MirroredDisk.sizeLimit)
        let last = DiskBlocks.count(in: MirroredDisk.sizeLimit) - 1
        #expect(seen.insert(0..<1) && seen.insert(last..<last + 1) && seen.insert(65530..<65540))
        #expect(!seen.insert(65539..<65541) && seen.insert(65540..<65541) && !seen.contains(1))
        seen.clear()
        #expect(seen.insert(0..<70000) && !seen.insert(69999..<70001))
    }
}
