/// A JSON text as a value (RFC 8259).
///
/// A number that no Swift type holds is still a value, so that the reader that knows its place in the document can
/// name it in the error.
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
        case .null, .bool, .number: String(text().prefix(80))
        }
    }
}

/// A JSON number: an integer of 64 bits where one holds it.
package enum JSONNumber: Sendable, Equatable {
    /// A whole number.
    case signed(Int64)
    /// A whole number that only an unsigned integer holds.
    case unsigned(UInt64)
    /// What no integer holds, as it is written: a fraction, 1e400, and what JSON does not allow, like 01.
    case other(String)

    /// A number from an integer.
    package init(_ value: some FixedWidthInteger) {
        if let value = Int64(exactly: value) {
            self = .signed(value)
        } else if let value = UInt64(exactly: value) {
            self = .unsigned(value)
        } else {
            self = .other(String(value))
        }
    }

    /// The number as text, one that no integer holds as it was written.
    package var text: String {
        switch self {
        case .signed(let value): String(value)
        case .unsigned(let value): String(value)
        case .other(let text): text
        }
    }

    /// The number as an integer; nil where it has a fraction or does not fit.
    package func integer<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer? {
        switch self {
        case .signed(let value): Integer(exactly: value)
        case .unsigned(let value): Integer(exactly: value)
        case .other: nil
        }
    }
}

/// A JSON object: its members in the order in which they were added, each key once.
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
