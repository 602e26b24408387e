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

    func makeLogger() throws(HostError) -> Logger {
        let sink = try LineLogHandler.Sink(path: logFile, start: ProcessClock.origin)
        let level = LineLogHandler.level(verbosity: verbose)
        return Logger(label: "swiftlet") { _ in LineLogHandler(sink, level) }
    }
}

/// A VM in the foreground from configuration to exit status.
enum VMSession {
    static func run(_ logging: LoggingOptions, selfTest: String?, _ configuration: () throws -> VMConfig) -> Int32 {
        do {
            let logger = try logging.makeLogger()
            let config = try configuration()
            logger.info("the spec is valid")
            let plan = try MachinePlanner().plan(config)
            logger.info("the machine is planned", metadata: ["pci": "\(plan.devices.count)"])
            let guest = SelfTestGuest(commandLine: selfTest ?? "") { SelfTestImage.elf() }
            let machine = VirtualMachine(plan, selfTest: guest, logger: logger)
            let outcome = try machine.run()
            if machine.firstProgress > 0 {
                let microseconds = (machine.firstProgress &- ProcessClock.origin) / 1000
                logger.info("the guest's first progress code came", metadata: ["after_us": "\(microseconds)"])
            }
            return report(outcome, logger)
        } catch {
            return fail(error)
        }
    }

    private static func report(_ outcome: MachineOutcome, _ logger: Logger) -> Int32 {
        switch outcome {
        case .powerOff:
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
    static func fail(_ error: any Error) -> Int32 {
        StandardStreams.error("\(error)".split(separator: "\n").map { "swiftlet: \($0)" }.joined(separator: "\n"))
        switch error {
        case MachineError.spec: return ExitStatus.badSpec
        case is SpecError: return ExitStatus.badSpec
        default: return ExitStatus.hostLacks
        }
    }
}
