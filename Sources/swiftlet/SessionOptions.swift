import Control
import Host
import Logging
import Machine
import Spec

/// What the command line says of a VM's process, beside the VM itself.
struct SessionOptions: Equatable {
    /// The number of `-v` flags.
    var verbosity = 0
    /// Where the log goes; nil for standard error.
    var logFile: String?
    /// Where the API is served, and to which group beside the user.
    var apiSocket: String?
    var apiGroup: String?
    /// Where events are written.
    var eventMonitor: String?
    /// The program that is told of migrations.
    var migrationHook: String?
    /// Whether the process outlives its guest.
    var noShutdown = false
    /// What the self-test guest is to do.
    var selfTest: String?

    init() {}

    init(_ logging: LoggingOptions, _ api: APIOptions) {
        (verbosity, logFile) = (logging.verbose, logging.logFile)
        (apiSocket, apiGroup, eventMonitor) = (api.apiSocket, api.apiGroup, api.eventMonitor)
        (noShutdown, selfTest) = (api.noShutdown, api.selfTest)
        migrationHook = api.migrationHook
    }

    /// An option that does nothing for want of another; nil if there is none.
    var mistake: String? {
        if apiSocket == nil, apiGroup != nil { return "--api-group: needs --api-socket beside it" }
        if apiSocket == nil, noShutdown { return "--no-shutdown: needs --api-socket beside it" }
        return nil
    }

    /// The files that the process writes for its user.
    private func files() throws(UsageError) -> [ProcessFile] {
        var files = logFile.map { [ProcessFile(option: "--log-file", path: $0)] } ?? []
        if case .path(let path)? = try target() { files.append(ProcessFile(option: "--event-monitor", path: path)) }
        return files
    }

    /// The files that the process writes for its user, none of which is another or one that the spec names.
    ///
    /// Nothing has been opened yet: what is appended to a disk's image ruins it.
    ///
    /// - Parameter spec: the spec's own file.
    func checkedFiles(_ parsed: ParsedConfig?, spec: String?) throws -> [ProcessFile] {
        let files = try files()
        guard let last = files.last else { return [] }
        if files.count == 2, files[0].isSameFile(as: last.path) {
            throw UsageError("\(last.option): \(files[0].problem(last.path))")
        }
        if let spec, let file = files.first(where: { $0.isSameFile(as: spec) }) {
            throw UsageError("\(file.option): \(file.path) is the spec; name another file")
        }
        if let parsed {
            do { try SharedFiles.refuse(MachinePlanner().plan(parsed.config), files) } catch {
                throw MachineError(sorting: error)
            }
        }
        return files
    }

    private func target() throws(UsageError) -> EventTarget? {
        guard let eventMonitor else { return nil }
        do throws(EventTargetError) { return try EventTarget(option: eventMonitor) } catch {
            throw UsageError("--event-monitor: \(error)")
        }
    }

    /// The log of the process.
    func makeLogger() throws -> Logger {
        let sink: LineLogHandler.Sink
        do throws(HostError) {
            sink = try LineLogHandler.Sink(path: logFile, start: ProcessClock.origin)
        } catch {
            guard let logFile else { throw error }
            throw UsageError("--log-file: \(logFile): cannot be opened to write: \(error.errno); name another file")
        }
        let level = LineLogHandler.level(verbosity: verbosity)
        return Logger(label: "swiftlet") { _ in LineLogHandler(sink, level) }
    }

    /// What tells events to the file of the option and to the API's clients.
    func monitor(_ logger: Logger) throws -> EventMonitor {
        do {
            return try EventMonitor(target(), start: ProcessClock.origin) { logger.warning("\($0)") }
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
