import Boot
import Foundation
import Host
import Logging
import SelfTestImage
import Spec
import Synchronization
import TestSupport
import Testing

@testable import Machine

/// Runs machines inside this process, one at a time: what they leave open is counted.
enum Guests {
    private static let turn = Mutex(())

    /// What a guest left.
    struct Run {
        let outcome: MachineOutcome
        let serial: String
        let log: [String]
    }

    /// A machine of so many MiB, its serial port in a file, without a console.
    static func config(mebibytes: UInt64 = 32, vcpus: UInt32 = 1) -> VMConfig {
        var config = VMConfig()
        config.memory.size = mebibytes << 20
        config.cpus = CPUsConfig(boot: vcpus)
        config.console = ConsoleConfig(mode: .off)
        return config
    }

    /// Plans and runs a machine, its serial port read from a file in memory.
    ///
    /// - Parameter limit: ms that the guest gets; a VM that takes longer ends as dead.
    static func run(_ given: VMConfig, _ commandLine: String = "", limit: UInt64 = 30_000) throws -> Run {
        try turn.withLock { _ in
            let output = try ScratchFile()
            var config = given
            if config.serial.mode != .off { config.serial = ConsoleConfig(file: output.path) }
            let lines = Mutex<[String]>([])
            let logger = Logger(label: "test") { _ in Recorder { line in lines.withLock { $0.append(line) } } }
            let guest = SelfTestGuest(commandLine: commandLine) { SelfTestImage.elf() }
            var options = VMM.Options(selfTest: guest)
            options.limit = limit
            let outcome = try VMM(options, logger: logger).run(ParsedConfig(config: config, warnings: []))
            return Run(outcome: outcome, serial: output.text, log: lines.withLock { $0 })
        }
    }

    /// Does something with no machine beside it.
    static func alone<Result>(_ body: () throws -> sending Result) rethrows -> Result {
        try turn.withLock { _ in try body() }
    }

    /// The open descriptors of this process that belong to machines alone: KVM's and guest memory.
    ///
    /// Event descriptors belong to the tests of other rooms too, which run beside these in the same process: tests of
    /// whole processes count those.
    static func machineDescriptors() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
        }.filter { link in ["kvm", "memfd"].contains { link.contains($0) } }.sorted()
    }

    /// Whether no machine's descriptors are open, as soon as the tests of KVM's own room have closed theirs.
    static func nothingIsLeft() throws -> Bool {
        try Deadline.seconds(20).wait(every: .milliseconds(20)) { try machineDescriptors().isEmpty }
    }

    /// The threads of this process that belong to machines, by their names.
    static func machineThreads() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").compactMap {
            try? String(contentsOfFile: "/proc/self/task/\($0)/comm", encoding: .utf8).trimmingCharacters(in: .newlines)
        }.filter { name in ["vcpu", "rng", "blk", "net", "console", "char-io"].contains { name.hasPrefix($0) } }
            .sorted()
    }
}

/// Keeps log lines.
private struct Recorder: LogHandler {
    let take: @Sendable (String) -> Void
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]
    init(_ take: @escaping @Sendable (String) -> Void) { self.take = take }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {
        take("\(event.message)" + (event.metadata ?? [:]).map { " \($0)=\($1)" }.sorted().joined())
    }
}

/// Whether the self-test passed.
func expectPass(_ run: Guests.Run, at location: SourceLocation = #_sourceLocation) {
    let comment = Comment(rawValue: "\(run.serial)\n\(run.log.joined(separator: "\n"))")
    #expect(run.outcome == .selfTest(0), comment, sourceLocation: location)
    #expect(run.serial.contains("selftest: PASS"), comment, sourceLocation: location)
    #expect(!run.serial.contains("FAILED"), comment, sourceLocation: location)
}
