import Foundation
import SwiftletClient
import TestSupport
import Testing

/// `swiftlet ctl console` at a terminal and without one.
@Suite(.timeLimit(.minutes(15))) struct TerminalCommandTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("console") }

    private static let script = """
        stty -g > before
        sh -c 'echo $$ > pid; exec "$0" ctl --api-socket "$1" console' "$0" "$1"
        echo $? > status
        stty -g > after
        echo shell is back
        """

    private func start(_ fake: FakeVMM) throws -> ChildProcess {
        var command = Command("sh", ["-c", Self.script, try Built.swiftlet(), fake.path])
        command.directory = scratch.path
        return try ChildProcess(command, .terminal)
    }

    private func word(_ name: String) throws -> String {
        String(decoding: try scratch.read(name), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func expectEnd(_ shell: ChildProcess, _ status: Int32, at location: SourceLocation = #_sourceLocation)
        throws
    {
        try shell.expect("shell is back", by: .seconds(30))
        #expect(try word("status") == "\(status)", "\(shell.evidence)", sourceLocation: location)
        #expect(try word("before") == (try word("after")), "\(shell.evidence)", sourceLocation: location)
    }

    private static let echo: [FakeVMM.Step] = [.send(Array((Reply.upgraded + "login: ").utf8)), .echo]

    @Test func controlADDetaches() throws {
        let fake = try FakeVMM { _ in Self.echo }
        let shell = try start(fake)
        try shell.expect("attached to the console; Ctrl-A d detaches", by: .seconds(30))
        try shell.expect("login: ", by: .seconds(30))
        // Two Ctrl-A are one; Ctrl-A and another key are both; Ctrl-C and a line's end are just bytes.
        try shell.write("<\u{1}\u{1}|\u{1}b|\u{3}\r>")
        try shell.expect("<\u{1}|\u{1}b|\u{3}\r>", by: .seconds(20))
        try shell.write("x\u{1}d")
        try shell.expect("detached from the console", by: .seconds(20))
        try expectEnd(shell, 0)
        #expect(fake.requests.map(\.line) == ["GET /api/v1/vm.console HTTP/1.1"])
    }

    @Test func theVMMsEndGivesTheTerminalBack() throws {
        let fake = try FakeVMM { _ in [.send(Array((Reply.upgraded + "bye").utf8)), .sleep(milliseconds: 100)] }
        let shell = try start(fake)
        try shell.expect("bye", by: .seconds(30))
        try expectEnd(shell, 0)
    }

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGSEGV, SIGABRT])
    func signalsGiveTheTerminalBack(_ number: Int32) throws {
        let fake = try FakeVMM { _ in Self.echo }
        let shell = try start(fake)
        try shell.expect("login: ", by: .seconds(30))
        _ = try kill(#require(pid_t(try word("pid"))), number)
        try expectEnd(shell, 128 + number)
    }

    @Test func aRefusalLeavesTheTerminalAlone() throws {
        let fake = try FakeVMM(reply: Reply.json(#"["Error from API","The console is off"]"#, 404))
        let shell = try start(fake)
        try shell.expect("caused by: The console is off", by: .seconds(30))
        try expectEnd(shell, 1)
    }

    @Test func withoutATerminalBytesPassAsTheyAre() throws {
        let fake = try FakeVMM { _ in Self.echo }
        let words = ["ctl", "--api-socket", fake.path, "serial"]
        let process = try ChildProcess(Command(try Built.swiftlet(), words))
        try process.write("a\u{1}d\u{0}b")
        try process.expect("login: a\u{1}d\u{0}b", by: .seconds(30))
        // The end of the input is not the end of the session.
        process.closeInput()
        #expect(process.ending == nil)
        process.signal(SIGTERM)
        #expect(try process.waitForEnd(by: .seconds(20)) == .exited(128 + SIGTERM))
    }
}
