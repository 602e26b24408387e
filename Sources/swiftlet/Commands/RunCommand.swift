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
    var spec: String?

    @Option(help: "Go on with the VM of this snapshot's directory in place of a spec.", completion: .directory)
    var restore: String?

    @Option(
        name: .customLong("override"),
        help:
            "Of the snapshot's VM, use another resource of the host: disks.ID.path=FILE, net.ID.tap=NAME, serial.file=FILE …"
    )
    var overrides: [String] = []

    @Option(help: "Put the disks that are in the snapshot to their paths: reflink or copy.") var disks: String?

    @Flag(help: "Read the snapshot's memory page by page, as the guest touches it.") var onDemand = false

    @Flag(help: "With --on-demand, read nothing ahead, and leave no working set.") var noPrefetch = false

    @OptionGroup var logging: LoggingOptions

    @OptionGroup var api: APIOptions

    func run() throws {
        let status = VMSession.run(SessionOptions(logging, api), spec: spec) { try start() }
        throw ExitCode(status)
    }

    /// What `--restore` asks for: the guest goes on at once.
    static func request(_ directory: String, _ options: RestoreOptions) throws(SpecError) -> RestoreRequest {
        var request = try RestoreRequest.parse(directory: directory, options)
        request.resume = true
        return request
    }

    private func start() throws -> VMStart {
        var options = RestoreOptions()
        (options.overrides, options.disks, options.isOnDemand) = (overrides, disks, onDemand)
        guard restore != nil || options.isEmpty && !noPrefetch else {
            throw UsageError(
                "--override, --disks, --on-demand and --no-prefetch are for a snapshot: name its directory by --restore"
            )
        }
        guard onDemand || !noPrefetch else {
            throw UsageError(
                "--no-prefetch: without --on-demand all of the memory is read before the guest goes on; add it, or leave out "
                    + "--no-prefetch")
        }
        switch (spec, restore) {
        case (let spec?, nil): return .boot(try SpecFile.read(spec))
        case (nil, let directory?):
            var request = try Self.request(directory, options)
            request.prefetch = !noPrefetch
            return .restore(request)
        case (nil, nil):
            throw UsageError(
                "nothing to run; name a spec's file, or --restore and a snapshot's directory (see swiftlet --help)")
        case (_?, _?): throw UsageError("--restore: a snapshot has its VM's own spec; leave out one of them")
        }
    }
}
