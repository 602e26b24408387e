import Foundation
import TestSupport
import Testing

/// `swiftlet snapshot` on the fixtures of the directory's format.
@Suite struct SnapshotCommandTests {
    private let scratch: ScratchDirectory
    private let full: String
    private let diff: String

    /// Copies that may be damaged.
    init() throws {
        scratch = try ScratchDirectory("snapshots")
        full = scratch.path("full")
        diff = scratch.path("diff")
        let fixtures = "\(Built.repository)/Tests/Fixtures/Snapshots/format1"
        for name in ["full", "diff"] {
            try FileManager.default.copyItem(atPath: "\(fixtures)/\(name)", toPath: scratch.path(name))
        }
    }

    private func run(_ words: String...) throws -> ProcessResult { try Swiftlet.run(["snapshot"] + words) }

    private func json(_ result: ProcessResult) throws -> Any {
        try JSONSerialization.jsonObject(with: Data(result.output))
    }

    private func flip(_ name: String, at offset: Int) throws {
        var bytes = try scratch.read(name)
        bytes[offset] ^= 4
        try scratch.write(name, bytes)
    }

    @Test func wholeSnapshotsPass() throws {
        let result = try run("verify", full, diff)
        #expect(result.succeeded, "\(result)")
        #expect(
            result.text == """
                \(full): whole: 5 files, 12 KiB of memory checked
                \(diff): whole with 1 that it builds upon: 10 files, 20 KiB of memory checked

                """)
    }

    /// The kernel's limit of a file's length is an error like a full disk, and no signal.
    @Test func aFileThatMayNotGetLongerIsAnError() throws {
        let script = #"ulimit -f 8; exec "$0" snapshot merge "$1" "$2""#
        let command = Command("bash", ["-c", script, try Built.swiftlet(), diff, scratch.path("merged")])
        let result = try runProcess(command)
        #expect(result.ending == .exited(69), "\(result)")
        #expect(result.errors.contains("EFBIG") && result.errors.contains("ulimit -f"), "\(result)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path).sorted() == ["diff", "full"])
    }

    @Test func damageIsNamedAndTheOthersAreStillChecked() throws {
        try flip("full/memory.bin", at: 2 * 4096 + 9)
        let result = try run("verify", "--json", diff, full, scratch.path("none"))
        #expect(result.ending == .exited(65), "\(result)")
        let found = try #require(try json(result) as? [[String: Any]])
        #expect(found.map { $0["ok"] as? Bool } == [false, false, false])
        #expect(found[0]["file"] as? String == "\(full)/memory.bin")
        #expect((found[0]["field"] as? String)?.hasPrefix("chunk 0 ") == true)
        #expect(found[2]["file"] as? String == scratch.path("none"))
        #expect(result.errors.hasPrefix("swiftlet: \(full)/memory.bin: chunk 0 (offset 0, 24576 bytes): "))
    }

    @Test func infoTellsWhatASnapshotIs() throws {
        let text = try run("info", diff).text
        for words in ["diff", "lamp0, lamp, version 1", "avx2 sse4_2 KVM_CAP_XSAVE2", full, "24 KiB, 8 KiB of it here"]
        {
            #expect(text.contains(words), "\(text)")
        }
        let info = try #require(try json(try run("info", "--json", diff)) as? [String: Any])
        #expect(info["type"] as? String == "diff")
        #expect(info["memory_bytes"] as? Int == 24576)
        let parents = try #require(info["parents"] as? [[String: Any]])
        #expect(parents.map { $0["path"] as? String } == [full])
    }

    @Test func differencesAreListed() throws {
        let text = try run("diff", full, diff).text
        let expected = [
            "memory: 12 KiB in 2 ranges", "  0x2000  8 KiB", "  0x5000  4 KiB", "state: 1 place", "  lamp0.state.hours",
        ]
        #expect(text.split(separator: "\n").map(String.init) == expected)
        let same = try run("diff", full, full)
        #expect(same.succeeded && same.text == "nothing differs\n")
        let found = try #require(try json(try run("diff", "--json", full, diff)) as? [String: Any])
        #expect((found["memory"] as? [[String: Int]])?.first == ["guest_address": 0x2000, "bytes": 0x2000])
    }

    @Test func aMergedSnapshotIsTheSameInOne() throws {
        let merged = scratch.path("merged")
        let result = try run("merge", diff, merged)
        #expect(result.succeeded, "\(result)")
        #expect(result.text.contains("merged from 2, 12 KiB of memory"))
        try FileManager.default.removeItem(atPath: full)
        let verified = try run("verify", merged)
        #expect(verified.text == "\(merged): whole: 5 files, 12 KiB of memory checked\n", "\(verified)")
        expectRefusal(try run("verify", diff), 65, "\(diff)/manifest.json: parent.path: the parent is gone", full)
        expectRefusal(try run("merge", merged, merged), 64, "\(merged): this exists", "name another directory")
    }

    @Test func mistakesAreRefused() throws {
        expectRefusal(try run(), 64, "No verb is given")
        expectRefusal(try run("merge", full, scratch.path("no/where")), 69, scratch.path("no"), "make it first")
        expectRefusal(try run("info", "/dev/null"), 65, "/dev/null: this is no directory")
        try scratch.write("full/manifest.json", #"{"format":9,"architecture":"z80"}"#)
        expectRefusal(try run("info", full), 65, "\(full)/manifest.json: format: this is format 9", "at least as new")
        try FileManager.default.removeItem(atPath: "\(diff)/state.json")
        expectRefusal(try run("diff", diff, diff), 65, "\(diff)/state.json: this file of the snapshot is missing")
    }
}
