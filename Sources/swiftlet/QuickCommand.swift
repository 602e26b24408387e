import Spec

/// A command line that is understood without the argument parser.
///
/// The library describes a command to itself by reflection before it parses one, for which the runtime looks through all
/// conformances of the executable: that takes longer than all else on the way to a VM or to a socket that answers. So
/// the plain lines that VMs are started with many times, `run SPEC`, `run --restore DIRECTORY`, `vmm --restore LIST` and
/// `vmm --api-socket PATH` with options in full, are recognised here. Everything else, each mistake and each question
/// for help included, goes to the library.
enum QuickCommand: Equatable {
    /// `swiftlet run SPEC`
    case run(spec: String, SessionOptions)
    /// `swiftlet run --restore DIRECTORY`
    case goOn(directory: String, SessionOptions)
    /// `swiftlet vmm --restore LIST`
    case restore(list: String, SessionOptions)
    /// `swiftlet vmm` that waits for clients to create a VM.
    case wait(SessionOptions)
    /// `swiftlet vmm` that another one starts for a VM that is made of its own: the number of the link to that.
    case forked(SessionOptions, link: Int32)

    /// Nil for what is left to the library.
    init?(_ arguments: [String]) {
        var words = arguments[...]
        let runs = words.first == "run"
        if runs || words.first == "vmm" { words.removeFirst() }
        var options = SessionOptions()
        var spec: String?
        var snapshot: String?
        var link: Int32?
        while let word = words.popFirst() {
            if word.hasPrefix(Self.linkOption), !runs, link == nil {
                link = Int32(word.dropFirst(Self.linkOption.count))
                guard link != nil else { return nil }
            } else if word.hasPrefix("--") {
                guard Self.take(word, &words, &options, &snapshot, runs: runs) else { return nil }
            } else if let count = Self.verbosity(word) {
                options.verbosity += count
            } else {
                guard runs, spec == nil, !word.isEmpty, !word.hasPrefix("-") || word == "-" else { return nil }
                spec = word
            }
        }
        guard options.mistake == nil else { return nil }
        switch (spec, snapshot, link) {
        case (let spec?, nil, nil): self = .run(spec: spec, options)
        case (nil, let snapshot?, nil):
            self = runs ? .goOn(directory: snapshot, options) : .restore(list: snapshot, options)
        case (nil, nil, let link) where !runs && options.apiSocket != nil:
            self = link.map { .forked(options, link: $0) } ?? .wait(options)
        default: return nil
        }
    }

    private static let linkOption = "--fork-link="

    /// The line that starts a process for a VM that is made of the one that the options are of.
    static func line(_ options: SessionOptions, socket: String, logFile: String?) -> [String] {
        var words = ["swiftlet", "vmm", "--api-socket=path=\(socket)", "\(linkOption)3"]
        // A value does not begin with a dash.
        if let logFile { words.append("--log-file=\(logFile.hasPrefix("-") ? "./\(logFile)" : logFile)") }
        if options.verbosity > 0 { words.append("-" + String(repeating: "v", count: options.verbosity)) }
        if options.noShutdown { words.append("--no-shutdown") }
        if let selfTest = options.selfTest, !selfTest.isEmpty { words.append("--self-test=\(selfTest)") }
        return words
    }

    /// Takes an option and its value; false for one that is not known here, given twice, or without a plain value.
    private static func take(
        _ word: String, _ words: inout ArraySlice<String>, _ options: inout SessionOptions, _ snapshot: inout String?,
        runs: Bool
    ) -> Bool {
        // NAME VALUE, or NAME=VALUE in one word.
        let halves = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(halves[0])
        if word == "--no-shutdown" {
            guard !options.noShutdown else { return false }
            options.noShutdown = true
            return true
        }
        let joined = halves.count == 2 ? String(halves[1]) : nil
        guard let value = joined ?? words.popFirst(), !value.isEmpty, !value.hasPrefix("-") else { return false }
        switch name {
        case "--api-socket": return set(&options.apiSocket, value)
        case "--api-group": return set(&options.apiGroup, value)
        case "--event-monitor": return set(&options.eventMonitor, value)
        case "--log-file": return set(&options.logFile, value)
        case "--self-test": return set(&options.selfTest, value)
        case "--restore": return set(&snapshot, value)
        case "--seccomp": return !runs && value == "false"
        default: return false
        }
    }

    private static func set(_ option: inout String?, _ value: String) -> Bool {
        guard option == nil else { return false }
        option = value
        return true
    }

    /// How many times `-v` stands in the word; nil if something else does.
    private static func verbosity(_ word: String) -> Int? {
        guard word.hasPrefix("-v"), word.dropFirst().allSatisfy({ $0 == "v" }) else { return nil }
        return word.utf8.count - 1
    }

    /// Does what the line says; the process's exit status.
    func perform() -> Int32 {
        switch self {
        case .run(let spec, let options): VMSession.run(options, spec: spec) { .boot(try SpecFile.read(spec)) }
        case .goOn(let directory, let options):
            VMSession.run(options) { .restore(try RunCommand.request(directory, RestoreOptions())) }
        case .restore(let list, let options):
            VMSession.run(options, words: FlagPlaces.words) { .restore(try RestoreRequest.parse(flag: list)) }
        case .wait(let options): VMSession.run(options, words: FlagPlaces.words) { nil }
        case .forked(let options, let number): VMSession.run(options, linkedBy: number)
        }
    }
}
