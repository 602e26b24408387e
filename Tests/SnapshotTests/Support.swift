import Foundation
import Host
import Synchronization
import TestSupport
import Testing

@testable import Snapshot

let page = HostRange.pageSize
let chunkSize = MemoryGeometry.chunkSize

/// The RAM of a VM that there is none of.
final class FakeRAM: Sendable {
    let parts: [(guestAddress: UInt64, memory: ScratchMemory)]

    /// - Parameter pages: for each region its first address and its pages.
    init(_ pages: [(UInt64, Int)] = FakeRAM.usual) throws {
        parts = try pages.map { ($0, try ScratchMemory(count: $1 * page)) }
    }

    /// Two regions: two whole chunks and a bit, and less than one.
    static let usual: [(UInt64, Int)] = [(0, 1027), (1 << 32, 20)]

    var regions: [MemoryRegion] {
        parts.map { MemoryRegion(guestAddress: $0.guestAddress, host: $0.memory.range, owner: $0.memory) }
    }

    /// Fills a page with bytes that depend on the seed, or with zeroes.
    func set(_ region: Int, _ number: Int, seed: UInt8?) {
        var bytes = [UInt8](repeating: 0, count: page)
        if let seed { for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index / 3) &+ seed } }
        parts[region].memory.fill(bytes, at: number * page)
    }

    func bytes(_ region: Int) -> [UInt8] {
        let memory = parts[region].memory
        return memory.bytes(0..<memory.range.count)
    }

    /// All bytes of all regions.
    var all: [[UInt8]] { parts.indices.map(bytes) }

    /// Some pages here and there, the last ones included.
    func fillUsual() {
        for number in [0, 1, 2, 5, 100, 511, 512, 600, 1026] { set(0, number, seed: UInt8(truncatingIfNeeded: number)) }
        for number in [3, 19] { set(1, number, seed: UInt8(200 + number)) }
    }

    /// A bitmap of pages for each region.
    func dirty(_ pages: [(Int, Int)]) -> [[UInt64]] {
        var bits = parts.map { [UInt64](repeating: 0, count: ($0.memory.range.count / page + 63) / 64) }
        for (region, number) in pages { bits[region][number / 64] |= 1 << UInt64(number % 64) }
        return bits
    }
}

/// A device's state.
struct Lamp: SavedState {
    static let kind = "lamp"
    static let version = 1
    var lit: Bool
    var hours: UInt16
}

func contents(_ parent: SnapshotContents.Parent? = nil, hours: UInt16 = 7) throws -> SnapshotContents {
    var state = StateDocument()
    try state.add(Lamp(lit: true, hours: hours), as: "lamp0")
    return SnapshotContents(
        writer: "tests", config: Array(#"{"cpus":{"boot_vcpus":1}}"#.utf8), state: try state.encoded(),
        needs: SnapshotNeeds(
            cpuid: [.init(leaf: 7, .ebx, bits: 1 << 5), .init(leaf: 1, .ecx, bits: 1 << 20)],
            kvm: ["KVM_CAP_XSAVE2"]),
        parent: parent)
}

/// Writes a full snapshot.
@discardableResult
func writeFull(
    _ path: String, _ ram: FakeRAM, hook: SnapshotStepHook? = nil, workers: Int? = nil
) throws -> Manifest {
    let writer = try SnapshotWriter(path, hook: hook)
    try writer.write(try contents(), memory: try LiveMemory(ram.regions), workers: workers)
    return try writer.commit()
}

/// Writes a diff to a snapshot.
@discardableResult
func writeDiff(
    _ path: String, _ ram: FakeRAM, _ pages: [(Int, Int)], to parent: String, hook: SnapshotStepHook? = nil
) throws -> Manifest {
    let id = try SnapshotDirectory(opening: parent).manifest.id
    let writer = try SnapshotWriter(path, hook: hook)
    try writer.write(
        try contents(.init(id: id, directory: parent), hours: 8),
        memory: try LiveMemory(ram.regions, dirty: ram.dirty(pages)))
    return try writer.commit()
}

/// The memory that a snapshot gives when it is copied.
func copied(_ path: String) throws -> [[UInt8]] {
    let ram = try FakeRAM()
    try SnapshotChain(opening: path).copyMemory(into: ram.regions)
    return ram.all
}

/// The memory that a snapshot gives when it is mapped.
func mapped(_ path: String) throws -> [[UInt8]] {
    let ram = try FakeRAM()
    try SnapshotChain(opening: path).mapMemory(into: ram.regions)
    return ram.all
}

/// The names in a directory that snapshots lie in, those of temporary ones included.
func names(_ scratch: ScratchDirectory) throws -> [String] { try Directory.entries(scratch.path).sorted() }
