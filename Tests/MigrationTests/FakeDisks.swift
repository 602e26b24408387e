import Foundation
import Host
import Synchronization
import TestSupport
import Testing

@testable import Migration

/// The disks of a machine that is none: files, some blocks of which are written between each two looks.
final class FakeDisks: MirrorSource {
    /// Bytes of each: the second is smaller than a frame and ends within a block, the third has nothing but a hole.
    static let sizes: [UInt64] = [(5 << 20) + (192 << 10), (300 << 10) + 512, 1 << 20]

    let paths: [String]
    private let files: [Descriptor]
    private struct State {
        var isNoting = false
        var written: [[UInt64]] = []
        var seed: UInt64 = 7
        var rounds: Int
    }
    private let state: Mutex<State>
    private let steps: Steps

    private final class Descriptor: Sendable {
        let file: FileDescriptor
        init(_ path: String) throws { file = try FileDescriptor.open(path, O_RDWR) }
    }

    init(_ scratch: ScratchDirectory, _ name: String, _ steps: Steps = Steps(), busyRounds: Int = 2) throws {
        paths = try Self.sizes.indices.map { try scratch.sparse("\(name)\($0)", bytes: Self.sizes[$0]) }
        files = try paths.map { try Descriptor($0) }
        state = Mutex(State(rounds: busyRounds))
        self.steps = steps
        let bytes = try ScratchMemory(count: 64 << 10)
        // Data at the beginning, a hole, a block of written zeroes, data up to the end.
        for (offset, value) in [(0, 1), (64 << 10, 2), (3 << 20, 0), (4 << 20, 3)] as [(UInt64, UInt8)] {
            bytes.fill([UInt8](repeating: value, count: 64 << 10))
            try files[0].file.writeAll(bytes.range, at: offset)
        }
        bytes.fill([UInt8](repeating: 9, count: 512))
        try files[0].file.writeAll(bytes.range.part(0..<512), at: Self.sizes[0] - 512)
        try files[1].file.writeAll(bytes.range.part(0..<512), at: Self.sizes[1] - 512)
    }

    var list: [MirroredDisk] {
        Self.sizes.enumerated().map { index, size in
            MirroredDisk(
                id: "disk\(index)", size: size, dataBytes: (try? dataBytes(index)) ?? 0, logicalBlockSize: 512,
                physicalBlockSize: 512)
        }
    }

    var bytes: [[UInt8]] { get throws { try paths.map { [UInt8](try Data(contentsOf: URL(filePath: $0))) } } }

    func begin() throws(MigrationError) {
        try steps.take("begin")
        state.withLock { state in
            state.isNoting = true
            state.written = Self.sizes.map { DiskBlocks.none(of: $0) }
        }
        write()
    }

    /// The guest writes: a few sectors here and there, one of them zeroes.
    func write() {
        guard let bytes = try? ScratchMemory(count: 4096) else { return }
        state.withLock { state in
            guard state.isNoting, state.rounds > 0 else { return }
            state.rounds -= 1
            for turn in 0..<20 {
                state.seed = state.seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let disk = Int(state.seed >> 33) % 2
                let offset = (state.seed >> 40) % (Self.sizes[disk] / 512) * 512
                let value = turn == 0 ? 0 : UInt8(truncatingIfNeeded: state.seed >> 50)
                bytes.fill([UInt8](repeating: value, count: 512))
                try? files[disk].file.writeAll(bytes.range.part(0..<512), at: offset)
                let block = Int(offset / DiskBlocks.size)
                state.written[disk][block / 64] |= 1 << UInt64(block % 64)
            }
        }
    }

    func takeWritten() throws(MigrationError) -> [[UInt64]] {
        try steps.take("takeWritten")
        let taken = state.withLock { state in
            let taken = state.written
            state.written = Self.sizes.map { DiskBlocks.none(of: $0) }
            return taken
        }
        write()
        return taken
    }

    var isNoting: Bool { state.withLock { $0.isNoting } }

    func end() { state.withLock { $0.isNoting = false } }

    /// The guest stands still.
    func stop() { state.withLock { $0.rounds = 0 } }

    func nextData(_ disk: Int, from offset: UInt64) throws(MigrationError) -> Range<UInt64>? {
        do throws(Errno) { return try files[disk].file.nextData(from: offset) } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }

    func read(_ disk: Int, into range: HostRange, at offset: UInt64) throws(MigrationError) {
        try steps.take("read")
        do throws(Errno) {
            let count = try files[disk].file.readAll(into: range, at: offset)
            #expect(count == range.count)
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }
}
