import Foundation
import Host
import TestSupport
import Testing

/// Where the serial port's bytes go, with the self-test guest's echo.
@Suite struct SerialModeTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("serial") }

    private func spec(_ serial: String) -> String {
        #"{"memory":{"size":33554432},"serial":{\#(serial)},"console":{"mode":"Off"}}"#
    }

    private func start(_ serial: String, mode: String = "echo") throws -> ChildProcess {
        let file = try scratch.write("spec.json", spec(serial))
        return try ChildProcess(Command(try Built.swiftlet(), ["run", file, "--self-test", "mode=\(mode)"]))
    }

    @Test(arguments: ["Off", "Null"]) func isSilent(_ mode: String) throws {
        let result = try Swiftlet.run(spec: spec(#""mode":"\#(mode)""#), ["--self-test", "mode=hello"])
        #expect(result.succeeded && result.output.isEmpty && result.errors.isEmpty, "\(result)")
    }

    @Test func worksOnPipes() throws {
        let child = try start(#""mode":"Tty""#)
        try child.expect("echo: until q", by: .seconds(30))
        // On pipes, Ctrl-A is a byte like any other.
        try child.write("through \u{1}x pipes, ")
        try child.expect("through \u{1}x pipes, ", by: .seconds(20))
        try child.write("q")
        child.closeInput()
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(0), "\(child.evidence)")
        #expect(child.output.contains("selftest: PASS"))
    }

    @Test func carriesMuchInput() throws {
        let child = try start(#""mode":"Tty""#)
        try child.expect("echo: until q", by: .seconds(30))
        let text = (0..<400).map { "line \($0)." }.joined()
        try child.write(text)
        try child.expect(text, by: .seconds(40))
        try child.write("q")
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(0), "\(child.evidence)")
    }

    @Test func survivesAReaderThatLeaves() throws {
        let file = try scratch.write("spec.json", Swiftlet.ttySpec)
        let script = "\"$0\" run \(file) | true; echo \"${PIPESTATUS[0]}\""
        let result = try runProcess(Command("bash", ["-c", script, try Built.swiftlet()]))
        #expect(result.text == "0\n", "\(result)")
    }

    @Test func writesIntoAFile() throws {
        let path = scratch.path("output")
        let result = try Swiftlet.run(spec: spec(#""mode":"File","file":"\#(path)""#))
        #expect(result.succeeded && result.output.isEmpty, "\(result)")
        #expect(String(decoding: try scratch.read("output"), as: UTF8.self).contains("selftest: PASS"))
    }

    @Test func opensAPseudoTerminal() throws {
        let child = try start(#""mode":"Pty""#)
        var path = ""
        let found = Deadline.seconds(30).wait {
            path = child.errors.firstMatch(of: /serial is at (\/dev\/pts\/\d+)\n/).map { String($0.1) } ?? ""
            return !path.isEmpty
        }
        #expect(found, "\(child.evidence)")
        let line = Line(try FileDescriptor.open(path, O_RDWR | O_NOCTTY | O_NONBLOCK))
        #expect(line.receives("echo: until q"))
        try line.write("over the pty")
        #expect(line.receives("over the pty"))
        try line.write("q")
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(0), "\(child.evidence)")
    }

    @Test func listensOnASocket() throws {
        let path = scratch.path("line")
        let child = try start(#""mode":"Socket","socket":"\#(path)""#)
        let first = try connect(path)
        #expect(first.answers("first"), "\(child.evidence)")
        // The newest client has the line.
        let second = try connect(path)
        #expect(second.answers("second"), "\(child.evidence)")
        try second.write("q")
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(0), "\(child.evidence)")
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func replacesASocketThatNobodyListensOn() throws {
        let path = scratch.path("line")
        let killed = try start(#""mode":"Socket","socket":"\#(path)""#, mode: "hang")
        #expect(Deadline.seconds(30).wait { FileManager.default.fileExists(atPath: path) })
        killed.kill()
        #expect(FileManager.default.fileExists(atPath: path))
        let child = try start(#""mode":"Socket","socket":"\#(path)""#)
        let line = try connect(path)
        #expect(line.answers("here"), "\(child.evidence)")
        try line.write("q")
        #expect(try child.waitForEnd(by: .seconds(30)) == .exited(0), "\(child.evidence)")
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    // MARK: Clients

    /// Connects to a socket as soon as somebody listens there.
    private func connect(_ path: String) throws -> Line {
        let file = FileDescriptor(
            owning: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: the path is shorter than the field, which ends with a zero.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8.prefix(107)) }
        let connected = Deadline.seconds(30).wait {
            // SAFETY: the address is a local of the given length.
            unsafe withUnsafeBytes(of: &address) { bytes in
                unsafe Glibc.connect(
                    file.raw, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count)) == 0
            }
        }
        try #require(connected, "nobody listens on \(path)")
        try file.setNonBlocking(true)
        return Line(file)
    }
}

/// The outer end of a serial port.
private final class Line: Sendable {
    private let file: FileDescriptor
    init(_ file: consuming FileDescriptor) { self.file = file }

    func write(_ text: String) throws { try file.writeAll(Array(text.utf8)) }

    /// Writes a text until it comes back: what comes before the guest has set its port up is lost.
    func answers(_ text: String) -> Bool {
        let deadline = Deadline.seconds(30)
        while !deadline.hasPassed {
            if (try? write(text)) != nil, receives(text, within: .milliseconds(500)) { return true }
        }
        return false
    }

    /// Reads until a text has come.
    func receives(_ text: String, within limit: Duration = .seconds(30)) -> Bool {
        var collected: [UInt8] = []
        let deadline = Deadline(after: limit)
        while !deadline.hasPassed {
            var buffer = [UInt8](repeating: 0, count: 4096)
            var span = buffer.mutableSpan
            let count = (try? file.read(into: &span)) ?? 0
            collected += buffer[..<count]
            if String(decoding: collected, as: UTF8.self).contains(text) { return true }
            if count == 0 { sleepThread(.milliseconds(5)) }
        }
        return false
    }
}
