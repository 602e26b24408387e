import Foundation
import Host
import Synchronization
import TestSupport
import Testing

@testable import Snapshot

/// A disk's image with data here and there, zeroes that are written, holes, and an end that is no page's.
private func image(_ scratch: ScratchDirectory, _ name: String = "image") throws -> String {
    let path = try scratch.sparse(name, bytes: 9 << 20)
    let file = try #require(FileHandle(forWritingAtPath: path))
    for (offset, byte) in [(0, 7), (4096 * 3 + 5, 1), (2 << 20, 2), (7 << 20, 3)] {
        try file.seek(toOffset: UInt64(offset))
        file.write(Data(repeating: UInt8(byte), count: 10_000))
    }
    try file.seek(toOffset: 5 << 20)
    file.write(Data(count: 1 << 20))
    try file.seek(toOffset: 9 << 20)
    file.write(Data(repeating: 9, count: 512 * 3))
    try file.close()
    return path
}

/// Writes a snapshot that has the image.
private func write(
    _ path: String, _ image: String, _ mode: ImageMode = .copy, hook: SnapshotStepHook? = nil,
    unless isCancelled: @escaping @Sendable () -> Bool = { false }
) throws {
    let ram = try FakeRAM([(0, 20)])
    ram.set(0, 3, seed: 1)
    var contents = try contents()
    contents.disks = [try #require(SnapshotDisk(id: "data", path: image))]
    contents.images = ["data": image]
    contents.imageMode = mode
    contents.isCancelled = isCancelled
    let writer = try SnapshotWriter(path, hook: hook)
    try writer.write(contents, memory: try LiveMemory(ram.regions), workers: 1)
    _ = try writer.commit()
}

private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

/// A small btrfs of its own, whose files can share blocks.
private final class ReflinkDisk {
    let directory: ScratchDirectory
    let mount: ScratchDirectory

    init() throws {
        (directory, mount) = (try ScratchDirectory("btrfs"), try ScratchDirectory("mounted"))
        let file = try directory.sparse("fs", bytes: 200 << 20)
        for command in [Command("mkfs.btrfs", ["-q", file]), Command("mount", ["-o", "loop", file, mount.path])] {
            let result = try runProcess(command)
            guard result.succeeded else { throw HostError("make a file system in", file, .notPermitted) }
        }
    }

    deinit { _ = try? runProcess(Command("umount", ["-l", mount.path])) }

    /// Whether this user and this machine can mount one; where not, nothing here shows what sharing does.
    static let isPossible: Bool = {
        if (try? ReflinkDisk()) != nil { return true }
        FileHandle.standardError.write(
            Data("*** NOT TESTED: disks by reflink; this needs root, loop devices and btrfs ***\n".utf8))
        return false
    }()
}

/// Snapshots that have the disks' images.
@Suite struct ImageTests {
    @Test func anImageIsCopiedInAndOut() throws {
        let scratch = try ScratchDirectory("images")
        let original = try image(scratch)
        try write(scratch.path("snap"), original)
        let snapshot = try SnapshotDirectory(opening: scratch.path("snap"))
        let disk = try #require(snapshot.manifest.disks?.first)
        #expect(disk.file == "disk0.raw" && disk.id == "data" && disk.change == nil)
        #expect(try bytes(scratch.path("snap/disk0.raw")) == bytes(original))
        for path in [original, scratch.path("snap/disk0.raw")] {
            let result = try runProcess(Command("stat", ["-c", "%b", path]))
            let blocks = try #require(Int(String(decoding: result.output, as: UTF8.self).trimmed))
            // Zeroes that the original has blocks for have none in the copy.
            #expect(path == original ? blocks * 512 > 1 << 20 : blocks * 512 < 200 << 10, "\(path): \(blocks)")
        }
        _ = try SnapshotChain(opening: scratch.path("snap")).verify()
        // What a process has left that was killed meanwhile, and what only looks like it.
        try scratch.write(".clone.0dead1.incomplete", "a dead process's")
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path(".clone.link.incomplete"), withDestinationPath: original)
        try snapshot.putImage(of: disk, at: scratch.path("clone"), .copy)
        #expect(try bytes(scratch.path("clone")) == bytes(original))
        #expect(try names(scratch) == [".clone.link.incomplete", "clone", "image", "snap"])
        try FileManager.default.removeItem(atPath: scratch.path(".clone.link.incomplete"))
        let error = #expect(throws: SnapshotError.self) {
            try snapshot.putImage(of: disk, at: scratch.path("clone"), .copy)
        }
        #expect(error?.kind == .exists && error?.words.contains("overrides") == true)
        // A merge carries it along.
        _ = try SnapshotChain(opening: scratch.path("snap")).merge(into: scratch.path("merged"))
        #expect(try SnapshotChain(opening: scratch.path("merged")).verify().files == 6)
        #expect(try bytes(scratch.path("merged/disk0.raw")) == bytes(original))
        #expect(try names(scratch) == ["clone", "image", "merged", "snap"])
    }

    /// Copying ends in the middle when nobody wants it any more, into a snapshot, out of one, and beside: nothing is left.
    @Test func copyingIsGivenUp() throws {
        let scratch = try ScratchDirectory("images")
        let original = try image(scratch)
        try write(scratch.path("snap"), original)
        let snapshot = try SnapshotDirectory(opening: scratch.path("snap"))
        let disk = try #require(snapshot.manifest.disks?.first)
        let clone = scratch.path("clone")
        let actions: [(@escaping @Sendable () -> Bool) throws -> Void] = [
            { try DiskImageFile.copy(original, of: "data", to: clone, .copy, unless: $0) },
            { try snapshot.putImage(of: disk, at: clone, .copy, unless: $0) },
            { try write(clone, original, unless: $0) },
        ]
        for action in actions {
            for limit in [0, 1, 3] {
                let asked = Mutex(0)
                let error = #expect(throws: SnapshotError.self) {
                    try action {
                        asked.withLock { asked in
                            defer { asked += 1 }
                            return asked >= limit
                        }
                    }
                }
                #expect(error?.kind == .cancelled && error?.words.contains("given up") == true)
                #expect(asked.withLock { $0 } > limit)
                #expect(try names(scratch) == ["image", "snap"])
            }
            try action { false }
            #expect(try names(scratch) == ["clone", "image", "snap"])
            try FileManager.default.removeItem(atPath: clone)
        }
    }

    /// Whatever happens to the image in the snapshot is found; nothing is made of it.
    @Test func aDamagedImageIsRefused() throws {
        let scratch = try ScratchDirectory("images")
        try write(scratch.path("snap"), try image(scratch))
        let path = scratch.path("snap/disk0.raw")
        let good = try bytes(path)
        for offset in [0, 9_999, 4096 * 3 + 5, 3 << 20, (5 << 20) + 17, good.count - 1] {
            var bad = good
            bad[offset] ^= 0x10
            try bad.write(to: URL(fileURLWithPath: path))
            let snapshot = try SnapshotDirectory(opening: scratch.path("snap"))
            let disk = try #require(snapshot.manifest.disks?.first)
            for action in [
                { _ = try SnapshotChain(opening: scratch.path("snap")).verify() },
                { try snapshot.putImage(of: disk, at: scratch.path("clone"), .copy) },
            ] {
                let error = #expect(throws: SnapshotError.self) { try action() }
                #expect(error?.kind == .checksum && error?.file == path, "\(offset): \(String(describing: error))")
            }
            #expect(try names(scratch) == ["image", "snap"])
        }
        for length in [0, 512, good.count - 1, good.count + 1] {
            try (good + Data(count: 1)).prefix(length).write(to: URL(fileURLWithPath: path))
            let error = #expect(throws: SnapshotError.self) { try SnapshotChain(opening: scratch.path("snap")) }
            #expect(error?.kind == .length && error?.file == path, "\(String(describing: error))")
        }
        FileDescriptor.remove(path)
        let error = #expect(throws: SnapshotError.self) { try SnapshotChain(opening: scratch.path("snap")) }
        #expect(error?.kind == .missing && error?.file == path)
        try good.write(to: URL(fileURLWithPath: path))
        _ = try SnapshotChain(opening: scratch.path("snap")).verify()
    }

    /// Each step of the writing may fail or be the process's last: the old snapshot and the image stay, the new one is
    /// there whole or not at all.
    @Test func aFailureAtEachStepLeavesNothing() throws {
        let scratch = try ScratchDirectory("images")
        let original = try image(scratch)
        let before = try bytes(original)
        let count = Mutex(0)
        try write(scratch.path("whole"), original) { _ throws(Errno) in count.withLock { $0 += 1 } }
        let steps = count.withLock { $0 }
        #expect(steps > 18)
        for step in 0..<steps {
            let seen = Mutex(0)
            let error = #expect(throws: SnapshotError.self) {
                try write(scratch.path("new"), original) { _ throws(Errno) in
                    let isNow = seen.withLock { count in
                        count += 1
                        return count - 1 == step
                    }
                    if isNow { throw .noSpace }
                }
            }
            #expect(error?.kind == .noSpace)
            #expect(try names(scratch) == ["image", "whole"], "step \(step)")
        }
        #expect(try bytes(original) == before)
    }

    @Test func whatIsNoImageIsRefused() throws {
        let scratch = try ScratchDirectory("images")
        #expect(SnapshotDisk(id: "a", path: scratch.path("nothing")) == nil)
        #expect(SnapshotDisk(id: "a", path: "/dev/null") == nil)
        try write(scratch.path("snap"), try image(scratch))
        // An image that the snapshot does not have, or not by its own name.
        let manifest = scratch.path("snap/manifest.json")
        let text = try String(contentsOfFile: manifest, encoding: .utf8)
        for (from, to, words) in [
            ("\"file\" : \"disk0.raw\"", "\"file\" : \"../image\"", "is not disk0.raw"),
            ("\"file\" : \"disk0.raw\"", "\"file\" : \"disk1.raw\"", "is not disk0.raw"),
            ("\"disk0.raw\" : {", "\"disk1.raw\" : {", "not listed"),
            ("\"file\" : \"disk0.raw\",", "", "no such file"),
            ("\"size\" : 9438720", "\"size\" : 9438721", "not the disk's"),
        ] {
            #expect(text.contains(from))
            try text.replacingOccurrences(of: from, with: to).write(toFile: manifest, atomically: true, encoding: .utf8)
            let error = #expect(throws: SnapshotError.self) { try SnapshotChain(opening: scratch.path("snap")) }
            #expect(error?.words.contains(words) == true, "\(from) \(to): \(error?.description ?? "nothing")")
        }
    }

    @Test func whatCannotShareBlocksSaysSo() throws {
        let scratch = try ScratchDirectory("images")
        let original = try image(scratch)
        let memory = try ScratchDirectory("other")
        guard try runProcess(Command("mount", ["-t", "tmpfs", "tmpfs", memory.path])).succeeded else {
            // Without root the two directories may be of one file system that shares blocks.
            return
        }
        defer { _ = try? runProcess(Command("umount", ["-l", memory.path])) }
        let error = #expect(throws: SnapshotError.self) { try write(memory.path("snap"), original, .reflink) }
        #expect(error?.words.contains("ask for copy") == true, "\(String(describing: error))")
        #expect(try names(memory).isEmpty)
        try write(memory.path("snap"), original, .either)
        #expect(try bytes(memory.path("snap/disk0.raw")) == bytes(original))
    }

    @Test(.enabled(if: ReflinkDisk.isPossible, "needs root, loop devices and btrfs"))
    func aSharedImageTakesNoSpace() throws {
        let disk = try ReflinkDisk()
        let original = try image(disk.mount)
        let before = try bytes(original)
        try write(disk.mount.path("snap"), original, .reflink)
        let shared = try runProcess(Command("btrfs", ["filesystem", "du", "--raw", "-s", disk.mount.path("snap")]))
        #expect(shared.succeeded)
        // The original goes on; the snapshot has it as it was.
        let file = try #require(FileHandle(forWritingAtPath: original))
        file.write(Data(repeating: 0xEE, count: 100_000))
        try file.close()
        #expect(try bytes(disk.mount.path("snap/disk0.raw")) == before)
        let snapshot = try SnapshotDirectory(opening: disk.mount.path("snap"))
        #expect(snapshot.manifest.files["disk0.raw"]?.crc32c == nil)
        try snapshot.putImage(of: try #require(snapshot.manifest.disks?.first), at: disk.mount.path("clone"), .reflink)
        #expect(try bytes(disk.mount.path("clone")) == before)
        _ = try SnapshotChain(opening: disk.mount.path("snap")).verify()
    }
}

extension String {
    fileprivate var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
