import ArgumentParser

/// `swiftlet ctl`, with the verbs of `ch-remote`.
struct CtlCommand: ParsableCommand {
    func run() throws {
        throw ValidationError("No verb is given: name one, such as `info`; `swiftlet ctl --help` lists them.")
    }

    static let configuration = CommandConfiguration(
        commandName: "ctl", abstract: "Drive a running VMM over its API socket.",
        discussion: """
            An error of the VMM is printed with what led to it, one line for each cause.

            Exit statuses: 0 done; 1 the VMM refused; 64 the command line is wrong; 65 a file that it names cannot be \
            read; 69 no connection to the socket; 76 the connection broke or what came is not the API; 124 the time of \
            --timeout is up; 128 and a signal's number when that signal ended it.

            Started through a link named ch-remote, swiftlet is swiftlet ctl --json.
            """,
        version: "ch-remote v\(Version.api)\n\(Version.own)",
        groupedSubcommands: [
            CommandGroup(
                name: "The VM's life",
                subcommands: [
                    CreateVerb.self, BootVerb.self, PauseVerb.self, ResumeVerb.self, PowerButtonVerb.self,
                    RebootVerb.self, ShutdownVerb.self, DeleteVerb.self, NMIVerb.self, WaitVerb.self,
                ]),
            CommandGroup(
                name: "What it is and does",
                subcommands: [
                    InfoVerb.self, CountersVerb.self, MetricsVerb.self, WatchVerb.self, ConsoleVerb.self,
                    SerialVerb.self, CoredumpVerb.self,
                ]),
            CommandGroup(
                name: "Devices and sizes",
                subcommands: [
                    AddDiskVerb.self, AddNetVerb.self, AddVsockVerb.self, AddFsVerb.self, AddPmemVerb.self,
                    AddDeviceVerb.self, AddUserDeviceVerb.self, AddVdpaVerb.self, RemoveDeviceVerb.self,
                    ResizeVerb.self, ResizeDiskVerb.self, ResizeZoneVerb.self,
                ]),
            CommandGroup(
                name: "Snapshots and migration",
                subcommands: [
                    SnapshotVerb.self, RestoreVerb.self, ForkVerb.self, SendMigrationVerb.self,
                    ReceiveMigrationVerb.self, MigrationVerb.self, MigrationCheckVerb.self, MigrationCancelVerb.self,
                    MigrationResolveVerb.self,
                ]),
            CommandGroup(name: "The VMM", subcommands: [PingVerb.self, ShutdownVMMVerb.self]),
        ])

    @OptionGroup var vmm: VMMOptions
}

/// The options that every verb has.
struct VMMOptions: ParsableArguments {
    @Option(help: "The VMM's API socket.", completion: .file()) var apiSocket: String?

    @Flag(help: "Print what the VMM answers, JSON, as it is.") var json = false

    /// The socket.
    func socket() throws(CtlFailure) -> String {
        guard let apiSocket, !apiSocket.isEmpty else {
            throw CtlFailure.usage("--api-socket: is missing; give the path of the VMM's socket")
        }
        // As the VMM's own option has it.
        return apiSocket.hasPrefix("path=") ? String(apiSocket.dropFirst("path=".count)) : apiSocket
    }
}
