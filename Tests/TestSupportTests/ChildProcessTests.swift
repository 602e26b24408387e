import Foundation
import TestSupport
import Testing

@Suite struct ChildProcessTests {
    @Test func collectsOutputErrorsAndStatus() throws {
        let result = try runProcess(Command("sh", ["-c", "cat; echo wrong >&2; exit 3"]), input: Array("hello".utf8))
        #expect(result.ending == .exited(3))
        #expect(result.text == "hello")
        #expect(result.errors == "wrong\n")
    }

    @Test func startsInTheDirectoryWithTheEnvironment() throws {
        let scratch = try ScratchDirectory("child")
        var command = Command("sh", ["-c", "pwd; echo $WORD"])
        command.directory = scratch.path
        command.environment["WORD"] = "word"
        #expect(try runProcess(command).text == "\(scratch.path)\nword\n")
    }

    @Test func killsTheWholeGroupAtTheDeadline() throws {
        let scratch = try ScratchDirectory("child")
        let file = scratch.path("pid")
        let command = Command("sh", ["-c", "echo begun; sleep 100 & echo $! > \(file); wait"])
        let error = #expect(throws: ExpectationError.self) { try runProcess(command, within: .milliseconds(500)) }
        #expect(error?.isTimeout == true)
        #expect(error?.evidence.contains("begun") == true)
        let text = try String(contentsOfFile: file, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let grandchild = try #require(pid_t(text))
        #expect(Deadline.seconds(5).wait { isGone(grandchild) })
    }

    @Test func tellsTheSignalThatEndedIt() throws {
        let child = try ChildProcess(Command("sleep", ["100"]))
        child.signal(SIGTERM)
        #expect(try child.waitForEnd(by: .seconds(10)) == .signaled(SIGTERM))
    }

    @Test func conversesOverPipes() throws {
        let child = try ChildProcess(Command("cat"))
        try child.write("one two three\n")
        #expect(try child.expect("one", by: .seconds(10)) == "one")
        #expect(try child.expect("three", by: .seconds(10)) == " two three")
        child.closeInput()
        #expect(try child.waitForEnd(by: .seconds(10)) == .exited(0))
        let error = #expect(throws: ExpectationError.self) { try child.expect("four", by: .seconds(10)) }
        #expect(error?.isTimeout == false)
    }

    @Test func givesAControllingTerminal() throws {
        let child = try ChildProcess(
            Command("sh", ["-c", "tty; read x; echo got $x > /dev/tty; exec sleep 100"]), .terminal)
        try child.expect("/dev/pts/", by: .seconds(10))
        try child.write("line\n")
        try child.expect("got line", by: .seconds(10))
        try child.write([3])
        #expect(try child.waitForEnd(by: .seconds(10)) == .signaled(SIGINT))
    }

    @Test func saysWhatCannotStart() {
        #expect(throws: SpawnError.self) { try ChildProcess(Command("/nonexistent/program")) }
    }

    @Test func scratchDirectoriesRemoveThemselves() throws {
        var path = ""
        do {
            let scratch = try ScratchDirectory("gone")
            path = scratch.path
            try scratch.write("file", "text")
            #expect(try scratch.sparse("disk", bytes: 1 << 30) == scratch.path("disk"))
            #expect(try scratch.entries() == ["disk", "file"])
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func findsTheTestBundle() throws {
        let entries = try FileManager.default.contentsOfDirectory(atPath: Built.directory())
        #expect(entries.contains { $0.hasSuffix(".xctest") })
        #expect(FileManager.default.fileExists(atPath: "\(Built.repository)/Package.swift"))
    }
}

/// Whether a process has ended, reaped or not.
private func isGone(_ id: pid_t) -> Bool {
    guard let status = try? String(contentsOfFile: "/proc/\(id)/stat", encoding: .utf8) else { return true }
    return status.contains(") Z ")
}
