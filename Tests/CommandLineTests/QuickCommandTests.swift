import ArgumentParser
import Testing

@testable import swiftlet

/// The lines that are understood without the argument parser mean what they mean to it.
@Suite struct QuickCommandTests {
    @Test(arguments: [
        "run spec.json", "run -", "run -v spec.json", "run spec.json -vvv -v", "run --self-test mode=hello spec.json",
        "run spec.json --api-socket /run/a --api-group 0 --event-monitor path=/e --log-file l --no-shutdown -vv",
        "vmm --api-socket /run/a", "--api-socket /run/a", "vmm --api-socket fd=3 -v --log-file l --event-monitor fd=4",
        "--api-socket=/run/a", "vmm --api-socket=path=a=b -v", "run --log-file=l --self-test=mode=hello a",
        "vmm --no-shutdown --api-socket path=a --seccomp false --self-test mode=exit",
        "run --restore d", "run --restore=d -v --api-socket /run/a", "vmm --restore source_url=file:///d,resume=on",
        "vmm --restore=source_url=file:///d --api-socket a -vv", "--restore source_url=file:///d --log-file l",
    ]) func agreesWithTheParser(_ line: String) throws {
        let words = line.split(separator: " ").map(String.init)
        let quick = try #require(QuickCommand(words), "\(line) is not taken")
        switch try swiftlet.Swiftlet.parse(words) {
        case let command as RunCommand:
            let options = SessionOptions(command.logging, command.api)
            let meant: QuickCommand =
                command.restore.map { .goOn(directory: $0, options) } ?? .run(spec: command.spec ?? "", options)
            #expect(quick == meant)
        case let command as BriefVMMCommand:
            let options = SessionOptions(command.logging, command.api)
            #expect(quick == command.machine.restore.map { .restore(list: $0, options) } ?? .wait(options))
        case let other: Issue.record("the parser says \(other)")
        }
    }

    /// What is wrong, rare, or a question is the parser's.
    @Test(arguments: [
        "", "run", "run a b", "run -x a", "run --log-file", "run --log-file -v a", "run a --help", "run -h", "run --",
        "run -- a", "run --kernel k", "run a --log-file x --log-file y", "run --api-socket= a",
        "run a --no-shutdown=", "run a --log-file=-x", "run --verbose a", "run a --no-shutdown", "run a --api-group 0",
        "run a --seccomp false", "vmm", "vmm -v",
        "vmm --no-shutdown", "vmm --api-socket", "vmm --api-socket a b", "vmm --api-socket a --kernel k",
        "vmm --api-socket a --seccomp true", "vmm --api-socket a --no-shutdown --no-shutdown", "vmm --version",
        "--help", "check a", "ctl ping", "doctor", "run a --restore d", "run --restore", "vmm --restore",
        "run --restore a --restore b", "vmm --restore a --kernel k", "vmm --restore a b",
    ]) func leavesTheRestToTheParser(_ line: String) {
        #expect(QuickCommand(line.split(separator: " ").map(String.init)) == nil)
    }

    @Test func leavesEmptyWordsToTheParser() {
        #expect(QuickCommand(["run", ""]) == nil)
        #expect(QuickCommand(["run", "a", "--log-file", ""]) == nil)
        #expect(QuickCommand(["vmm", "--api-socket", ""]) == nil)
    }
}
