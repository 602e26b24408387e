import ArgumentParser
import Host
import Logging
import Machine
import SelfTestImage
import Spec

/// The options of the log.
struct LoggingOptions: ParsableArguments {
    @Flag(name: .short, help: "More log lines: -v boot phases, -vv details, -vvv everything.")
    var verbose: Int

    @Option(help: "Write the log into this file instead of standard error.", completion: .file())
    var logFile: String?
}

/// A command line that is wrong: the flag, what is wrong with it, and what to do.
struct UsageError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// What a VM of the command line begins with.
enum VMStart: Equatable {
    case boot(ParsedConfig)
    case restore(RestoreRequest)
}

/// A VM in this process, from configuration to exit status.
enum VMSession {
    /// A VM that is made of another process's, which hears of all that keeps it from being made.
    static func run(_ session: SessionOptions, linkedBy number: Int32) -> Int32 {
        // It was started by a link to the executable, whatever has become of its file, and has that link's name.
        Spawn.name("swiftlet")
        let link: ForkLink
        do { link = try ForkLink(inherited: number) } catch { return fail(error) }
        return run(session, words: { "\($0)" }, link: link) { .restore(try link.request()) }
    }

    /// - Parameters:
    ///   - link: to whom it is told that the VM stands there, or why it does not.
    ///   - spec: the file that the configuration comes from.
    ///   - words: says an error in the words of the user's own configuration, flags for example.
    static func run(
        _ session: SessionOptions, spec: String? = nil, words: (any Error) -> String = { "\($0)" },
        link: ForkLink? = nil,
        _ start: () throws -> VMStart?
    ) -> Int32 {
        do {
            // The guest's output, its sockets and the log are their owner's alone.
            makeNewFilesPrivate()
            if let mistake = session.mistake { throw UsageError(mistake) }
            if let words = session.selfTest, let mistake = SelfTestCommandLine.mistake(words) {
                throw UsageError("--self-test: \(mistake)")
            }
            let (parsed, saved) = try parts(start())
            let files = try session.checkedFiles(parsed, spec: spec)
            VMM.holdSignals()
            let logger = try session.makeLogger()
            for warning in parsed?.warnings ?? [] { logger.warning("\(warning)") }
            if parsed != nil { logger.info("the spec is valid") }
            var options = VMM.Options(
                selfTest: SelfTestGuest(commandLine: session.selfTest ?? "") { SelfTestImage.elf() })
            options.survivesGuest = session.noShutdown
            options.isCommanded = session.apiSocket != nil
            options.migrationHook = session.migrationHook
            options.writer = Version.own
            options.files = files
            options.childArguments = { QuickCommand.line(session, socket: $0.socket, logFile: $0.logFile) }
            if let link { options.restored = { try link.ready() } }
            let monitor = try session.monitor(logger)
            options.emit = { monitor.emit($0, $1) }
            let machine = try VMM(options, logger: logger)
            let server = try session.serve(machine, monitor, logger)
            defer {
                monitor.emit(.vmmShutdown)
                monitor.close()
                server?.stop()
            }
            monitor.emit(.vmmStarting)
            let outcome = try machine.run(parsed, restoring: saved)
            if machine.firstProgress > 0 {
                let microseconds = (machine.firstProgress &- ProcessClock.origin) / 1000
                logger.info("the guest's first progress code came", metadata: ["after_us": "\(microseconds)"])
            }
            return report(outcome, logger)
        } catch {
            link?.failed(words(error))
            return fail(error, words(error))
        }
    }

    private static func parts(_ start: VMStart?) -> (ParsedConfig?, RestoreRequest?) {
        switch start {
        case .boot(let parsed): (parsed, nil)
        case .restore(let request): (nil, request)
        case nil: (nil, nil)
        }
    }

    private static func report(_ outcome: MachineOutcome, _ logger: Logger) -> Int32 {
        switch outcome {
        case .powerOff, .quit:
            logger.info("the VM is off")
            return ExitStatus.success
        case .selfTest(let result):
            logger.info("the self-test ended", metadata: ["result": "\(result)"])
            return result == 0 ? ExitStatus.success : ExitStatus.failed
        case .died(let why):
            StandardStreams.error("swiftlet: the guest died: \(why)")
            return ExitStatus.guestDied
        case .signal(let number):
            logger.info("a signal ended the VM", metadata: ["signal": "\(number)"])
            return ExitStatus.signalBase + number
        }
    }

    /// Prints an error, a line for each thing that is wrong, and answers its exit status.
    static func fail(_ error: any Error, _ words: String? = nil) -> Int32 {
        let text = words ?? "\(error)"
        StandardStreams.error(text.split(separator: "\n").map { "swiftlet: \($0)" }.joined(separator: "\n"))
        switch error {
        case MachineError.spec: return ExitStatus.badSpec
        // A spec's file is read by `SpecFile`, which says so; what comes bare is about flags.
        case is SpecError, is UsageError: return ExitStatus.usage
        default: return ExitStatus.hostLacks
        }
    }
}
