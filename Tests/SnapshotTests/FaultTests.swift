import Foundation
import Host
import Synchronization
import TestSupport
import Testing

@testable import Snapshot

/// A snapshot that is written in few steps.
private func smallRAM() throws -> FakeRAM {
    let ram = try FakeRAM()
    for number in [0, 1, 700] { ram.set(0, number, seed: UInt8(number % 200)) }
    ram.set(1, 19, seed: 5)
    return ram
}

/// Writes the snapshot `new`, full or as a diff to `old`, with what the diff changes.
private func writeNew(_ directory: String, isDiff: Bool, hook: @escaping SnapshotStepHook) throws {
    let ram = try smallRAM()
    let path = "\(directory)/new"
    let writer: SnapshotWriter
    if isDiff {
        ram.set(0, 2, seed: 9)
        ram.set(0, 700, seed: nil)
        ram.set(0, 300, seed: 7)
        ram.set(1, 3, seed: 8)
        let parent = "\(directory)/old"
        let id = try SnapshotDirectory(opening: parent).manifest.id
        writer = try SnapshotWriter(path, hook: hook)
        let dirty = ram.dirty([(0, 2), (0, 300), (0, 700), (1, 3)])
        try writer.write(
            try contents(.init(id: id, directory: parent)), memory: try LiveMemory(ram.regions, dirty: dirty),
            workers: 1)
    } else {
        writer = try SnapshotWriter(path, hook: hook)
        try writer.write(try contents(), memory: try LiveMemory(ram.regions), workers: 1)
    }
    _ = try writer.commit()
}

/// Counts steps, and says when one has come.
private final class Steps: Sendable {
    private let count = Mutex(0)
    let seen = Mutex<[SnapshotStep]>([])

    func isNow(_ wanted: Int, _ step: SnapshotStep) -> Bool {
        seen.withLock { $0.append(step) }
        return count.withLock { count in
            count += 1
            return count - 1 == wanted
        }
    }
}

@Suite struct FaultTests {
    /// How many steps each kind of writing has; the tests below check that there are no more.
    private static let stepCount = [false: 21, true: 21]
    private static let cases = [false, true].flatMap { isDiff in (0..<21).map { (isDiff, $0) } }

    private func oldMemory() throws -> [[UInt8]] { try smallRAM().all }

    /// Checks that the old snapshot is whole.
    private func checkOld(_ scratch: ScratchDirectory) throws {
        _ = try SnapshotChain(opening: scratch.path("old")).verify()
        #expect(try copied(scratch.path("old")) == oldMemory())
    }

    @Test(arguments: [false, true]) func theStepsComeInTheirOrder(isDiff: Bool) throws {
        let scratch = try ScratchDirectory("steps")
        try writeFull(scratch.path("old"), try smallRAM())
        let steps = Steps()
        try writeNew(scratch.path, isDiff: isDiff) { step throws(Errno) in _ = steps.isNow(-1, step) }
        let seen = steps.seen.withLock { $0 }
        #expect(seen.count == Self.stepCount[isDiff], "\(seen)")
        #expect(seen.first == .makeDirectory)
        // Every file is on the disk before the directory is, that before the name, and the name last.
        let names = ["config.json", "manifest.json", "memory.bin", "memory.map", "state.json"]
        let end = seen.suffix(8)
        #expect(end.prefix(5).map { "\($0)" }.sorted() == names.map { "\(SnapshotStep.sync($0))" })
        #expect(Array(end.suffix(3)) == [.sync("."), .rename, .syncParent])
        for step in seen.dropLast(8) {
            if case .sync = step { Issue.record("\(step) comes before the writing is over") }
        }
    }

