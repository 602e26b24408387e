import ArgumentParser
import SelfTestImage

/// The options of the socket that controls the VM.
struct APIOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Serve the REST API on this Unix socket: PATH, path=PATH or fd=N.", valueName: "socket"),
        completion: .file())
    var apiSocket: String?

    @Option(help: ArgumentHelp("Open the API's socket to a group of users, by name or number.", valueName: "group"))
    var apiGroup: String?

    @Option(
        help: ArgumentHelp("Write what happens to the VM as JSON: path=PATH or fd=N.", valueName: "sink"),
        completion: .file())
    var eventMonitor: String?

    @Flag(help: "Go on, for the API's clients, when the guest powers off or dies.")
    var noShutdown = false

    @Option(
        help: ArgumentHelp(
            "Run this program before and after a migration; its exit status before one decides.", valueName: "program"),
        completion: .file())
    var migrationHook: String?

    @Option(
        name: .customLong("self-test"),
        help: ArgumentHelp(
            """
            What the self-test guest is to do: key=value words in one argument, for example mode=hello. Modes: \
            \(SelfTestCommandLine.modes.joined(separator: ", ")).
            """, valueName: "words"))
    var selfTest: String?

}
