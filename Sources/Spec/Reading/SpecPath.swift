/// Where a value stands in a configuration.
struct SpecPath: Equatable {
    /// One step from a value to a part of it.
    enum Step: Equatable {
        case key(String)
        case index(Int)
        /// A key of an option list as it was typed, which no field needs to have.
        case option(String)
    }

    /// How a person who wrote the configuration would point at a place.
    enum Style {
        /// `$.disks[1].path`
        case json
        /// `--disk #2: key 'path'`
        case flags
    }

    var steps: [Step] = []

    /// The path of a member.
    func key(_ name: String) -> SpecPath { SpecPath(steps: steps + [.key(name)]) }

    /// The path of an option that was typed.
    func option(_ name: String) -> SpecPath { SpecPath(steps: steps + [.option(name)]) }

    /// The path of a list's item.
    func index(_ index: Int) -> SpecPath { SpecPath(steps: steps + [.index(index)]) }

    /// The path as text.
    func text(_ style: Style) -> String {
        switch style {
        case .json: "$" + Self.join(steps[...])
        case .flags: flagText()
        }
    }

    private func flagText() -> String {
        guard case .key(let section)? = steps.first else { return "command line" }
        if section == "payload" {
            guard case .key(let field)? = steps.dropFirst().first else { return "--kernel" }
            return "--\(field)"
        }
        let syntax = FlagSyntax.all.first { $0.section == section }
        var text = syntax?.flag ?? "--\(section)"
        var rest = steps.dropFirst()
        if case .index(let index)? = rest.first {
            if index > 0 { text += " #\(index + 1)" }
            rest = rest.dropFirst()
        }
        if case .option(let name)? = rest.first { return text + ": key '\(Self.printable(name))'" }
        // A console's mode is a key of its own for each mode, which the message names.
        if case .key(let field)? = rest.first, field != "mode" {
            let name = Self.flagName(field, syntax)
            text += ": key '\(name)\(Self.join(rest.dropFirst()))'"
        }
        return text
    }

    /// The name of the path's last field: the format's own, or the flag's key that sets it.
    func lastName(_ style: Style) -> String {
        guard case .key(let field)? = steps.last else { return "" }
        guard style == .flags, case .key(let section)? = steps.first else { return Self.printable(field) }
        return Self.flagName(field, FlagSyntax.all.first { $0.section == section })
    }

    private static func flagName(_ field: String, _ syntax: FlagSyntax?) -> String {
        printable(syntax?.keys.first { $0.field == field }?.name ?? field)
    }

    /// A name with everything escaped that would break a message's line, cut to a length that fits into it.
    private static func printable(_ name: String) -> String {
        isPlain(name) ? name : String(quoted(name).dropFirst().dropLast())
    }

    private static func join(_ steps: ArraySlice<Step>) -> String {
        var text = ""
        for step in steps {
            switch step {
            case .key(let name), .option(let name):
                text += isPlain(name) ? ".\(name)" : "[\(quoted(name))]"
            case .index(let index): text += "[\(index)]"
            }
        }
        return text
    }

    /// Whether a name can stand in a message as it is.
    private static func isPlain(_ name: String) -> Bool {
        1...64 ~= name.utf8.count && name.utf8.allSatisfy { isPlain($0) }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
