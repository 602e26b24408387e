import ArgumentParser
import Control
import Logging
import Machine
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
        name: .customLong("self-test"),
        help: ArgumentHelp(
            """
            What the self-test guest is to do: key=value words in one argument, for example mode=hello. Modes: \
            \(SelfTestCommandLine.modes.joined(separator: ", ")).
            """, valueName: "words"))
    var selfTest: String?

    func validate() throws {
        if apiSocket == nil, apiGroup != nil { throw ValidationError("--api-group: needs --api-socket beside it") }
        if apiSocket == nil, noShutdown { throw ValidationError("--no-shutdown: needs --api-socket beside it") }
    }

    /// What tells events to the file of the option and to the API's clients.
    func monitor(_ logger: Logger) throws -> EventMonitor {
        do {
            let target = try eventMonitor.map { try EventTarget(option: $0) }
            return try EventMonitor(target, start: ProcessClock.origin) { logger.warning("\($0)") }
        } catch let error as EventTargetError {
            throw UsageError("--event-monitor: \(error)")
        }
    }

    /// Serves the API if a socket is given for it.
    func serve(_ machine: VMM, _ monitor: EventMonitor, _ logger: Logger) throws -> APIServer? {
        guard let apiSocket else { return nil }
        let socket: APISocket
        do throws(APISocketError) {
            socket = try APISocket(APISocketPlace(parsing: apiSocket), group: apiGroup)
        } catch {
            throw UsageError("--api-socket: \(error)")
        }
        let context = APIContext(
            vm: machine.controller, events: monitor, version: APIVersion(api: Version.api, build: Version.build),
            logger: logger)
        let server = try APIServer(listening: socket, handler: APIService(context), logger: logger)
        try server.start()
        return server
    }
}
