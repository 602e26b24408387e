import ArgumentParser
import Host

/// The executable: one process, one VM.
@main
struct Swiftlet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swiftlet",
        abstract: "A small, fast virtual machine monitor for Linux's KVM.",
        discussion: """
            Exit statuses: 0 the guest powered off; 1 the self-test or doctor found something wrong; 64 the command \
            line is wrong; 65 the spec or a file that it names is wrong; 69 the host lacks something; 70 the guest \
            died; 128 and a signal's number when that signal ended the VM.
            """,
        version: Version.banner,
        subcommands: [
            RunCommand.self, VMMCommand.self, CtlCommand.self, CheckCommand.self, SnapshotCommand.self,
            DoctorCommand.self, CompletionsCommand.self, ManualCommand.self,
        ],
        defaultSubcommand: VMMCommand.self)

    /// Starts the process: `cloud-hypervisor` as its name means the subcommand `vmm`, `ch-remote` means `ctl --json`.
    static func main() {
        ProcessClock.start()
        ignoreWriteSignals()
        openStandardDescriptors()
        let name = CommandLine.arguments.first.map { $0.split(separator: "/").last.map(String.init) ?? $0 }
        let arguments = withLongVersion(Array(CommandLine.arguments.dropFirst()))
        let implied: [String] =
            switch name {
            case "cloud-hypervisor": ["vmm"]
            case "ch-remote": ["ctl", "--json"]
            default: []
            }
        if let mistake = CommandWords.mistake(arguments) { endWithUsage(mistake) }
        if let quick = QuickCommand(implied + arguments) { endProcess(quick.perform()) }
        do {
            var command = try parse(implied + arguments)
            if let mistake = CommandWords.repetition(arguments) { endWithUsage(mistake) }
            try command.run()
        } catch {
            // What is wrong with the command line is one line, as every other mistake is.
            guard !(error is ExitCode), exitCode(for: error) == .validationFailure else { exit(withError: error) }
            let lines = message(for: error).split(separator: "\n").joined(separator: " ")
            endWithUsage("\(lines); see swiftlet --help")
        }
    }

    private static func endWithUsage(_ mistake: String) -> Never {
        StandardStreams.error("swiftlet: \(mistake)")
        endProcess(ExitStatus.usage)
    }
}

extension Swiftlet {
    /// Parses a command line.
    ///
    /// The library describes a command to itself by reflection, which for the whole tree takes longer than making a VM.
    /// So the subcommand that is meant is tried without the others, and first without its rarer options; whatever that
    /// does not accept, questions for help among it, goes to the whole tree, which knows the words for each error.
    static func parse(_ arguments: [String]) throws -> any ParsableCommand {
        let (commands, words) = candidates(arguments)
        for command in commands {
            // The answer to a question for help is a command too, of another type.
            if let parsed = try? command.parseAsRoot(words), type(of: parsed) == command { return parsed }
        }
        return try parseAsRoot(arguments)
    }

    /// `-V`, which `cloud-hypervisor` and `ch-remote` have beside it, as `--version`: alone or behind a subcommand.
    private static func withLongVersion(_ arguments: [String]) -> [String] {
        guard arguments.last == "-V", arguments.count <= 2, arguments.count == 1 || !arguments[0].hasPrefix("-") else {
            return arguments
        }
        return arguments.dropLast() + ["--version"]
    }

    /// The commands that may be meant, each of which takes all that the one before it takes, and their own arguments.
    private static func candidates(_ arguments: [String]) -> ([any ParsableCommand.Type], [String]) {
        let machine: [any ParsableCommand.Type] = [BriefVMMCommand.self, VMMCommand.self]
        switch arguments.first {
        case "run": return ([RunCommand.self], Array(arguments.dropFirst()))
        case "check": return ([CheckCommand.self], Array(arguments.dropFirst()))
        case "vmm": return (machine, Array(arguments.dropFirst()))
        case "--version", "--help", "-h": return ([], [])
        // Options without a subcommand are those of the default one.
        case let first? where first.hasPrefix("-"): return (machine, arguments)
        default: return ([], [])
        }
    }
}

/// The name and version that clients look at.
enum Version {
    /// Cloud Hypervisor's line first, as its clients expect, then our own.
    static let banner = "cloud-hypervisor v\(api)\n\(own)"
    /// The executable's own.
    static let own = "swiftlet 0.1.0"
    /// The version of Cloud Hypervisor whose interfaces these are.
    static let api = "54.0.0"
    /// What `vmm.ping` names as the build.
    static let build = "v\(api)-swiftlet-0.1.0"
}

/// When the process started, for the log.
enum ProcessClock {
    private static let began = HostClock.monotonic
    /// Fixes the start.
    static func start() { _ = began }
    /// Nanoseconds of the monotonic clock.
    static var origin: UInt64 { began }
}
