import Testing

@testable import Spec

/// One configuration for each rule, and the exact text that it is refused with.
@Suite struct RejectionTests {
    @Test(arguments: Rejection.types + Rejection.cpus + Rejection.memory)
    func refusesTypesAndProcessors(rejection: Rejection) { #expect(issues(rejection.json) == rejection.issues) }

    @Test(arguments: Rejection.payloadAndDisks)
    func refusesPayloadsAndDisks(rejection: Rejection) { #expect(issues(rejection.json) == rejection.issues) }

    @Test(arguments: Rejection.netAndConsoles)
    func refusesNetworksAndConsoles(rejection: Rejection) { #expect(issues(rejection.json) == rejection.issues) }

    @Test(arguments: Rejection.unsupported)
    func refusesByNameWhatIsNotSupported(rejection: Rejection) { #expect(issues(rejection.json) == rejection.issues) }

    @Test func printsOneLineForEachIssue() throws {
        let json = #"{"cpus":{"boot_vcpus":0,"max_vcpus":"1"},"memory":{},"dsks":[]}"#
        let error = #expect(throws: SpecError.self) { try VMConfig.parse(Array(json.utf8)) }
        #expect(
            error?.description == """
                $.cpus.boot_vcpus: got 0, expected a whole number from 1 to 4096
                $.cpus.max_vcpus: got "1" (a string), expected a whole number from 1 to 4096
                $.memory.size: missing; give a whole number from 16777216 to 70368744177664
                $.dsks: unknown; did you mean 'disks'?
                """)
    }

    @Test func keepsAtMostAHundredIssues() {
        let members = (0..<5000).map { "\"x\($0)\":1" }.joined(separator: ",")
        #expect(issues("{\(members)}").count == 100)
        let disks = [String](repeating: #"{"x":1}"#, count: 20_000).joined(separator: ",")
        #expect(issues("{\"disks\":[\(disks)]}").count == 100)
    }

    @Test(.timeLimit(.minutes(15))) func spendsLittleOnHugeObjects() throws {
        let name = String(repeating: "boot_vcpus", count: 6)
        let members = (0..<30_000).map { "\"\(name)\($0)\":1" }.joined(separator: ",")
        for mode in [ReadingMode.strict, .lenient] {
            do {
                #expect(try VMConfig.parse(Array("{\(members)}".utf8), mode: mode).warnings.count == 100)
            } catch {
                #expect(mode == .strict && error.issues.count == 100)
            }
        }
        let long = String(repeating: "x", count: 100_000)
        let issue = issues("{\"\(long)\":1}").first ?? ""
        #expect(issue.hasPrefix("$[\"xxx") && issue.utf8.count < 1000)
        #expect(issues("{\"a\\u2028\\u202eb\":1}").first?.hasPrefix(#"$["a\u2028\u202eb"]: unknown"#) == true)
    }
}

/// A configuration and why it is refused.
struct Rejection: Sendable, CustomTestStringConvertible {
    let json: String
    let issues: [String]

    init(_ json: String, _ issues: String...) {
        self.json = json
        self.issues = issues
    }

    var testDescription: String { json }
}
