import Foundation
import Host
import TestSupport
import Testing

/// What the words of a command line say wrongly without being unknown: files that two would write, options given twice.
@Suite struct CommandWordTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("words") }

    @Test(arguments: [
        ["--log-file", "LOG"], ["--event-monitor", "path=LOG"], ["--log-file=LINK"],
    ]) func aProcessFileIsNoFileOfTheSpec(_ option: [String]) throws {
        let image = try scratch.write("image", [UInt8](repeating: 7, count: 1024))
        try FileManager.default.createSymbolicLink(atPath: scratch.path("link"), withDestinationPath: image)
        let words = option.map {
            $0.replacingOccurrences(of: "LOG", with: image)
                .replacingOccurrences(of: "LINK", with: scratch.path("link"))
        }
        let name = option[0].prefix { $0 != "=" }
        expectRefusal(
            try Swiftlet.run(spec: Swiftlet.spec(#""disks":[{"path":"\#(image)","image_type":"Raw"}]"#), words), 65,
            "$.disks[0].path: ", "is the file of \(name)", "name another")
        expectRefusal(
            try Swiftlet.run(spec: Swiftlet.spec(#""payload":{"kernel":"\#(image)"}"#), words), 65,
            "$.payload.kernel: ", "is the file of \(name)", "name another")
        #expect(try Data(contentsOf: URL(fileURLWithPath: image)) == Data(repeating: 7, count: 1024))
    }

    @Test func aProcessFileIsNotTheSpec() throws {
        let text = Swiftlet.spec()
        let spec = try scratch.write("spec.json", text)
        expectRefusal(
            try Swiftlet.run(["run", spec, "--log-file", spec]), 64, "--log-file: \(spec) is the spec", "name")
        #expect(try String(contentsOfFile: spec, encoding: .utf8) == text)
        let log = scratch.path("log")
        expectRefusal(
            try Swiftlet.run(["run", spec, "--log-file", log, "--event-monitor", "path=\(log)"]), 64,
            "--event-monitor: ", "is the file of --log-file", "name another")
        #expect(!FileManager.default.fileExists(atPath: log))
    }

    @Test func devicesTakeTheOutputOfMany() throws {
        let result = try Swiftlet.run(
            spec: Swiftlet.spec(#""debug_console":{"mode":"File","file":"/dev/null"}"#),
            ["--log-file", "/dev/null", "--event-monitor", "path=/dev/null", "--self-test", "mode=hello"])
        #expect(result.succeeded, "\(result)")
    }

    /// A pipe that nobody reads yet delays nobody.
    @Test func aLogWaitsForNoReader() throws {
        let path = scratch.path("fifo")
        _ = try runProcess(Command("mkfifo", [path]))
        let result = try Swiftlet.run(
            spec: Swiftlet.spec(), ["-vvv", "--log-file", path, "--self-test", "mode=hello"])
        #expect(result.succeeded, "\(result)")
    }

    @Test(arguments: [
        ["run", "spec.json", "--log-file", "a", "--log-file", "b"], ["vmm", "--api-socket=a", "--api-socket", "b"],
        ["vmm", "--kernel", "k", "--memory", "size=1G", "--memory", "size=2G"], ["--kernel=k", "--kernel=k"],
        ["ctl", "--api-socket", "a", "--api-socket", "b", "ping"],
        ["vmm", "--kernel", "k", "--cmdline", "a", "--cmdline", "b"],
    ]) func anOptionIsGivenOnce(_ words: [String]) throws {
        let result = try Swiftlet.run(words)
        #expect(result.ending == .exited(64) && result.errors.contains(": is given twice; give it once\n"), "\(result)")
    }

    @Test func theKernelsWordsAreItsOwn() throws {
        // The value is no option of ours, and the disks are several.
        let result = try Swiftlet.run([
            "vmm", "--kernel", "/no/kernel", "--cmdline", "--kernel", "--disk", "path=/no/a", "--disk", "path=/no/b",
        ])
        #expect(result.ending == .exited(65) && !result.errors.contains("twice"), "\(result)")
    }

    /// Each names another resource.
    @Test func overridesAreSeveral() throws {
        let result = try Swiftlet.run([
            "run", "--restore", "/no/snapshot", "--override", "disks.a.path=/no/a", "--override", "disks.b.path=/no/b",
        ])
        #expect(result.ending != .exited(64) && result.errors.contains("/no/snapshot"), "\(result)")
    }

    @Test func aFileWithADashIsNoQuestionForHelp() throws {
        for words in [["run", "-dash.json"], ["check", "-hash.json"], ["vmm", "-dash"]] {
            expectRefusal(try Swiftlet.run(words), 64, "unknown option '\(words[1])'", "./\(words[1])")
        }
        for words in [["run", "-h"], ["run", "--help"], ["-h"]] {
            #expect(try Swiftlet.run(words).text.contains("USAGE"))
        }
    }

    @Test func namesAreUTF8() throws {
        let script = "cd \"$1\" && cp spec.json $'a\\xff.json' && exec \"$0\" run $'a\\xff.json'"
        try scratch.write("spec.json", Swiftlet.spec())
        let result = try runProcess(Command("bash", ["-c", script, try Built.swiftlet(), scratch.path]))
        expectRefusal(result, 64, "'a\u{FFFD}.json' is not UTF-8", "rename the file")
        // The replacement character itself may be in a name.
        expectRefusal(try Swiftlet.run(["run", "/no/\u{FFFD}"]), 65, "/no/\u{FFFD}: cannot be read", "check the path")
    }
}
