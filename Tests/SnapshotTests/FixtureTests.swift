import Foundation
import Host
import TestSupport
import Testing

@testable import Snapshot

/// Snapshots of each format that was ever released lie in `Tests/Fixtures/Snapshots` and stay readable. With
/// `SWIFTLET_WRITE_FIXTURES` in the environment, those of the newest format are written where there are none.
@Suite struct FixtureTests {
    private static let directory = "\(Built.repository)/Tests/Fixtures/Snapshots"

    /// What the fixtures were written with: one region of six pages, of which the diff changes three.
    private func memory() throws -> (full: FakeRAM, diff: FakeRAM) {
        let (full, diff) = (try FakeRAM([(0, 6)]), try FakeRAM([(0, 6)]))
        for ram in [full, diff] { for number in [0, 2, 5] { ram.set(0, number, seed: UInt8(10 + number)) } }
        diff.set(0, 2, seed: nil)
        diff.set(0, 3, seed: 33)
        diff.set(0, 5, seed: 55)
        return (full, diff)
    }

    @Test(.enabled(if: ProcessInfo.processInfo.environment["SWIFTLET_WRITE_FIXTURES"] != nil))
    func theNewestFormatHasFixtures() throws {
        let path = "\(Self.directory)/format\(Manifest.format)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let (full, diff) = try memory()
        try writeFull("\(path)/full", full)
        try writeDiff("\(path)/diff", diff, [(0, 2), (0, 3), (0, 5)], to: "\(path)/full")
    }

    @Test(arguments: 1...Manifest.format) func eachFormatStaysReadable(format: Int) throws {
        let path = "\(Self.directory)/format\(format)"
        let (full, diff) = try memory()
        for (name, ram, hours) in [("full", full, UInt16(7)), ("diff", diff, 8)] {
            let chain = try SnapshotChain(opening: "\(path)/\(name)")
            _ = try chain.verify()
            #expect(chain.manifest.format == format)
            #expect(chain.manifest.writer == "tests")
            #expect(chain.manifest.needs.words == ["avx2", "sse4_2", "KVM_CAP_XSAVE2"])
            #expect(String(decoding: chain.top.config, as: UTF8.self) == #"{"cpus":{"boot_vcpus":1}}"#)
            let state = try chain.top.state()
            #expect(try state.read(Lamp.self, of: "lamp0") == Lamp(lit: true, hours: hours))
            try state.checkAllRead()
            let (copy, mapping) = (try FakeRAM([(0, 6)]), try FakeRAM([(0, 6)]))
            try chain.copyMemory(into: copy.regions)
            try chain.mapMemory(into: mapping.regions)
            #expect(copy.all == ram.all)
            #expect(mapping.all == ram.all)
        }
    }
}
