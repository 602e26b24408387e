import Foundation
import Host
import TestSupport
import Testing

@testable import Snapshot

@Suite struct RoundTripTests {
    private let scratch: ScratchDirectory
    private let ram: FakeRAM

    init() throws {
        scratch = try ScratchDirectory("snapshot")
        ram = try FakeRAM()
        ram.fillUsual()
    }

    @Test func aFullSnapshotIsReadAgain() throws {
        let path = scratch.path("full")
        let written = try writeFull(path, ram)
        let opened = try SnapshotDirectory(opening: path)
        #expect(opened.manifest == written)
        #expect(opened.manifest.parent == nil)
        #expect(opened.manifest.memory.dataBytes == UInt64(11 * page))
        #expect(opened.manifest.memory.regions.map(\.fileOffset) == [0, UInt64(3 * chunkSize)])
        #expect(String(decoding: opened.config, as: UTF8.self) == #"{"cpus":{"boot_vcpus":1}}"#)
        #expect(try opened.state().read(of: "lamp0") == Lamp(lit: true, hours: 7))
        #expect(try copied(path) == ram.all)
        #expect(try mapped(path) == ram.all)
        #expect(try names(scratch) == ["full"])
        let files = try Directory.entries(path).sorted()
        #expect(files == ["config.json", "manifest.json", "memory.bin", "memory.map", "state.json"])
    }

    @Test func onlyItsOwnerMayReadASnapshot() throws {
        try writeFull(scratch.path("full"), ram)
        let manager = FileManager.default
        func mode(_ path: String) throws -> Int? {
            try manager.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        }
        #expect(try mode(scratch.path("full")) == 0o700)
        #expect(try mode(scratch.path("full/memory.bin")) == 0o600)
    }

    @Test func zeroPagesTakeNoSpace() throws {
        try writeFull(scratch.path("full"), ram)
        let file = try FileDescriptor.openForReading(scratch.path("full/memory.bin"))
        var data = 0
        var next: UInt64 = 0
        while let range = try file.nextData(from: next) {
            data += range.count
            next = range.upperBound
        }
        #expect(data == 11 * page)
        #expect(try file.status().size == Int64(3 * chunkSize + 20 * page))
    }

    @Test func allZeroMemoryIsASnapshotToo() throws {
        let empty = try FakeRAM()
        try writeFull(scratch.path("zero"), empty)
        #expect(try SnapshotDirectory(opening: scratch.path("zero")).manifest.memory.dataBytes == 0)
        #expect(try copied(scratch.path("zero")) == empty.all)
    }

    @Test func aDiffHasOnlyTheWrittenPages() throws {
        try writeFull(scratch.path("full"), ram)
        ram.set(0, 1, seed: 77)
        ram.set(0, 5, seed: nil)
        ram.set(0, 300, seed: 9)
        ram.set(1, 0, seed: 1)
        let pages = [(0, 1), (0, 5), (0, 300), (1, 0), (1, 7)]
        let manifest = try writeDiff(scratch.path("diff"), ram, pages, to: scratch.path("full"))
        #expect(manifest.parent?.path == "../full")
        #expect(manifest.memory.dataBytes == UInt64(3 * page))
        #expect(try copied(scratch.path("diff")) == ram.all)
        #expect(try mapped(scratch.path("diff")) == ram.all)
        let chain = try SnapshotChain(opening: scratch.path("diff"))
        #expect(chain.layers.count == 2)
        #expect(chain.layers[0].map.records.reduce(0) { $0 + $1.present.pageCount } == 5)
        #expect(try chain.top.state().read(of: "lamp0") == Lamp(lit: true, hours: 8))
    }

    @Test func aLongChainGivesTheLatestPages() throws {
        var generator = SplitMix(seed: 4)
        try writeFull(scratch.path("s0"), ram)
        for number in 1...20 {
            var pages: [(Int, Int)] = []
            for _ in 0..<40 {
                let region = Int.random(in: 0...1, using: &generator)
                let page = Int.random(in: 0..<[1027, 20][region], using: &generator)
                let isZero = Int.random(in: 0..<4, using: &generator) == 0
                ram.set(region, page, seed: isZero ? nil : UInt8.random(in: 1...255, using: &generator))
                pages.append((region, page))
            }
            let (path, parent) = (scratch.path("s\(number)"), scratch.path("s\(number - 1)"))
            try writeDiff(path, ram, pages, to: parent)
            #expect(try copied(path) == ram.all, "copied, diff \(number)")
            #expect(try mapped(path) == ram.all, "mapped, diff \(number)")
        }
    }

