import ArgumentParser
import FoundationEssentials
import Machine

/// `swiftlet check SPEC.json`
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", _superCommandName: "swiftlet",
        abstract: "Validate a spec and print the machine that it plans.",
        discussion: """
            Looks at the files that the spec names, as running it would: the kernel, the initramfs, the disks and the \
            source of random bytes, each of which is only read. A file that this user may not open is a warning. \
            Makes nothing, and needs neither KVM nor root.
            """)

    @Argument(help: "The spec's file, or - for standard input.", completion: .file(extensions: ["json"]))
    var spec: String

    @Flag(help: "Print the plan as JSON.")
    var json = false

    @Flag(help: "Look at no file that the spec names: it is for another machine.")
    var noFiles = false

    func run() throws {
        do {
            let parsed = try SpecFile.read(spec)
            for warning in parsed.warnings { StandardStreams.error("swiftlet: warning: \(warning)") }
            let plan = try MachinePlanner().plan(parsed.config)
            if !noFiles { try look(at: plan) }
            let report = PlanReport(plan)
            if json {
                StandardStreams.out(try JSONText.make(report))
            } else {
                StandardStreams.out(report.lines.joined(separator: "\n"))
            }
        } catch {
            throw ExitCode(VMSession.fail(error))
        }
    }

    private func look(at plan: MachinePlan) throws(MachineError) {
        let findings = PlannedFiles.findings(plan)
        for finding in findings where finding.isForbidden {
            StandardStreams.error("swiftlet: warning: \(finding.text)")
        }
        let mistakes = findings.filter { !$0.isForbidden }
        guard mistakes.isEmpty else { throw .spec(mistakes.map(\.text).joined(separator: "\n")) }
    }
}

/// JSON as the commands print it.
enum JSONText {
    static func make(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
}
