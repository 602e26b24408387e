import Foundation
import TestSupport
import Testing

/// The executable at a terminal, started from a shell that looks at the terminal's settings before and after.
@Suite struct TerminalTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("terminal") }

    private static let script = """
        tty > tty
        stty -g > before
        sh -c 'echo $$ > pid; exec "$0" run "$1" --self-test "mode=$2"' "$0" "$1" "$2"
        echo $? > status
        stty -g > after
        echo shell is back
        """

    private func start(_ mode: String, spec: String = Swiftlet.ttySpec) throws -> ChildProcess {
        try scratch.write("spec.json", spec)
        var command = Command("sh", ["-c", Self.script, try Built.swiftlet(), "spec.json", mode])
        command.directory = scratch.path
        return try ChildProcess(command, .terminal)
    }

    private func word(_ name: String) throws -> String {
        String(decoding: try scratch.read(name), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Waits for the shell, and looks at the status and at the settings.
    private func expectEnd(
        _ shell: ChildProcess, _ status: Int32, at location: SourceLocation = #_sourceLocation
    ) throws {
        try shell.expect("shell is back", by: .seconds(30))
        #expect(try word("status") == "\(status)", "\(shell.evidence)", sourceLocation: location)
        #expect(try word("before") == (try word("after")), "\(shell.evidence)", sourceLocation: location)
    }

    private func signal(_ number: Int32) throws { _ = try kill(#require(pid_t(try word("pid"))), number) }

    @Test func controlAXEndsTheVM() throws {
        let shell = try start("hang")
        try shell.expect("hang", by: .seconds(30))
        let settings = try runProcess(Command("stty", ["-g", "-F", try word("tty")]))
        #expect(settings.text.trimmingCharacters(in: .whitespacesAndNewlines) != (try word("before")))
        try shell.write("\u{1}x")
        try expectEnd(shell, 0)
    }

    @Test func otherKeysReachTheGuest() throws {
        let shell = try start("echo")
        try shell.expect("echo: until q", by: .seconds(30))
        // Two Ctrl-A are one; Ctrl-A and another key are both; Ctrl-C, Ctrl-Z and a line's end are just bytes.
        try shell.write("<\u{1}\u{1}|\u{1}b|\u{3}\u{1A}\u{1C}\r>")
        try shell.expect("<\u{1}|\u{1}b|\u{3}\u{1A}\u{1C}\r>", by: .seconds(20))
        try shell.write("q")
        try expectEnd(shell, 0)
    }

    /// What is typed faster than the guest reads it gets there, though the guest is silent meanwhile and wakes nobody.
    @Test func aSilentGuestGetsAllThatIsTyped() throws {
        let kernel = TinyKernel([
            0x66, 0xBA, 0xFA, 0x03,  // mov dx, 0x3fa
            0xB0, 0x01,  // mov al, 1
            0xEE,  // out dx, al
            0x66, 0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
            0xB0, 0x52,  // mov al, 'R'
            0xEE,  // out dx, al
            0xB9, 0xB8, 0x0B, 0x00, 0x00,  // mov ecx, 3000
            0x66, 0xBA, 0xFD, 0x03,  // next: mov dx, 0x3fd
            0xEC,  // in al, dx
            0xA8, 0x01,  // test al, 1
            0x74, 0xF7,  // jz next
            0x66, 0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
            0xEC,  // in al, dx
            0x49,  // dec ecx
            0x75, 0xEF,  // jnz next
            0xB0, 0x44,  // mov al, 'D'
            0xEE,  // out dx, al
            0xEB, 0xFE,  // jmp to itself
        ])
        try scratch.write("kernel", kernel.elf)
        let spec = String(Swiftlet.ttySpec.dropLast() + #","payload":{"kernel":"kernel"}}"#)
        for _ in 0..<3 {
            let shell = try start("full", spec: spec)
            try shell.expect("R", by: .seconds(30))
            try shell.write(String(repeating: "a", count: 3000))
            try shell.expect("D", by: .seconds(30))
            try shell.write("\u{1}x")
            try expectEnd(shell, 0)
        }
    }

    @Test func powerOffGivesTheTerminalBack() throws {
        let shell = try start("hello")
        try expectEnd(shell, 0)
        #expect(shell.output.contains("hello from the self-test guest"))
    }

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT]) func signalsGiveTheTerminalBack(_ number: Int32) throws {
        let shell = try start("spin")
        try shell.expect("spin", by: .seconds(30))
        try signal(number)
        try expectEnd(shell, 128 + number)
    }

    @Test(arguments: [SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP])
    func crashesGiveTheTerminalBack(_ number: Int32) throws {
        let shell = try start("hang")
        try shell.expect("hang", by: .seconds(30))
        try signal(number)
        try expectEnd(shell, 128 + number)
    }

    @Test func aDeadGuestGivesTheTerminalBack() throws {
        let shell = try start("triple-fault")
        try expectEnd(shell, 70)
        #expect(
            shell.output.contains("swiftlet: the guest died: vCPU 0 took a triple fault at RIP 0x"), "\(shell.evidence)"
        )
    }

    @Test func anErrorGivesTheTerminalBack() throws {
        try scratch.write("kernel", "no kernel")
        let spec = Swiftlet.ttySpec.dropLast() + #","payload":{"kernel":"kernel"}}"#
        let shell = try start("full", spec: String(spec))
        try expectEnd(shell, 65)
        #expect(shell.output.contains("swiftlet: $.payload.kernel: kernel: is neither ELF"), "\(shell.evidence)")
    }

    @Test func theConsoleFollowsTheTerminalsSize() throws {
        // The console is on the terminal and the serial port is not: the size changes and the VM lives on.
        let spec = #"{"memory":{"size":33554432},"serial":{"mode":"File","file":"log"},"console":{"mode":"Tty"}}"#
        let shell = try start("hang", spec: spec)
        let waited = Deadline.seconds(30).wait { (try? word("log")) == "hang" }
        #expect(waited, "\(shell.evidence)")
        _ = try runProcess(Command("stty", ["rows", "50", "columns", "132", "-F", try word("tty")]))
        try signal(SIGWINCH)
        try shell.write("\u{1}x")
        try expectEnd(shell, 0)
    }
}
