import Foundation
import Host
import TestSupport
import Testing

@testable import Snapshot

/// A small file system of its own.
private final class SmallDisk {
    let directory: ScratchDirectory

    init(bytes: Int) throws {
        directory = try ScratchDirectory("disk")
        let options = "size=\(bytes),mode=700"
        let result = try runProcess(Command("mount", ["-t", "tmpfs", "-o", options, "tmpfs", directory.path]))
        guard result.succeeded else { throw HostError("mount a tmpfs on", directory.path, .notPermitted) }
    }

    deinit { _ = try? runProcess(Command("umount", ["-l", directory.path])) }

    /// Whether this user and this machine can mount one; where not, nothing here shows what a full disk does.
    static let isPossible: Bool = {
        if (try? SmallDisk(bytes: 64 << 10)) != nil { return true }
        FileHandle.standardError.write(
            Data("*** NOT TESTED: snapshots on a disk that is really full; this needs root and mount(8) ***\n".utf8))
        return false
    }()
}

@Suite(.enabled(if: SmallDisk.isPossible, "needs root and mount(8) to make a small file system"))
struct FullDiskTests {
    @Test func aDiskThatIsFullAnywhereLeavesTheOldSnapshotAlone() throws {
        let disk = try SmallDisk(bytes: 512 << 10)
        let ram = try FakeRAM()
        ram.fillUsual()
        try writeFull(disk.directory.path("old"), ram)
        let directory = try Directory.open(disk.directory.path)
        let bytes = directory.freeBytes()
        let free = try #require(bytes) / UInt64(page)
        var failures = 0
        for pages in 0...Int(free) {
            // All but so many pages are taken.
            let filler = disk.directory.path("filler")
            try Data(count: (Int(free) - pages) * page).write(to: URL(fileURLWithPath: filler))
            var failure: SnapshotError?
            do {
                try writeFull(disk.directory.path("new"), ram)
                failure = nil
            } catch let found as SnapshotError {
                failure = found
            }
            FileDescriptor.remove(filler)
            guard let error = failure else {
                #expect(failures == pages)
                break
            }
            failures += 1
            #expect(error.kind == .noSpace, "\(error)")
            #expect(error.words.contains("ENOSPC") && error.words.contains("is full"), "\(error)")
            #expect(error.words.contains("The snapshot needs 45"), "\(error)")
            #expect(error.words.contains("are free"), "\(error)")
            #expect(try names(disk.directory) == ["old"])
        }
        // Eleven pages of memory and four small files.
        #expect(failures == 15)
        #expect(try names(disk.directory) == ["new", "old"])
        for name in ["old", "new"] {
            _ = try SnapshotChain(opening: disk.directory.path(name)).verify()
            #expect(try copied(disk.directory.path(name)) == ram.all)
        }
    }
}
