import Foundation
import Host
import TestSupport
import Testing

@testable import Snapshot

@Suite struct ToolTests {
    private let scratch: ScratchDirectory
    private let ram: FakeRAM

    /// A full snapshot `a` and two diffs, `b` and `c`, on top of it.
    init() throws {
        scratch = try ScratchDirectory("tools")
        ram = try FakeRAM()
        ram.fillUsual()
        try writeFull(scratch.path("a"), ram)
        ram.set(0, 1, seed: 77)
        ram.set(0, 5, seed: nil)
        try writeDiff(scratch.path("b"), ram, [(0, 1), (0, 5)], to: scratch.path("a"))
        ram.set(0, 2, seed: nil)
        ram.set(1, 4, seed: 6)
        try writeDiff(scratch.path("c"), ram, [(0, 2), (1, 4)], to: scratch.path("b"))
    }

    private func chain(_ name: String) throws -> SnapshotChain { try SnapshotChain(opening: scratch.path(name)) }

    @Test func verifyLooksAtTheWholeChain() throws {
        let result = try chain("c").verify()
        #expect(result == VerifiedSnapshot(snapshots: 3, files: 15, memoryBytes: UInt64((11 + 1 + 1) * page)))
    }

    @Test func verifySeesWhatAMappingDoesNot() throws {
        var bytes = try scratch.read("a/memory.bin")
        bytes[100 * page + 7] ^= 1
        try scratch.write("a/memory.bin", bytes)
        _ = try mapped(scratch.path("c"))
        let error = #expect(throws: SnapshotError.self) { try chain("c").verify() }
        #expect(error?.kind == .checksum)
        #expect(error?.file == scratch.path("a/memory.bin"))
        #expect(throws: SnapshotError.self) { try copied(scratch.path("c")) }
    }

    @Test func verifyLooksAtTheParentsSmallFiles() throws {
        try scratch.write("a/config.json", "{}")
        let error = #expect(throws: SnapshotError.self) { try chain("c").verify() }
        #expect(error?.file == scratch.path("a/config.json"))
    }

    @Test func aMergedChainIsOneFullSnapshotWithTheSameContent() throws {
        let top = try chain("c")
        let manifest = try top.merge(into: scratch.path("m"))
        #expect(manifest.parent == nil)
        #expect(manifest.id == top.manifest.id)
        #expect(manifest.time == top.manifest.time)
        #expect(manifest.memory.dataBytes == UInt64(10 * page))
        let merged = try chain("m")
        #expect(merged.layers.count == 1)
        _ = try merged.verify()
        #expect(try copied(scratch.path("m")) == ram.all)
        #expect(try mapped(scratch.path("m")) == ram.all)
        #expect(try merged.compare(with: top).isSame)
        #expect(merged.top.stateBytes == top.top.stateBytes)
    }

    @Test func aMergedSnapshotTakesTheDiffsPlaceUnderItsChildren() throws {
        _ = try chain("b").merge(into: scratch.path("m"))
        for name in ["a", "b"] { try FileManager.default.removeItem(atPath: scratch.path(name)) }
        try FileManager.default.moveItem(atPath: scratch.path("m"), toPath: scratch.path("b"))
        #expect(try chain("c").layers.count == 2)
        #expect(try copied(scratch.path("c")) == ram.all)
        #expect(try mapped(scratch.path("c")) == ram.all)
    }

    @Test func aMergeIntoASnapshotIsRefused() throws {
        for name in ["a", "b"] {
            let error = #expect(throws: SnapshotError.self) {
                _ = try chain("b").merge(into: scratch.path("\(name)/merged"))
            }
            #expect(error?.kind == .usage && error?.words.contains("must not change") == true, "\(error as Any)")
            #expect(try !Directory.entries(scratch.path(name)).contains("merged"))
        }
    }

    @Test func aMergeOfDamagedMemoryLeavesNothing() throws {
        var bytes = try scratch.read("a/memory.bin")
        bytes[100 * page + 7] ^= 1
        try scratch.write("a/memory.bin", bytes)
        let error = #expect(throws: SnapshotError.self) { _ = try chain("c").merge(into: scratch.path("m")) }
        #expect(error?.kind == .checksum)
        #expect(try names(scratch) == ["a", "b", "c"])
    }

    @Test func aComparisonNamesPagesAndFields() throws {
        let found = try chain("a").compare(with: chain("c"))
        #expect(!found.isSame)
        let pages = [(UInt64(page), 2), (UInt64(5 * page), 1), (UInt64(1 << 32) + UInt64(4 * page), 1)]
        #expect(found.memory == pages.map { .init(guestAddress: $0, bytes: UInt64($1 * page)) })
        #expect(found.state == ["lamp0.state.hours"])
        #expect(found.config.isEmpty && found.needs.isEmpty && !found.layoutDiffers)
        #expect(try chain("b").compare(with: chain("b")).isSame)
    }

    @Test func aComparisonNamesOtherDevicesAndNeeds() throws {
        var state = StateDocument()
        try state.add(Lamp(lit: false, hours: 7), as: "lamp0")
        try state.add(Lamp(lit: false, hours: 0), as: "lamp1")
        let writer = try SnapshotWriter(scratch.path("x"))
        let contents = SnapshotContents(
            writer: "tests", config: Array(#"{"cpus":{"boot_vcpus":2},"net":[]}"#.utf8), state: try state.encoded(),
            needs: SnapshotNeeds(cpuid: [.init(leaf: 7, .ebx, bits: 1 << 5 | 1 << 16)], kvm: []))
        try writer.write(contents, memory: try LiveMemory(try FakeRAM([(0, 3)]).regions))
        _ = try writer.commit()
        let found = try chain("a").compare(with: chain("x"))
        #expect(found.layoutDiffers)
        #expect(found.memory.isEmpty)
        #expect(found.config == ["cpus.boot_vcpus", "net"])
        #expect(found.state == ["lamp0.state.lit", "lamp1"])
        #expect(found.needs == ["KVM_CAP_XSAVE2", "avx512f", "sse4_2"])
    }

    @Test func whatAHostLacksIsNamed() throws {
        let needs = try contents().needs
        #expect(needs.words == ["avx2", "sse4_2", "KVM_CAP_XSAVE2"])
        #expect(needs.missing(cpuid: { _, _, _ in .max }, hasCapability: { _ in true }).isEmpty)
        let without = needs.missing(cpuid: { leaf, _, _ in leaf == 7 ? 0 : .max }, hasCapability: { _ in false })
        #expect(without == ["avx2", "KVM_CAP_XSAVE2"])
        let odd = SnapshotNeeds(cpuid: [.init(leaf: 0x15, subleaf: 2, .edx, bits: 1 << 31)])
        #expect(odd.words == ["CPUID 0x15.2 edx bit 31"])
    }

    @Test func pathsBetweenDirectoriesAreRelative() {
        #expect(RelativePath.from("/a/b/new", to: "/a/b/old") == "../old")
        #expect(RelativePath.from("/a/b/new", to: "/a/c/old") == "../../c/old")
        #expect(RelativePath.from("/a/b/new", to: "/a/b/new/old") == "old")
        #expect(RelativePath.from("/new", to: "/x/y") == "../x/y")
    }
}
