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
        subcommands: [RunCommand.self, VMMCommand.self, CheckCommand.self, DoctorCommand.self],
        defaultSubcommand: VMMCommand.self)

    /// Starts the process: `cloud-hypervisor` as its name means the subcommand `vmm`.
    static func main() {
        ProcessClock.start()
        ignoreBrokenPipes()
        let name = CommandLine.arguments.first.map { $0.split(separator: "/").last.map(String.init) ?? $0 }
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            var command = try parseAsRoot(name == "cloud-hypervisor" ? ["vmm"] + arguments : arguments)
            try command.run()
        } catch {
            // What is wrong with the command line is one line, as every other mistake is.
            guard !(error is ExitCode), exitCode(for: error) == .validationFailure else { exit(withError: error) }
            let lines = message(for: error).split(separator: "\n").joined(separator: " ")
            StandardStreams.error("swiftlet: \(lines); see swiftlet --help")
            exit(withError: ExitCode(ExitStatus.usage))
        }
    }
}

/// The name and version that clients look at.
enum Version {
    /// Cloud Hypervisor's line first, as its clients expect, then our own.
    static let banner = "cloud-hypervisor v\(api)\nswiftlet 0.1.0"
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
