import Host
import Snapshot
import TestSupport
import Testing
import Virtio

@testable import VirtioBlock

/// A disk that a guest from a snapshot finds again, or not.
struct BlockStateTests {
    private func disk(_ path: String, readOnly: Bool = false) throws -> BlockDevice {
        var options = DiskOptions(path: path, field: "$.disks[0]")
        options.readOnly = readOnly
        options.declaredRaw = true
        return BlockDevice(id: "d", try DiskImage(options), BlockSettings())
    }

    private func state(_ change: (inout BlockState) -> Void = { _ in }) throws -> StateDocument {
        var state = BlockState(size: 1 << 20, isReadOnly: false)
        change(&state)
        var document = StateDocument()
        try document.add(state, as: "__device_d")
        return try StateDocument(try document.encoded(), file: "state.json")
    }

    @Test func aDiskMayGrowAndNotShrink() throws {
        let scratch = try ScratchDirectory("block-state")
        var saved = StateDocument()
        try disk(scratch.sparse("same", bytes: 1 << 20)).save(to: &saved, as: "__device_d")
        try disk(scratch.sparse("again", bytes: 1 << 20)).restore(from: saved, as: "__device_d")
        try disk(scratch.sparse("longer", bytes: 2 << 20)).restore(from: saved, as: "__device_d")
        let shorter = try disk(scratch.sparse("shorter", bytes: 1 << 19))
        let error = #expect(throws: SnapshotError.self) { try shorter.restore(from: saved, as: "__device_d") }
        #expect(error?.field == "devices.__device_d.state.size")
        #expect(error?.words.contains("524288 bytes now, and had 1048576") == true, "\(error as Any)")
    }

    @Test func aDiskThatIsWrittenStaysWritable() throws {
        let scratch = try ScratchDirectory("block-state")
        let path = try scratch.sparse("disk", bytes: 1 << 20)
        let error = #expect(throws: SnapshotError.self) {
            try disk(path, readOnly: true).restore(from: state(), as: "__device_d")
        }
        #expect(error?.field == "devices.__device_d.state.isReadOnly")
        try disk(path, readOnly: true).restore(from: state { $0.isReadOnly = true }, as: "__device_d")
        #expect(throws: SnapshotError.self) {
            try disk(path).restore(from: state { $0.size = .max }, as: "__device_d")
        }
        #expect(throws: SnapshotError.self) { try disk(path).restore(from: state(), as: "__device_other") }
    }
}
