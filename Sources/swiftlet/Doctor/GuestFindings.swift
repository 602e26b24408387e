import Host
import Logging
import Machine
import SelfTestImage
import Spec

/// Runs the self-test guest to see what a guest's kernel can do here.
enum GuestFindings {
    /// Milliseconds that the guest gets; it needs a few where KVM is real, and some hundred where it is emulated.
    private static let limit: UInt64 = 10_000

    struct Result {
        let findings: [Finding]
        let guests: Bool
        let linuxGuests: Bool
    }

    static func probe() -> Result {
        do {
            let output = try ScratchFile()
            var config = VMConfig()
            config.memory.size = 64 << 20
            config.console = ConsoleConfig(mode: .off)
            config.serial = ConsoleConfig(file: output.path)
            let guest = SelfTestGuest(commandLine: "mode=probe") { SelfTestImage.elf() }
            let quiet = Logger(label: "probe") { _ in SwiftLogNoOpLogHandler() }
            var options = VMM.Options(selfTest: guest)
            options.limit = limit
            let outcome = try VMM(options, logger: quiet).run(ParsedConfig(config: config, warnings: []))
            return judge(output.text, outcome)
        } catch {
            let finding = Finding(
                "running a guest", .no, "\(error)", remedy: "mend what is said above", isRequired: true)
            return Result(findings: [finding], guests: false, linuxGuests: false)
        }
    }

    /// Judges the guest's lines `probe: NAME …`, each followed by `ok` if the instruction worked.
    private static func judge(_ text: String, _ outcome: MachineOutcome) -> Result {
        let lines = text.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("probe: ") }.map {
            $0.dropFirst(7).trimmingSpaces
        }
        let started = !lines.isEmpty
        let first = Finding(
            "running a guest", started ? .yes : .no, started ? "the self-test guest ran" : "\(describe(outcome))",
            remedy: started ? nil : "look at dmesg for what KVM said", isRequired: true)
        let failed = lines.filter { !$0.hasSuffix(" ok") && $0 != "done" }
        let complete = outcome == .selfTest(0) && failed.isEmpty && lines.last == "done"
        let detail =
            complete
            ? "kernel-mode guest code runs as on a processor (\(lines.count) probes)"
            : "kernel-mode guest code is emulated and incomplete: "
                + (failed.last.map { "stopped at \($0)" } ?? describe(outcome))
        let second = Finding(
            "Linux guests", complete ? .yes : .no, detail,
            remedy: complete
                ? nil
                : "use a host with hardware virtualisation, or one that nests it; small bare-metal guests run here")
        return Result(findings: [first, second], guests: started, linuxGuests: complete)
    }

    private static func describe(_ outcome: MachineOutcome) -> String {
        switch outcome {
        case .died(let why): why
        case .selfTest(let code): "the self-test ended with result \(code)"
        case .powerOff: "the guest powered off"
        case .quit: "a client ended it"
        case .signal(let number): "signal \(number) ended it"
        }
    }
}

extension Substring {
    /// The text without the blanks at its end.
    fileprivate var trimmingSpaces: Substring {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
