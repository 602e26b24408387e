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
    ]) func agreesWithTheParser(_ line: String) throws {
        let words = line.split(separator: " ").map(String.init)
        let quick = try #require(QuickCommand(words), "\(line) is not taken")
        switch try swiftlet.Swiftlet.parse(words) {
        case let command as RunCommand:
            #expect(quick == .run(spec: command.spec ?? "", SessionOptions(command.logging, command.api)))
        case let command as BriefVMMCommand:
            #expect(quick == .wait(SessionOptions(command.logging, command.api)))
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
        "--help", "check a", "ctl ping", "doctor",
    ]) func leavesTheRestToTheParser(_ line: String) {
        #expect(QuickCommand(line.split(separator: " ").map(String.init)) == nil)
    }

    @Test func leavesEmptyWordsToTheParser() {
        #expect(QuickCommand(["run", ""]) == nil)
        #expect(QuickCommand(["run", "a", "--log-file", ""]) == nil)
        #expect(QuickCommand(["vmm", "--api-socket", ""]) == nil)
    }
}
