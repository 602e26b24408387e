/// A manual page, section 1, in the macros of man(7).
struct ManualPage {
    let command: CommandDescription
    /// The version in the page's foot.
    let version: String

    /// The file's name.
    var fileName: String { "\(command.page).1" }

    /// The page.
    var text: String {
        var lines = [
            ".TH \(Self.quoted(command.page.uppercased())) 1 \"\" \(Self.quoted(version)) \"User Commands\"",
            // Lists of keys are long words: set flush right, the lines around them would have holes.
            ".ad l", ".SH NAME", "\(Self.escaped(command.page)) \\- \(Self.escaped(command.abstract ?? ""))",
            ".SH SYNOPSIS", synopsis,
        ]
        if let discussion = command.discussion, !discussion.isEmpty {
            lines += [".SH DESCRIPTION"] + Self.paragraphs(discussion)
        }
        if !command.shown.isEmpty { lines += [".SH OPTIONS"] + command.shown.flatMap(Self.entry) }
        if !command.children.isEmpty {
            lines.append(".SH COMMANDS")
            for child in command.children {
                lines += [".TP", ".B \(Self.quoted(child.commandName))", Self.line(child.abstract ?? "")]
            }
        }
        let related = seeAlso
        if !related.isEmpty { lines += [".SH SEE ALSO", related] }
        return lines.joined(separator: "\n") + "\n"
    }

    private var synopsis: String {
        var parts = ["\\fB\(Self.escaped(command.words.joined(separator: " ")))\\fR"]
        for argument in command.shown {
            var text = Self.usage(argument)
            if argument.isRepeating { text += " ..." }
            parts.append(argument.isOptional ? "[\(text)]" : text)
        }
        if !command.children.isEmpty { parts.append("\\fIcommand\\fR ...") }
        return parts.joined(separator: "\n")
    }

    private static func usage(_ argument: CommandDescription.Argument) -> String {
        let value = "\\fI\(escaped(argument.valueName ?? "value"))\\fR"
        guard let name = argument.names?.first(where: { $0.kind == "long" }) ?? argument.names?.first else {
            return value
        }
        let typed = "\\fB\(escaped(name.typed))\\fR"
        return argument.kind == "flag" ? typed : "\(typed) \(value)"
    }

    private static func entry(_ argument: CommandDescription.Argument) -> [String] {
        let names = (argument.names ?? []).map { "\\fB\(escaped($0.typed))\\fR" }.joined(separator: ", ")
        let value = argument.kind == "flag" ? "" : "\\fI\(escaped(argument.valueName ?? "value"))\\fR"
        let head = [names, value].filter { !$0.isEmpty }.joined(separator: " ")
        var texts = [argument.abstract, argument.discussion].compactMap { $0 }.filter { !$0.isEmpty }
        if let values = argument.allValues, !values.isEmpty {
            texts.append("Values: \(values.joined(separator: ", ")).")
        }
        if let value = argument.defaultValue, !value.isEmpty { texts.append("Default: \(value).") }
        return [".TP", head] + (texts.isEmpty ? ["\\&"] : texts.map(line))
    }

    private var seeAlso: String {
        let parent = command.superCommands.flatMap { $0.isEmpty ? nil : $0.joined(separator: "-") }
        let pages = [parent].compactMap { $0 } + command.children.map(\.page)
        return pages.map { "\\fB\(Self.escaped($0))\\fR(1)" }.joined(separator: ",\n")
    }

    private static func paragraphs(_ text: String) -> [String] {
        var lines: [String] = []
        for part in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if part.isEmpty {
                if lines.last != ".PP" { lines.append(".PP") }
            } else {
                lines.append(line(String(part)))
            }
        }
        return lines
    }

    /// A line of text that no macro's name begins. A list of keys may be broken between them.
    private static func line(_ text: String) -> String {
        var text = escaped(text)
        for sign in [",", "|"] {
            // At the ends of words lines are broken as it is.
            text = text.replacing(sign, with: "\(sign)\\:").replacing("\(sign)\\: ", with: "\(sign) ")
        }
        return text.hasPrefix(".") || text.hasPrefix("'") ? "\\&" + text : text
    }

    /// A macro's argument.
    private static func quoted(_ text: String) -> String { "\"\(escaped(text).replacing("\"", with: "\\(dq"))\"" }

    /// Text without what roff reads as its own; what is beyond ASCII by its number.
    private static func escaped(_ text: String) -> String {
        var output = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": output += "\\e"
            case "-": output += "\\-"
            case "'": output += "\\(aq"
            case "`": output += "\\(ga"
            case "^": output += "\\(ha"
            case "~": output += "\\(ti"
            case "\n": output += " "
            default:
                if scalar.isASCII {
                    output.unicodeScalars.append(scalar)
                } else {
                    let digits = String(scalar.value, radix: 16, uppercase: true)
                    output += "\\[u\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits)]"
                }
            }
        }
        return output
    }
}
