import ArgumentParser
import Host
import Spec

/// `swiftlet run SPEC.json`
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", _superCommandName: "swiftlet",
        abstract: "Boot a VM from a JSON spec, in the foreground.",
        discussion: """
            The spec is Cloud Hypervisor's VmConfig. Without a payload the embedded self-test guest boots. At a \
            terminal, Ctrl-A x ends the VM and Ctrl-A Ctrl-A sends one Ctrl-A. SIGUSR1 presses the power button.
            """)

    @Argument(help: "The spec's file, or - for standard input.", completion: .file(extensions: ["json"]))
    var spec: String

    @OptionGroup var logging: LoggingOptions

    @OptionGroup var api: APIOptions

    func run() throws {
        let status = VMSession.run(SessionOptions(logging, api), spec: spec) { try SpecFile.read(spec) }
        throw ExitCode(status)
    }
}
