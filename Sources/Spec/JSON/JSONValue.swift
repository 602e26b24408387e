/// A JSON text as a value (RFC 8259).
///
/// Numbers keep the text they were written with: a number that no Swift type holds is still a value, so that the
/// reader that knows its place in the document can name both in the error.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(JSONNumber)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// A number from an integer of any width.
    package static func integer(_ value: some FixedWidthInteger) -> JSONValue { .number(JSONNumber(value)) }

    /// What the value is, for messages: `a string`, `a list`, …
    var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .number: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }

    /// The value as one short printable line, for messages.
    var excerpt: String {
        switch self {
        case .array(let items): items.isEmpty ? "[]" : "a list of \(items.count)"
        case .object(let object): object.keys.isEmpty ? "{}" : "an object"
        case .string(let text): quoted(text)
        case .null, .bool, .number: shortened(text())
        }
    }
}

/// A JSON number: what it means to each Swift type, and how it was written.
package struct JSONNumber: Sendable, Equatable {
    /// The number as written, in JSON's grammar.
    package let text: String

    /// A number that a parser has already checked against JSON's grammar.
    init(checked text: String) { self.text = text }

    /// A number from an integer.
    package init(_ value: some FixedWidthInteger) { text = String(value) }

    /// Whether it is written without a fraction and without an exponent.
    package var isWhole: Bool { !text.utf8.contains { $0 == 0x2e || $0 == 0x65 || $0 == 0x45 } }

    /// The number as an integer; nil where it is written with a fraction or an exponent, or does not fit.
    package func integer<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer? {
        isWhole ? Integer(text) : nil
    }

    /// The nearest double; nil where its magnitude is beyond a double's.
    package var double: Double? {
        guard let value = Double(text), value.isFinite else { return nil }
        return value
    }
}

/// A JSON object: its members in the order of the text, each key once.
package struct JSONObject: Sendable, Equatable {
    /// The keys, in order.
    package private(set) var keys: [String] = []
    private var values: [String: JSONValue] = [:]

    /// An object without members.
    package init() {}

    /// The member of that name; nil where there is none. Setting nil removes it.
    package subscript(key: String) -> JSONValue? {
        get { values[key] }
        set {
            if let newValue {
                if values.updateValue(newValue, forKey: key) == nil { keys.append(key) }
            } else if values.removeValue(forKey: key) != nil {
                keys.removeAll { $0 == key }
            }
        }
    }

    /// Two objects are equal when they have the same members, in any order.
    package static func == (left: JSONObject, right: JSONObject) -> Bool { left.values == right.values }
}

/// A text in quotation marks with control characters escaped, cut to a length that fits into a message.
func quoted(_ text: String) -> String {
    let value = JSONValue.string(String(text.unicodeScalars.prefix(80)))
    return text.unicodeScalars.count > 80 ? value.text() + "…" : value.text()
}

/// A text cut to a length that fits into a message.
func shortened(_ text: String) -> String {
    text.utf8.count > 80 ? String(text.prefix(80)) + "…" : text
}
