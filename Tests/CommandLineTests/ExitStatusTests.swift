import Glibc
import Host
import TestSupport
import Testing

/// How the process ends, and what ends it.
@Suite struct ExitStatusTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("exit") }

    @Test func powerOffIsSuccess() throws {
        let result = try Swiftlet.run(spec: Swiftlet.ttySpec, ["--self-test", "mode=hello"])
        #expect(result.ending == .exited(0), "\(result)")
        #expect(result.text.contains("hello from the self-test guest"))
        #expect(result.errors.isEmpty)
    }

    @Test func failedSelfTestIsOne() throws {
        // Nobody sends the letter that it waits for.
        let result = try Swiftlet.run(spec: Swiftlet.ttySpec, ["--self-test", "mode=echo seconds=1"])
        #expect(result.ending == .exited(1), "\(result)")
        #expect(result.text.contains("selftest: FAIL (1 checks failed)"))
    }

    @Test func selfTestWordsThatTheGuestDoesNotKnowAreSixtyFour() throws {
        func run(_ words: String) throws -> ProcessResult {
            try Swiftlet.run(spec: Swiftlet.ttySpec, ["--self-test", words])
        }
        expectRefusal(try run("foo"), 64, "--self-test: 'foo' is no key=value", "mode=full|hello")
        expectRefusal(try run("mode=nonsense"), 64, "--self-test: mode: got 'nonsense'", "one of full, hello")
        expectRefusal(try run("mod=hello"), 64, "--self-test: 'mod' is unknown", "keys: mode,")
        let help = try Swiftlet.run(["run", "--help"]).text
        for mode in ["triple-fault", "power-button", "hostile"] { #expect(help.contains(mode), "\(help)") }
    }

    @Test func fullSelfTestPasses() throws {
        let result = try Swiftlet.run(spec: Swiftlet.ttySpec)
        #expect(result.ending == .exited(0), "\(result)")
        #expect(result.text.contains("selftest: PASS"))
        #expect(!result.text.contains("FAILED"))
    }

    @Test func tripleFaultIsSeventy() throws {
        let result = try Swiftlet.run(spec: Swiftlet.spec(), ["--self-test", "mode=triple-fault"])
        expectRefusal(result, 70, "the guest died: vCPU 0 took a triple fault at RIP 0x")
    }

    /// The descriptors that a process is started without are no hindrance, and no file gets their numbers.
    @Test func startsWithoutStandardDescriptors() throws {
        let spec = try scratch.write("spec.json", Swiftlet.spec())
        let log = scratch.path("log")
        let words = "exec \(try Built.swiftlet()) run -v --log-file \(log) --self-test mode=hello \(spec)"
        #expect(try runProcess(Command("sh", ["-c", words + " 2>&-"])).ending == .exited(0))
        #expect(try runProcess(Command("sh", ["-c", words + " <&- >&- 2>&-"])).ending == .exited(0))
        // The log goes on where the one before ended.
        let ends = try String(decoding: scratch.read("log"), as: UTF8.self).split(separator: "the self-test ended")
        #expect(ends.count == 3, "\(ends)")
    }

    @Test func eventsNeedADescriptorToWriteTo() throws {
        let result = try Swiftlet.run(spec: Swiftlet.spec(), ["--event-monitor", "fd=0"])
        expectRefusal(result, 64, "--event-monitor: fd=0: cannot be used to write events", "give one")
    }

    @Test func aGuestOfUnknownInstructionsIsSeventy() throws {
        // UD2 without an interrupt table: an exception that has nowhere to go.
        let kernel = try scratch.write("ud2", TinyKernel([0x0F, 0x0B]).elf)
        let result = try Swiftlet.run(spec: Swiftlet.spec(#""payload":{"kernel":"\#(kernel)"}"#))
        expectRefusal(result, 70, "the guest died: ")
    }

    /// The socket's files go, however early the signal comes.
    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT]) func signalsWhileTheProcessStarts(_ signal: Int32) throws {
        let socket = scratch.path("api.sock")
        for round in 0..<25 {
            let child = try ChildProcess(Command(try Built.swiftlet(), ["vmm", "--api-socket", socket]))
            #expect(Deadline.seconds(20).wait(every: .zero) { Directory.exists(socket + ".lock") })
            child.signal(signal)
            let ending = try child.waitForEnd(by: .seconds(20))
            #expect(ending == .exited(128 + signal), "round \(round): \(child.evidence)")
            #expect(try scratch.entries().filter { $0.hasPrefix("api") } == [], "round \(round)")
        }
    }

    @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT], ["hang", "spin"])
    func signalIsItsNumberAndMore(_ signal: Int32, _ mode: String) throws {
        let child = try Swiftlet.start(mode, in: scratch)
        try child.expect(mode, by: .seconds(30))
        child.signal(signal)
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(128 + signal), "\(child.evidence)")
        #expect(child.errors.isEmpty, "\(child.errors)")
    }

    @Test func powerButtonReachesTheGuest() throws {
        let child = try Swiftlet.start("power-button", in: scratch)
        try child.expect("waiting for GSI", by: .seconds(30))
        child.signal(SIGUSR1)
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(0), "\(child.evidence)")
        #expect(child.output.contains("power button, events 0x1: ok"), "\(child.output)")
    }

    @Test func resetsUntilItIsStopped() throws {
        let child = try Swiftlet.start("reset", ["-v"], in: scratch)
        for _ in 0..<5 { try child.expect("reset: register at", by: .seconds(30)) }
        child.signal(SIGTERM)
        #expect(try child.waitForEnd(by: .seconds(20)) == .exited(128 + SIGTERM), "\(child.evidence)")
        #expect(child.errors.contains("the guest reboots count=4"))
    }

    // MARK: The command line itself

    @Test(arguments: [
        (["--bogus"], "Unknown option '--bogus'"), (["run"], "nothing to run; name a spec's file"),
        (["run", "a", "b"], "Unexpected argument 'b'"),
        (["run", "-", "--self-test"], "Missing value for '--self-test"),
        (["check"], "Missing expected argument '<spec>'"), (["doctor", "--jsn"], "Unknown option '--jsn'"),
        (["vmm", "--kernel"], "Missing value for '--kernel"), (["vmm", "--disc", "x"], "Unknown option '--disc'"),
    ]) func aWrongCommandLineIsSixtyFour(_ arguments: [String], _ words: String) throws {
        expectRefusal(try Swiftlet.run(arguments), 64, words, "see swiftlet --help")
    }

    @Test func helpAndVersionAreSuccess() throws {
        for arguments in [["--help"], ["run", "--help"], ["vmm", "--help"], ["help", "doctor"]] {
            let result = try Swiftlet.run(arguments)
            #expect(result.succeeded && result.text.contains("USAGE: swiftlet"), "\(result)")
            #expect(result.errors.isEmpty)
        }
        let help = try Swiftlet.run(["--help"]).text.split { $0.isWhitespace }.joined(separator: " ")
        #expect(help.contains("70 the guest died; 128 and a signal's number"))
        let version = try Swiftlet.run(["--version"])
        #expect(version.succeeded)
        #expect(version.text.hasPrefix("cloud-hypervisor v"))
        #expect(version.text.contains("swiftlet "))
    }
}