    @Test func anEmptyDiffIsItsParent() throws {
        try writeFull(scratch.path("full"), ram)
        try writeDiff(scratch.path("diff"), ram, [], to: scratch.path("full"))
        #expect(try copied(scratch.path("diff")) == ram.all)
        #expect(try mapped(scratch.path("diff")) == ram.all)
    }

    @Test func aChainMovesAsAWhole() throws {
        try writeFull(scratch.path("full"), ram)
        ram.set(0, 2, seed: 3)
        try writeDiff(scratch.path("diff"), ram, [(0, 2)], to: scratch.path("full"))
        let other = try ScratchDirectory("moved")
        for name in ["full", "diff"] {
            try FileManager.default.moveItem(atPath: scratch.path(name), toPath: other.path(name))
        }
        #expect(try copied(other.path("diff")) == ram.all)
        #expect(try copied(other.path("diff/")) == ram.all)
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path("link"), withDestinationPath: other.path("diff"))
        #expect(try copied(scratch.path("link")) == ram.all)
    }

    @Test func aCopyWithoutHolesIsAsGood() throws {
        try writeFull(scratch.path("full"), ram)
        let bytes = try scratch.read("full/memory.bin")
        try Data(bytes).write(to: URL(fileURLWithPath: scratch.path("full/memory.bin")))
        #expect(try copied(scratch.path("full")) == ram.all)
    }

    @Test func aMappedCopyLeavesTheFileAlone() throws {
        try writeFull(scratch.path("full"), ram)
        let before = try scratch.read("full/memory.bin")
        let other = try FakeRAM()
        try SnapshotChain(opening: scratch.path("full")).mapMemory(into: other.regions)
        other.set(0, 0, seed: 99)
        #expect(other.all != ram.all)
        #expect(try scratch.read("full/memory.bin") == before)
        #expect(try mapped(scratch.path("full")) == ram.all)
    }

    @Test func aPlanIsOnePieceForEachRegionOfAFullSnapshot() throws {
        try writeFull(scratch.path("full"), ram)
        let plan = try SnapshotChain(opening: scratch.path("full")).mappingPlan()
        #expect(
            plan == [
                MemoryPiece(layer: 0, fileOffset: 0, region: 0, offset: 0, count: 1027 * page),
                MemoryPiece(layer: 0, fileOffset: UInt64(3 * chunkSize), region: 1, offset: 0, count: 20 * page),
            ])
    }

    @Test func neighbouringPiecesOfADiffAreOne() throws {
        try writeFull(scratch.path("full"), ram)
        let pages = (500...530).map { (0, $0) } + [(0, 7)]
        try writeDiff(scratch.path("diff"), ram, pages, to: scratch.path("full"))
        let plan = try SnapshotChain(opening: scratch.path("diff")).mappingPlan()
        #expect(
            Array(plan.dropFirst(2)) == [
                MemoryPiece(layer: 0, fileOffset: UInt64(7 * page), region: 0, offset: 7 * page, count: page),
                MemoryPiece(layer: 0, fileOffset: UInt64(500 * page), region: 0, offset: 500 * page, count: 31 * page),
            ])
    }

    @Test func longZeroesAreNotMapped() throws {
        let chunk = 512
        let large = try FakeRAM([(0, 60 * chunk), (1 << 32, 40 * chunk)])
        for number in [0, chunk * 3 + 7, 30 * chunk, 45 * chunk] { large.set(0, number, seed: 9) }
        let path = scratch.path("large")
        try writeFull(path, large)
        let plan = try SnapshotChain(opening: path).mappingPlan()
        #expect(
            plan == [
                MemoryPiece(layer: 0, fileOffset: 0, region: 0, offset: 0, count: 4 * chunkSize),
                MemoryPiece(
                    layer: 0, fileOffset: UInt64(30 * chunkSize), region: 0, offset: 30 * chunkSize,
                    count: 30 * chunkSize),
            ])
        let target = try FakeRAM([(0, 60 * chunk), (1 << 32, 40 * chunk)])
        try SnapshotChain(opening: path).mapMemory(into: target.regions)
        #expect(target.all == large.all)
    }

    @Test func whatIsTooScatteredToMapIsCopied() throws {
        try writeFull(scratch.path("full"), ram)
        let pages = stride(from: 1, to: 1000, by: 2).map { (0, $0) }
        for (region, number) in pages { ram.set(region, number, seed: number % 3 == 0 ? nil : UInt8(number % 250)) }
        try writeDiff(scratch.path("diff"), ram, pages, to: scratch.path("full"))
        let chain = try SnapshotChain(opening: scratch.path("diff"))
        #expect(chain.mappingPlan().count == 502)
        for limit in [0, 1, 2, 10, 501, 502] {
            let target = try FakeRAM()
            try chain.mapMemory(into: target.regions, limit: limit)
            #expect(target.all == ram.all, "\(limit)")
        }
    }

    @Test func aDiffMayLieElsewhere() throws {
        try Directory.make(scratch.path("sub"))
        try writeFull(scratch.path("full"), ram)
        ram.set(0, 9, seed: 9)
        let manifest = try writeDiff(scratch.path("sub/diff"), ram, [(0, 9)], to: scratch.path("full"))
        #expect(manifest.parent?.path == "../../full")
        #expect(try copied(scratch.path("sub/diff")) == ram.all)
    }

    @Test func aNameMayBeAsLongAsNamesAre() throws {
        let name = String(repeating: "ü", count: 127)
        try writeFull(scratch.path(name), ram)
        #expect(try names(scratch) == [name])
        #expect(try copied(scratch.path(name)) == ram.all)
    }

    @Test func theWorkersDoNotMatter() throws {
        try writeFull(scratch.path("one"), ram, workers: 1)
        try writeFull(scratch.path("five"), ram, workers: 5)
        let names = ["memory.bin", "memory.map", "state.json", "config.json"]
        for name in names { #expect(try scratch.read("one/\(name)") == scratch.read("five/\(name)")) }
    }

    @Test func aMachineOfAnotherSizeIsRefused() throws {
        try writeFull(scratch.path("full"), ram)
        let other = try FakeRAM([(0, 1026), (1 << 32, 20)])
        let chain = try SnapshotChain(opening: scratch.path("full"))
        for attempt in [{ try chain.copyMemory(into: other.regions) }, { try chain.mapMemory(into: other.regions) }] {
            let error = #expect(throws: SnapshotError.self, performing: attempt)
            #expect(error?.kind == .memoryLayout)
            #expect("\(error as Any)".contains("0x0+4202496"))
        }
    }

    @Test func aRestoreCanBeGivenUp() throws {
        try writeFull(scratch.path("full"), ram)
        let other = try FakeRAM()
        let error = #expect(throws: SnapshotError.self) {
            try SnapshotChain(opening: scratch.path("full")).copyMemory(into: other.regions, unless: { true })
        }
        #expect(error?.kind == .cancelled)
    }

    @Test func badRequestsAreRefused() throws {
        #expect(throws: SnapshotError.self) { try LiveMemory([]) }
        #expect(throws: SnapshotError.self) { try LiveMemory(ram.regions.reversed()) }
        #expect(throws: SnapshotError.self) { try LiveMemory(ram.regions, dirty: [[0]]) }
        #expect(throws: SnapshotError.self) { try LiveMemory(ram.regions, dirty: [[0], [0]]) }
        let writer = try SnapshotWriter(scratch.path("x"))
        let error = #expect(throws: SnapshotError.self) {
            try writer.write(try contents(), memory: try LiveMemory(ram.regions, dirty: ram.dirty([])))
        }
        #expect(error?.kind == .usage)
        writer.abandon()
        #expect(throws: SnapshotError.self) { try writer.commit() }
        #expect(try names(scratch).isEmpty)
    }
}

/// Numbers that are the same in every run.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}
