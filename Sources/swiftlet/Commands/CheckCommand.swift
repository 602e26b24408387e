import ArgumentParser
import FoundationEssentials
import Machine

/// `swiftlet check SPEC.json`
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", _superCommandName: "swiftlet",
        abstract: "Validate a spec and print the machine that it plans.",
        discussion: "Opens no device and needs neither KVM nor root.")

    @Argument(help: "The spec's file, or - for standard input.", completion: .file(extensions: ["json"]))
    var spec: String

    @Flag(help: "Print the plan as JSON.")
    var json = false

    func run() throws {
        do {
            let parsed = try SpecFile.read(spec)
            for warning in parsed.warnings { StandardStreams.error("swiftlet: warning: \(warning)") }
            let plan = try MachinePlanner().plan(parsed.config)
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
