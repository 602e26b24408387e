/// A command as ArgumentParser describes it (`--experimental-dump-help`, serialization version 0): what manual pages are
/// made of.
struct CommandDescription: Decodable {
    /// An option, flag or positional argument.
    struct Argument: Decodable {
        struct Name: Decodable {
            let kind: String
            let name: String

            /// The name as it is typed.
            var typed: String { (kind == "long" ? "--" : "-") + name }
        }

        let kind: String
        let shouldDisplay: Bool
        let isOptional: Bool
        let isRepeating: Bool
        let names: [Name]?
        let valueName: String?
        let defaultValue: String?
        let allValues: [String]?
        let abstract: String?
        let discussion: String?
    }

    let superCommands: [String]?
    let commandName: String
    let abstract: String?
    let discussion: String?
    let subcommands: [CommandDescription]?
    let arguments: [Argument]?

    /// The commands above it and itself: `swiftlet ctl info`.
    var words: [String] { (superCommands ?? []) + [commandName] }
    /// The name of its page: `swiftlet-ctl-info`.
    var page: String { words.joined(separator: "-") }
    /// What help does not show is not in the manual.
    var shown: [Argument] { (arguments ?? []).filter(\.shouldDisplay) }
    /// The commands below it; help is the parser's own.
    var children: [CommandDescription] { (subcommands ?? []).filter { $0.commandName != "help" } }
    /// It and all that is below it.
    var all: [CommandDescription] { [self] + children.flatMap(\.all) }
}

/// The whole description.
struct ToolDescription: Decodable {
    let serializationVersion: Int
    let command: CommandDescription
}
