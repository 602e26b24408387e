/// How `JSONValue.text` lays its text out.
package enum JSONLayout: Sendable {
    /// One line without spaces, as API replies are sent.
    case compact
    /// Two spaces for each level, for people.
    case indented
}

extension JSONValue {
    /// The value as JSON text (RFC 8259); invisible characters are escaped, everything else stands as it is.
    ///
    /// JSONEncoder does not do this: it knows no order of members but the alphabet's or none, and a configuration that
    /// people read has `cpus` before `console`, and `path` near the front of a disk.
    package func text(_ layout: JSONLayout = .compact) -> String {
        var writer = JSONWriter(layout: layout)
        writer.write(self, depth: 0)
        return writer.output
    }
}

private struct JSONWriter {
    let layout: JSONLayout
    var output = ""

    mutating func write(_ value: JSONValue, depth: Int) {
        switch value {
        case .null: output += "null"
        case .bool(let flag): output += flag ? "true" : "false"
        case .number(let number): output += number.text
        case .string(let text): write(text)
        case .array(let items):
            output += "["
            for (index, item) in items.enumerated() {
                separate(index, depth + 1)
                write(item, depth: depth + 1)
            }
            close("]", empty: items.isEmpty, depth)
        case .object(let object):
            output += "{"
            for (index, key) in object.keys.enumerated() {
                separate(index, depth + 1)
                write(key)
                output += layout == .indented ? ": " : ":"
                write(object[key] ?? .null, depth: depth + 1)
            }
            close("}", empty: object.keys.isEmpty, depth)
        }
    }

    private mutating func separate(_ index: Int, _ depth: Int) {
        if index > 0 { output += "," }
        newLine(depth)
    }

    private mutating func close(_ bracket: String, empty: Bool, _ depth: Int) {
        if !empty { newLine(depth) }
        output += bracket
    }

    private mutating func newLine(_ depth: Int) {
        guard layout == .indented else { return }
        output += "\n" + String(repeating: "  ", count: depth)
    }

    private mutating func write(_ text: String) {
        output += "\""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22: output += "\\\""
            case 0x5c: output += "\\\\"
            case 0x0a: output += "\\n"
            case 0x0d: output += "\\r"
            case 0x09: output += "\\t"
            case 0x20..<0x7f: output.unicodeScalars.append(scalar)
            default: writeBeyondASCII(scalar)
            }
        }
        output += "\""
    }

    /// Controls, line separators and marks of direction would break or disguise the line that they stand in.
    private mutating func writeBeyondASCII(_ scalar: Unicode.Scalar) {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator:
            for unit in String(scalar).utf16 {
                let digits = String(unit, radix: 16)
                output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
        default: output.unicodeScalars.append(scalar)
        }
    }
}
