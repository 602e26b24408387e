import Foundation
import Host
import TestSupport
import Testing

@testable import Snapshot

/// A full snapshot and a diff to it, that are damaged in one place and mended again.
private final class Victim {
    let scratch: ScratchDirectory
    private let originals: [String: [UInt8]]
    /// The files of both, relative to the scratch directory.
    let files: [String]
    private(set) var tried = 0

    init() throws {
        scratch = try ScratchDirectory("victim")
        // The smallest memory with two regions, chunks with and without data, and a last chunk that is not whole.
        let ram = try FakeRAM([(0, 520), (1 << 32, 4)])
        for number in [0, 3, 511, 515] { ram.set(0, number, seed: UInt8(number % 251)) }
        ram.set(1, 2, seed: 4)
        try writeFull(scratch.path("full"), ram)
        ram.set(0, 3, seed: 99)
        ram.set(0, 4, seed: nil)
        ram.set(1, 3, seed: 98)
        try writeDiff(scratch.path("diff"), ram, [(0, 3), (0, 4), (1, 3)], to: scratch.path("full"))
        files = ["full", "diff"].flatMap { name in
            ["manifest.json", "config.json", "state.json", "memory.map", "memory.bin"].map { "\(name)/\($0)" }
        }
        let scratch = scratch
        originals = try Dictionary(uniqueKeysWithValues: files.map { ($0, try scratch.read($0)) })
        _ = try check()
    }

