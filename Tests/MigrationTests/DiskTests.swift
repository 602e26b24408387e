import Foundation
import Host
import TestSupport
import Testing

@testable import Migration

/// Disks that come along: whatever happens on the way, the images are there as they were at the commit, or nothing of them.
@Suite(.timeLimit(.minutes(15))) struct DiskTests {
    @Test(arguments: [1, 3]) func disksComeAlong(_ connections: Int) throws {
        let scratch = try ScratchDirectory("disks")
        var setting = Move.Setting()
        (setting.connections, setting.patience, setting.hasDisks) = (connections, 5000, true)
        let move = try Move(scratch, setting)
        #expect(move.problem == nil)
        #expect(move.sent == .moved && move.received == .arrived(nil), "\(move.sent)")
        let report = try #require(move.sourceReport.disks)
        #expect(report.total > 0 && report.sent > report.total / 2 && report.remaining == 0)
        #expect(move.sinkReport.disks?.sent == report.sent && move.sinkReport.disks?.total == report.total)
        // Of the megabyte that nobody wrote to, and of the holes, there is nothing either.
        let file = scratch.path(try #require(scratch.entries().first { $0.hasPrefix("images") })) + "/disk2"
        var status = stat()
        // SAFETY: the call fills the local; the path's bytes live through it.
        let result = unsafe stat(file, &status)
        #expect(result == 0 && status.st_size == 1 << 20 && status.st_blocks == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test(arguments: LineFault.allCases) func noFrameMatters(_ fault: LineFault) throws {
        let scratch = try ScratchDirectory("disks")
        for connections in [1, 2] {
            var setting = Move.Setting()
            (setting.connections, setting.patience, setting.hasDisks) = (connections, 5000, true)
            let frames = try Move(scratch, setting).frames
            #expect(frames > 25)
            setting.patience = 200
            for frame in 1...frames {
                setting.fault = (frame, fault)
                let move = try Move(scratch, setting)
                let problem = move.problem
                #expect(problem == nil, "\(fault) at frame \(frame) of \(connections): \(problem ?? "")")
            }
        }
    }

    @Test func noStepMatters() throws {
        let scratch = try ScratchDirectory("disks")
        var usual = Move.Setting()
        usual.hasDisks = true
        // Looks, reads of the disks, the guest's pause; at the destination room, state and the machine itself.
        for step in 1...30 {
            for atSource in [true, false] {
                var setting = usual
                if !atSource, step > 4 { continue }
                if atSource { setting.sourceFails = step } else { setting.sinkFails = step }
                let move = try Move(scratch, setting)
                #expect(move.problem == nil, "step \(step): \(move.problem ?? "")")
            }
        }
    }

    /// A draft that a process left that died makes way; what somebody is at, and what is no draft, does not.
    @Test func whatIsInTheWay() throws {
        let scratch = try ScratchDirectory("images")
        let disk = MirroredDisk(
            id: "d", size: 1 << 20, dataBytes: 1 << 20, logicalBlockSize: 512, physicalBlockSize: 512)
        func refusal(_ path: String) -> String? {
            do throws(MigrationError) {
                _ = try ArrivingDisks([disk], at: [path])
                return nil
            } catch { return error.description }
        }
        let path = scratch.path("x")
        try scratch.write("x.swiftlet-incoming", "left")
        #expect(refusal(path) == nil)
        #expect(try scratch.entries().isEmpty)
        do {
            let first = try ArrivingDisks([disk], at: [path])
            #expect(refusal(path)?.contains("is there: another migration") == true)
            #expect(try scratch.entries() == ["x.swiftlet-incoming"])
            try first.install()
            #expect(try scratch.entries() == ["x"])
            #expect(refusal(path)?.contains("exists already, and is not written over") == true)
        }
        // Whoever does not keep it leaves nothing.
        #expect(try scratch.entries().isEmpty)
        try scratch.write("x", "mine")
        #expect(refusal(path)?.contains("exists already") == true)
        #expect(try scratch.read("x") == Array("mine".utf8))
        #expect(refusal(scratch.path("no/x"))?.contains("make its directory") == true)
        #expect(refusal("/dev/no-such-disk")?.contains("cannot be made there") == true)
        #expect(refusal("/proc/x")?.contains("cannot be made") == true)
        try FileManager.default.createDirectory(
            atPath: scratch.path("y.swiftlet-incoming"), withIntermediateDirectories: true)
        #expect(refusal(scratch.path("y"))?.contains("y.swiftlet-incoming is") == true)
        // What appears meanwhile is not written over, and stays.
        let late = try ArrivingDisks([disk], at: [scratch.path("z")])
        try scratch.write("z", "theirs")
        #expect(throws: MigrationError.self) { try late.install() }
        late.discard()
        #expect(try scratch.entries() == ["x", "y.swiftlet-incoming", "z"])
        #expect(try scratch.read("z") == Array("theirs".utf8))
    }

    /// Somebody puts a file where an image is to be while it comes: theirs stays, and the machine goes on at the source.
    @Test func whatAppearsMeanwhileIsNotWrittenOver() throws {
        let scratch = try ScratchDirectory("late")
        var setting = Move.Setting()
        let place = scratch.path("there")
        (setting.patience, setting.hasDisks, setting.directory) = (5000, true, place)
        setting.busyRounds = 50
        setting.during = { _, _, _ in
            // The first of them: the others have no name yet when it gets its own.
            _ = Deadline.seconds(5).wait { FileManager.default.fileExists(atPath: place + "/disk0.swiftlet-incoming") }
            _ = FileManager.default.createFile(atPath: place + "/disk0", contents: Data("theirs".utf8))
        }
        var seen = 0
        for _ in 0..<5 {
            let move = try Move(scratch, setting)
            if case .returned(let error, nil) = move.sent {
                seen += 1
                #expect(error.kind == .refused && error.description.contains("exists"), "\(error)")
                #expect(move.ledger.sourceRuns && !move.ledger.destinationRuns && move.ledger.problems.isEmpty)
                #expect(try FileManager.default.contentsOfDirectory(atPath: place) == ["disk0"])
                #expect(FileManager.default.contents(atPath: place + "/disk0") == Data("theirs".utf8))
            }
            try FileManager.default.removeItem(atPath: place)
        }
        #expect(seen > 0)
    }

    @Test func allReasonsAreTold() throws {
        let scratch = try ScratchDirectory("reasons")
        func disk(_ id: String, _ bytes: UInt64) -> MirroredDisk {
            MirroredDisk(id: id, size: bytes, dataBytes: bytes, logicalBlockSize: 512, physicalBlockSize: 512)
        }
        try scratch.write("there", "")
        let disks = [disk("a", 1 << 20), disk("b", 1 << 20), disk("c", 1 << 45), disk("d", 1 << 45)]
        let paths = [scratch.path("there"), scratch.path("no/b"), scratch.path("c"), scratch.path("d")]
        let reasons = ArrivingDisks.obstacles(disks, at: paths)
        #expect(reasons.contains { $0.contains("\"a\"") && $0.contains("exists already") }, "\(reasons)")
        #expect(reasons.contains { $0.contains("\"b\"") && $0.contains("make its directory") }, "\(reasons)")
        // Too large for the file system, or for what is free there.
        #expect(reasons.contains { $0.contains("are free") || $0.contains("does not take a file") }, "\(reasons)")
        #expect(try scratch.entries() == ["there"])
        #expect(ArrivingDisks.obstacles([disk("e", 4096)], at: [scratch.path("e")]).isEmpty)
        let looked = ArrivingDisks.obstacles([disk("e", 4096)], at: [scratch.path("e")]) { index, path in
            "\(index) \(FileManager.default.contents(atPath: path)?.count ?? 0)"
        }
        #expect(looked == ["0 4096"])
    }

    /// A file system that fills up while images come: the source hears why, and goes on.
    @Test(.enabled(if: SmallFileSystem.isPossible, "needs root and mount(8) to make a small file system"))
    func aFullDestinationRefuses() throws {
        for kib in [4, 64, 128, 200] {
            let small = try SmallFileSystem(bytes: kib << 10)
            let scratch = try ScratchDirectory("full")
            var setting = Move.Setting()
            (setting.patience, setting.hasDisks, setting.directory) = (2000, true, small.directory.path)
            let move = try Move(scratch, setting)
            #expect(move.problem == nil)
            guard case .returned(let error, nil) = move.sent else {
                Issue.record("\(kib) KiB: \(move.sent)")
                continue
            }
            #expect(error.kind == .refused && error.description.contains("ENOSPC"), "\(error)")
            #expect(error.description.contains("make room there"), "\(error)")
            #expect(try small.directory.entries().isEmpty)
        }
    }
}

/// A small file system of its own.
private final class SmallFileSystem {
    let directory: ScratchDirectory

    init(bytes: Int) throws {
        directory = try ScratchDirectory("small")
        let options = "size=\(bytes),mode=700"
        let result = try runProcess(Command("mount", ["-t", "tmpfs", "-o", options, "tmpfs", directory.path]))
        guard result.succeeded else { throw HostError("mount a tmpfs on", directory.path, .notPermitted) }
    }

    deinit { _ = try? runProcess(Command("umount", ["-l", directory.path])) }

    static let isPossible = (try? SmallFileSystem(bytes: 64 << 10)) != nil
}