    @Test(arguments: cases) func aKilledWriterLeavesNothing(isDiff: Bool, step: Int) async throws {
        let scratch = try ScratchDirectory("kill")
        try writeFull(scratch.path("old"), try smallRAM())
        let path = scratch.path
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [path = path as String, isDiff = isDiff as Bool, step = step as Int] in
            let steps = Steps()
            try writeNew(path, isDiff: isDiff) { now throws(Errno) in
                if steps.isNow(step, now) { kill(getpid(), SIGKILL) }
            }
        }
        try checkOld(scratch)
        let left = try names(scratch).filter { !$0.hasPrefix(".") }
        if left == ["new", "old"] {
            // Only the last step comes after the name.
            #expect(step == 20)
            _ = try SnapshotChain(opening: scratch.path("new")).verify()
            return
        }
        #expect(left == ["old"])
        #expect(step < 20)
        // The next writer removes what the dead one left.
        try writeNew(scratch.path, isDiff: isDiff) { _ throws(Errno) in }
        _ = try SnapshotChain(opening: scratch.path("new")).verify()
        #expect(try names(scratch) == ["new", "old"])
    }

    @Test(arguments: cases) func aFullDiskAtEachStepLeavesNothing(isDiff: Bool, step: Int) throws {
        for errno in [Errno.noSpace, .quotaExceeded, .inputOutput, .readOnly] {
            let scratch = try ScratchDirectory("refused")
            try writeFull(scratch.path("old"), try smallRAM())
            let steps = Steps()
            let error = try #require(throws: SnapshotError.self) {
                try writeNew(scratch.path, isDiff: isDiff) { now throws(Errno) in
                    if steps.isNow(step, now) { throw errno }
                }
            }
            let isSpace = errno == .noSpace || errno == .quotaExceeded
            #expect(error.kind == (isSpace ? .noSpace : .host(errno)), "\(error)")
            #expect(error.file?.hasPrefix(scratch.path("new")) == true, "\(error)")
            #expect(error.words.contains("\(errno)"), "\(error)")
            #expect(try names(scratch) == ["old"])
            try checkOld(scratch)
        }
    }

    @Test func aLivingWritersDirectoryIsLeftAlone() throws {
        let scratch = try ScratchDirectory("two")
        let ram = try smallRAM()
        let first = try SnapshotWriter(scratch.path("new"))
        let second = try SnapshotWriter(scratch.path("new"))
        try first.write(try contents(), memory: try LiveMemory(ram.regions))
        try second.write(try contents(), memory: try LiveMemory(ram.regions))
        _ = try first.commit()
        let error = #expect(throws: SnapshotError.self) { try second.commit() }
        #expect(error?.kind == .exists)
        #expect(try names(scratch) == ["new"])
        #expect(try copied(scratch.path("new")) == ram.all)
    }

    @Test func foreignDotNamesAreLeftAlone() throws {
        let scratch = try ScratchDirectory("foreign")
        for name in [".new.keep", ".new.a.b.incomplete", ".newer.x.incomplete", "new.x.incomplete"] {
            try Directory.make(scratch.path(name))
        }
        try scratch.write(".new.file.incomplete", "mine")
        // What such a name leads to, or has in it, is not a writer's.
        try Directory.make(scratch.path("precious"))
        try scratch.write("precious/memory.bin", "mine")
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path(".new.link.incomplete"), withDestinationPath: scratch.path("precious"))
        try Directory.make(scratch.path(".new.backup.incomplete"))
        try scratch.write(".new.backup.incomplete/letters", "mine")
        try scratch.write(".new.backup.incomplete/memory.bin", "mine")
        try Directory.make(scratch.path(".new.0dead1.incomplete"))
        try scratch.write(".new.0dead1.incomplete/memory.bin", "a dead writer's")
        try scratch.write(".new.0dead1.incomplete/disk12.raw", "a dead writer's")
        let before = try names(scratch)
        try writeFull(scratch.path("new"), try smallRAM())
        #expect(try names(scratch).filter { $0 != "new" } == before.filter { $0 != ".new.0dead1.incomplete" })
        #expect(try Directory.entries(scratch.path("precious")) == ["memory.bin"])
        #expect(try Directory.entries(scratch.path(".new.backup.incomplete")).sorted() == ["letters", "memory.bin"])
    }

    @Test func whatExistsIsNotReplaced() throws {
        let scratch = try ScratchDirectory("exists")
        try scratch.write("file", "mine")
        try Directory.make(scratch.path("empty"))
        try FileManager.default.createSymbolicLink(atPath: scratch.path("link"), withDestinationPath: "/nowhere")
        let before = try names(scratch)
        for name in ["file", "empty", "link", "empty/"] {
            let error = #expect(throws: SnapshotError.self) { try writeFull(scratch.path(name), try smallRAM()) }
            #expect(error?.kind == .exists, "\(name)")
        }
        #expect(try names(scratch) == before)
        #expect(try scratch.read("file") == Array("mine".utf8))
    }

    @Test func aTargetThatAppearsMeanwhileIsNotReplaced() throws {
        let scratch = try ScratchDirectory("late")
        let writer = try SnapshotWriter(scratch.path("new"))
        try writer.write(try contents(), memory: try LiveMemory(try smallRAM().regions))
        try Directory.make(scratch.path("new"))
        let error = #expect(throws: SnapshotError.self) { try writer.commit() }
        #expect(error?.kind == .exists)
        #expect(try names(scratch) == ["new"])
        #expect(try Directory.entries(scratch.path("new")).isEmpty)
    }

    @Test func anEmptyDirectoryIsReplacedWhereThatIsWanted() throws {
        let scratch = try ScratchDirectory("empty")
        let ram = try smallRAM()
        for name in ["new", "late"] { try Directory.make(scratch.path(name)) }
        try FileManager.default.createSymbolicLink(atPath: scratch.path("link"), withDestinationPath: "late")
        try scratch.write("file", "")
        func writer(_ name: String) throws -> SnapshotWriter {
            let writer = try SnapshotWriter(scratch.path(name), replacesEmptyDirectory: true)
            try writer.write(try contents(), memory: try LiveMemory(ram.regions))
            return writer
        }
        for name in ["new", "absent"] {
            _ = try writer(name).commit()
            #expect(try copied(scratch.path(name)) == ram.all)
        }
        for name in ["link", "file", "new"] {
            let error = #expect(throws: SnapshotError.self) { _ = try writer(name) }
            #expect(error?.kind == .exists, "\(name)")
        }
        // What is put into it meanwhile stays there.
        let late = try writer("late")
        try scratch.write("late/mine", "x")
        let error = #expect(throws: SnapshotError.self) { try late.commit() }
        #expect(error?.kind == .exists)
        #expect(try scratch.read("late/mine") == Array("x".utf8))
        #expect(try names(scratch) == ["absent", "file", "late", "link", "new"])
    }

    @Test func aWriterMayCompleteOnAnotherThread() async throws {
        let scratch = try ScratchDirectory("thread")
        let ram = try smallRAM()
        let writer = try SnapshotWriter(scratch.path("new"))
        try writer.write(try contents(), memory: try LiveMemory(ram.regions))
        let manifest = try await Task.detached { try writer.commit() }.value
        #expect(manifest.parent == nil)
        #expect(try copied(scratch.path("new")) == ram.all)
    }

    @Test(arguments: ["", "/", "..", "a/..", ".", "none/new", "file/new"])
    func badTargetsAreNamed(_ name: String) throws {
        let scratch = try ScratchDirectory("bad")
        try scratch.write("file", "")
        let path = name.isEmpty || name == "/" ? name : scratch.path(name)
        let error = try #require(throws: SnapshotError.self) { try writeFull(path, try smallRAM()) }
        #expect(error.file != nil)
        #expect(try names(scratch) == ["file"])
    }

    @Test func aParentThatIsGoneIsNamedWhenADiffIsWritten() throws {
        let scratch = try ScratchDirectory("gone")
        let ram = try smallRAM()
        let writer = try SnapshotWriter(scratch.path("diff"))
        let error = #expect(throws: SnapshotError.self) {
            try writer.write(
                try contents(.init(id: "x", directory: scratch.path("none"))),
                memory: try LiveMemory(ram.regions, dirty: ram.dirty([(0, 1)])))
        }
        #expect(error?.kind == .parentGone)
        #expect(error?.file == scratch.path("none"))
        #expect(try names(scratch).isEmpty)
    }

    @Test func anAbandonedWriterLeavesNothing() throws {
        let scratch = try ScratchDirectory("abandoned")
        do {
            let writer = try SnapshotWriter(scratch.path("new"))
            try writer.write(try contents(), memory: try LiveMemory(try smallRAM().regions))
            #expect(try names(scratch).count == 1)
        }
        #expect(try names(scratch).isEmpty)
    }
}