    func bytes(_ file: String) throws -> [UInt8] { try #require(originals[file]) }

    func write(_ file: String, _ bytes: [UInt8]) throws { try scratch.write(file, bytes) }

    /// What a restore and a full check of the diff say.
    private func check() throws {
        let chain = try SnapshotChain(opening: scratch.path("diff"))
        _ = try chain.top.state().read(Lamp.self, of: "lamp0")
        _ = try chain.verify(workers: 1)
        let ram = try FakeRAM([(0, 520), (1 << 32, 4)])
        try chain.copyMemory(into: ram.regions, workers: 1)
    }

    /// Damages a file, expects a refusal that names one of `names`, and mends the files.
    @discardableResult
    func refused(
        _ what: String, naming names: [String], _ damage: () throws -> Void,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> SnapshotError? {
        tried += 1
        try damage()
        var found: SnapshotError?
        do {
            try check()
            Issue.record("\(what): accepted", sourceLocation: sourceLocation)
        } catch let error as SnapshotError {
            found = error
            let isNamed = names.contains { error.file == scratch.path($0) }
            #expect(isNamed, "\(what): \(error)", sourceLocation: sourceLocation)
            #expect(!error.words.isEmpty && !error.description.contains("\n"), "\(what): \(error)")
        }
        return found
    }

    func mend() throws {
        for file in files {
            if try (try? scratch.read(file)) != bytes(file) {
                try? FileManager.default.removeItem(atPath: scratch.path(file))
                try scratch.write(file, try bytes(file))
            }
        }
    }

    /// Damages one file by other bytes.
    @discardableResult
    func refused(
        _ file: String, as bytes: [UInt8], _ what: String, or others: [String] = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> SnapshotError? {
        defer { _ = try? scratch.write(file, (try? self.bytes(file)) ?? []) }
        return try refused(
            "\(file), \(what)", naming: [file] + others, { try write(file, bytes) }, sourceLocation: sourceLocation)
    }
}

/// Puts the right checksum into a manifest's text that was changed.
private func signed(_ text: String) throws -> [UInt8] {
    var bytes = Array(text.utf8)
    let digits = 18..<26
    for index in digits { bytes[index] = UInt8(ascii: "0") }
    bytes.replaceSubrange(digits, with: Hexadecimal.text(Checksum.crc32c(bytes)).utf8)
    return bytes
}

@Suite struct CorruptionTests {
    @Test func damagedBytesAreRefused() throws {
        let victim = try Victim()
        var generator = SplitMix(seed: 7)
        for file in victim.files {
            let bytes = try victim.bytes(file)
            var lengths = [0, 1, bytes.count / 2, bytes.count - 1, bytes.count - page].filter { $0 >= 0 }
            for _ in 0..<5 { lengths.append(Int.random(in: 0..<bytes.count, using: &generator)) }
            for length in Set(lengths) { try victim.refused(file, as: Array(bytes[..<length]), "cut to \(length)") }
            for more in [1, page] {
                try victim.refused(file, as: bytes + [UInt8](repeating: 0, count: more), "\(more) bytes more")
            }
            for _ in 0..<40 {
                let (index, bit) = (
                    Int.random(in: bytes.indices, using: &generator), Int.random(in: 0..<8, using: &generator)
                )
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                // A manifest that names another parent or another file leads there.
                let others = file.hasSuffix("manifest.json") ? victim.files : []
                try victim.refused(file, as: flipped, "bit \(bit) of byte \(index) flipped", or: others)
            }
        }
        // Data pages, where a flip at random is rare.
        for (file, offset) in [("full/memory.bin", 3 * page), ("full/memory.bin", 0), ("diff/memory.bin", 3 * page)] {
            for index in [0, 1, 2047, page - 1] {
                var flipped = try victim.bytes(file)
                flipped[offset + index] ^= 0x10
                let error = try victim.refused(file, as: flipped, "data at \(offset + index)")
                #expect(error?.kind == .checksum)
                #expect(error?.field?.hasPrefix("chunk 0 ") == true)
            }
        }
        #expect(victim.tried >= 500, "\(victim.tried)")
    }

    @Test func filesThatAreNoneAreRefused() throws {
        let victim = try Victim()
        let manager = FileManager.default
        for file in victim.files {
            let path = victim.scratch.path(file)
            let gone = try victim.refused("\(file) removed", naming: [file]) { try manager.removeItem(atPath: path) }
            #expect(gone?.kind == .missing)
            try victim.refused("\(file) a directory", naming: [file]) {
                try manager.createDirectory(atPath: path, withIntermediateDirectories: false)
            }
            try victim.mend()
            try victim.refused("\(file) a link to nowhere", naming: [file]) {
                try manager.removeItem(atPath: path)
                try manager.createSymbolicLink(atPath: path, withDestinationPath: "/nowhere")
            }
            try victim.mend()
            try victim.refused("\(file) a FIFO", naming: [file]) {
                try manager.removeItem(atPath: path)
                // SAFETY: the path's bytes live through the call.
                let result = unsafe mkfifo(path, 0o600)
                #expect(result == 0)
            }
            try manager.removeItem(atPath: path)
            try victim.mend()
            try victim.refused("\(file) a device", naming: [file]) {
                try manager.removeItem(atPath: path)
                try manager.createSymbolicLink(atPath: path, withDestinationPath: "/dev/zero")
            }
            try manager.removeItem(atPath: path)
            try victim.mend()
        }
    }

    @Test func filesOfTheOtherSnapshotAreRefused() throws {
        let victim = try Victim()
        for name in ["state.json", "memory.map", "memory.bin"] {
            for (to, from) in [("full", "diff"), ("diff", "full")] {
                let bytes = try victim.bytes("\(from)/\(name)")
                try victim.refused("\(to)/\(name)", as: bytes, "that of \(from)")
            }
        }
        let error = try victim.refused(
            "full/manifest.json", as: try victim.bytes("diff/manifest.json"), "the child's",
            or: ["diff/manifest.json", "full/state.json", "full/memory.map"])
        #expect(error != nil)
    }

    /// A manifest whose checksum is right and whose values are not.
    @Test func wrongValuesAreNamed() throws {
        let victim = try Victim()
        let full = String(decoding: try victim.bytes("full/manifest.json"), as: UTF8.self)
        let diff = String(decoding: try victim.bytes("diff/manifest.json"), as: UTF8.self)
        let huge = [
            "18446744073709551615", "9223372036854775808", "-1", "1.5", "1e400", "1e19", "\"8\"", "null", "[]", "4097",
        ]
        func change(
            _ file: String, _ text: String, _ key: String, _ value: String, _ field: String, _ others: [String] = []
        ) throws {
            let line = try #require(text.split(separator: "\n").first { $0.contains("\"\(key)\" :") }, "\(key)")
            let comma = line.hasSuffix(",") ? "," : ""
            let indent = line.prefix { $0 == " " }
            let changed = text.replacingOccurrences(of: line, with: "\(indent)\"\(key)\" : \(value)\(comma)")
            let error = try victim.refused(file, as: try signed(changed), "\(key) \(value)", or: others)
            let path = victim.scratch.path(file)
            if error?.file == path {
                #expect(error?.field?.hasPrefix(field) == true, "\(key) \(value): \(error as Any)")
            }
        }
        for value in ["0", "2", "-1", "4294967296", "9223372036854775807"] {
            try change("full/manifest.json", full, "format", value, "format")
        }
        let format = try victim.refused(
            "full/manifest.json",
            as: try signed(full.replacingOccurrences(of: "\"format\" : 1", with: "\"format\" : 7")), "7")
        #expect(format?.kind == .format(found: 7, newest: 1))
        for value in ["\"aarch64\"", "\"\"", "1", "null"] {
            try change("full/manifest.json", full, "architecture", value, "architecture")
        }
        for value in huge {
            try change("full/manifest.json", full, "page_size", value, "memory.page_size")
            try change("full/manifest.json", full, "chunk_size", value, "memory.chunk_size")
            try change("full/manifest.json", full, "data_bytes", value, "memory.data_bytes", ["full/memory.map"])
            try change("full/manifest.json", full, "size", value, "memory.regions")
            try change("full/manifest.json", full, "guest_address", value, "memory.regions")
            try change("full/manifest.json", full, "file_offset", value, "memory.regions")
            try change("full/manifest.json", full, "length", value, "files.", ["full/config.json"])
            try change("full/manifest.json", full, "format", value, "format")
            try change("full/manifest.json", full, "leaf", value == "4097" ? "-7" : value, "needs.cpuid")
        }
        for value in ["\"zzzzzzzz\"", "\"123\"", "\"00000000\"", "7", "null"] {
            try change("full/manifest.json", full, "crc32c", value, "files.", ["full/config.json"])
        }
        for value in ["\"\"", "\"../none\"", "\"/nowhere\"", "\"../full/config.json\"", "null", "3"] {
            try change("diff/manifest.json", diff, "path", value, "parent.path", ["full/config.json"])
        }
    }

    @Test func wrongParentsAreNamed() throws {
        let victim = try Victim()
        let diff = String(decoding: try victim.bytes("diff/manifest.json"), as: UTF8.self)
        let id = try SnapshotDirectory(opening: victim.scratch.path("full")).manifest.id
        let own = try SnapshotDirectory(opening: victim.scratch.path("diff")).manifest.id
        let other = "01234567-89ab-cdef-0123-456789abcdef"
        let wrong = try victim.refused(
            "diff/manifest.json", as: try signed(diff.replacingOccurrences(of: id, with: other)), "another parent's id")
        #expect(wrong?.kind == .notTheParent)
        #expect(wrong?.field == "parent.id")
        let itself = try victim.refused(
            "diff/manifest.json", as: try signed(diff.replacingOccurrences(of: id, with: own)), "its own id")
        #expect(itself?.field == "parent.id")
        for bad in ["", "x", other.uppercased(), other + "0"] {
            let error = try victim.refused(
                "diff/manifest.json", as: try signed(diff.replacingOccurrences(of: own, with: bad)), "id \(bad)")
            #expect(error?.field == "id")
        }
        try FileManager.default.moveItem(atPath: victim.scratch.path("full"), toPath: victim.scratch.path("away"))
        let gone = try #require(throws: SnapshotError.self) {
            try SnapshotChain(opening: victim.scratch.path("diff"))
        }
        #expect(gone.kind == .parentGone)
        #expect(gone.description.contains(victim.scratch.path("full")))
        // Another snapshot in the parent's place.
        try writeFull(victim.scratch.path("full"), try FakeRAM([(0, 520), (1 << 32, 4)]))
        let replaced = try #require(throws: SnapshotError.self) {
            try SnapshotChain(opening: victim.scratch.path("diff"))
        }
        #expect(replaced.kind == .notTheParent)
    }

    @Test func aParentWithOtherMemoryIsRefused() throws {
        let scratch = try ScratchDirectory("other")
        let (small, large) = (try FakeRAM([(0, 5)]), try FakeRAM([(0, 6)]))
        try writeFull(scratch.path("small"), small)
        try writeDiff(scratch.path("diff"), large, [(0, 5)], to: scratch.path("small"))
        let error = #expect(throws: SnapshotError.self) { try SnapshotChain(opening: scratch.path("diff")) }
        #expect(error?.kind == .memoryLayout)
    }

    /// A table of the memory's pages whose checksum in the manifest is right.
    @Test func wrongTablesAreNamed() throws {
        for name in ["full", "diff"] {
            let victim = try Victim()
            let file = "\(name)/memory.map"
            let table = try victim.bytes(file)
            let text = String(decoding: try victim.bytes("\(name)/manifest.json"), as: UTF8.self)
            let manifest = try SnapshotDirectory(opening: victim.scratch.path(name)).manifest
            let sum = try #require(manifest.files["memory.map"]?.crc32c)
            func refused(_ what: String, _ change: (inout [UInt8]) -> Void) throws {
                var changed = table
                change(&changed)
                let fixed = text.replacingOccurrences(of: sum, with: Hexadecimal.text(Checksum.crc32c(changed)))
                    .replacingOccurrences(of: "\"length\" : \(table.count)", with: "\"length\" : \(changed.count)")
                try victim.write("\(name)/manifest.json", try signed(fixed))
                try victim.refused(file, as: changed, what, or: ["\(name)/memory.bin"])
            }
            try refused("magic") { $0[0] = 0 }
            try refused("version 0") { $0[8] = 0 }
            try refused("version 2") { $0[8] = 2 }
            try refused("flags") { $0[12] ^= 1 }
            try refused("flags unknown") { $0[13] = 1 }
            try refused("chunks") { $0[16] += 1 }
            try refused("chunks huge") { $0[23] = 0xff }
            try refused("records") { $0[24] -= 1 }
            try refused("records huge") { $0[31] = 0xff }
            try refused("no records") { $0.removeLast($0.count - 32) }
            try refused("a part of a record") { $0.removeLast() }
            try refused("empty") { $0 = [] }
            try refused("a record less") {
                $0.removeLast(136)
                $0[24] -= 1
            }
            try refused("a record twice") {
                $0 += $0.suffix(136)
                $0[24] += 1
            }
            try refused("a chunk behind the last") { $0[32] = 200 }
            try refused("a huge chunk") { $0[35] = 0xff }
            try refused("a checksum") { $0[36] ^= 1 }
            // A page less, which a full snapshot has to have; a diff may have any.
            if name == "full" { try refused("a page less") { $0[40] ^= 1 } }
            try refused("data that is not there") { $0[40 + 64 + 63] ^= 0x40 }
            try refused("no data") { table in for index in 104..<168 { table[index] = 0 } }
            try refused("nothing at all") { table in for index in 40..<168 { table[index] = 0 } }
        }
    }

    /// Any text in place of a file ends in a refusal, never in a crash.
    @Test func nonsenseIsRefused() throws {
        let victim = try Victim()
        let texts = [
            "{}", "[]", "null", "{", "{\"format\":1}", String(repeating: "[", count: 50_000), "\u{0}", "é",
            "{\"format\":1,\"format\":2}", String(repeating: "{\"a\":", count: 20_000),
        ]
        for file in victim.files {
            for text in texts { try victim.refused(file, as: Array(text.utf8), "nonsense \(text.prefix(20))") }
        }
    }

    @Test func whatIsNoSnapshotIsNamed() throws {
        let scratch = try ScratchDirectory("none")
        try scratch.write("file", "x")
        try Directory.make(scratch.path("empty"))
        let cases: [(String, SnapshotError.Kind)] = [("none", .missing), ("file", .malformed), ("empty", .missing)]
        for (name, kind) in cases {
            let error = #expect(throws: SnapshotError.self) { try SnapshotChain(opening: scratch.path(name)) }
            #expect(error?.kind == kind)
            #expect(error?.file?.hasPrefix(scratch.path(name)) == true)
        }
    }
}
