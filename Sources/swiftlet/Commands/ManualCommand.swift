import ArgumentParser
import FoundationEssentials
import Host

/// `swiftlet manual DIRECTORY`
struct ManualCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manual", abstract: "Write a manual page for every command.",
        discussion: "The pages go into section 1 of a manual, for example /usr/local/share/man/man1.")

    @Argument(help: "An existing directory for the pages.", completion: .directory) var directory: String

    func run() throws {
        do {
            let tool = try JSONDecoder().decode(ToolDescription.self, from: Data(Swiftlet._dumpHelp().utf8))
            for command in tool.command.all {
                let page = ManualPage(command: command, version: Version.own)
                let path = "\(directory)/\(page.fileName)"
                let file = try FileDescriptor.createForOutput(path)
                do {
                    try file.writeAll(Array(page.text.utf8))
                } catch {
                    throw HostError("write", path, error)
                }
            }
        } catch let error as HostError {
            StandardStreams.error("swiftlet: \(error); name a directory that exists and can be written")
            throw ExitCode(ExitStatus.badSpec)
        }
    }
}

/// `swiftlet completions SHELL`
struct CompletionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completions", abstract: "Print a script that completes command lines.",
        discussion: """
            bash: put it into /usr/share/bash-completion/completions/swiftlet; zsh: into a directory of fpath as \
            _swiftlet; fish: into ~/.config/fish/completions/swiftlet.fish.
            """)

    /// The shells that have one.
    enum Shell: String, ExpressibleByArgument, CaseIterable {
        case bash, zsh, fish

        var kind: CompletionShell {
            switch self {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        }
    }

    @Argument(help: "bash, zsh or fish") var shell: Shell

    func run() {
        let script = Swiftlet.completionScript(for: shell.kind)
        StandardStreams.out(shell == .bash ? BashCompletion.withDefaultSubcommand(script) : script)
    }
}

/// What the library's script for bash does not know.
enum BashCompletion {
    /// The script, which then completes options without a subcommand as those of the default one, as they are parsed.
    static func withDefaultSubcommand(_ script: String) -> String {
        guard let subcommand = Swiftlet.configuration.defaultSubcommand?.configuration.commandName else {
            return script
        }
        let function = "_swiftlet() {\n"
        let start = "    __swiftlet_offer_flags_options 0\n"
        guard let body = script.firstRange(of: function),
            let place = script[body.upperBound...].firstRange(of: start)
        else { return script }
        let choice = """
                if [[ "${unparsed_words[0]}" = -* ]]; then
                    _swiftlet_\(subcommand)
                    return
                fi

            """
        return script[..<place.lowerBound] + choice + script[place.lowerBound...]
    }
}
