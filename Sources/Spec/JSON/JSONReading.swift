import FoundationEssentials

extension JSONValue {
    /// The one value that a JSON text holds.
    /// - Throws: `SpecError` with one issue of kind `.syntax`, which says line and column or names the place.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> JSONValue {
        let shape = try JSONStructure.check(bytes)
        do {
            return try JSONDecoder().decode(ShapedValue.self, from: Data(bytes), configuration: shape).value
        } catch let bad as BadText {
            let path = bad.way.reversed().reduce(SpecPath()) { path, step in
                switch step {
                case .index(let index): path.index(index)
                case .key(let key): path.key(key)
                }
            }
            throw SpecError(SpecIssue(.syntax, path.text(.json), BadText.words))
        } catch DecodingError.dataCorrupted {
            // The decoder's own first look found it.
            throw SpecError(SpecIssue(.syntax, "$", BadText.words))
        } catch {
            throw SpecError(SpecIssue(.syntax, "$", "not valid JSON: \(quoted("\(error)"))"))
        }
    }
}

/// A text that the decoder does not take.
private struct BadText: Error {
    static let words = "not valid JSON: this text is not UTF-8 or has an escape that JSON does not have"

    /// The way to it, the last step first: the decoder keeps none where a value has a configuration.
    var way: [Step] = []

    enum Step { case index(Int), key(String) }

    /// Does something one step down on the way.
    static func below<Result>(_ step: Step, _ body: () throws -> Result) throws -> Result {
        do { return try body() } catch var bad as BadText {
            bad.way.append(step)
            throw bad
        }
    }
}

/// A value that is decoded by its shape.
///
/// Without that each value would be decoded as one kind after the other, and each wrong guess costs an error; and an
/// object would be asked for its keys, on whose account the runtime looks through all conformances of the executable,
/// again and again. Reading a spec took twice as long.
private struct ShapedValue: DecodableWithConfiguration {
    let value: JSONValue

    /// The name of a member, whatever it is.
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder, configuration shape: JSONShape) throws {
        switch shape {
        case .null: value = .null
        case .bool: value = .bool(try decoder.singleValueContainer().decode(Bool.self))
        case .number(let text): value = .number(JSONNumber(try decoder.singleValueContainer(), writtenAs: text))
        case .string:
            guard let text = try? decoder.singleValueContainer().decode(String.self) else { throw BadText() }
            value = .string(text)
        case .array(let shapes):
            var items = try decoder.unkeyedContainer()
            value = .array(
                try shapes.enumerated().map { index, shape in
                    try BadText.below(.index(index)) {
                        try items.decode(ShapedValue.self, configuration: shape).value
                    }
                })
        case .object(let shapes):
            let members = try decoder.container(keyedBy: Key.self)
            var object = JSONObject()
            for (key, shape) in shapes {
                object[key] = try BadText.below(.key(key)) {
                    try members.decode(ShapedValue.self, forKey: Key(stringValue: key), configuration: shape).value
                }
            }
            value = .object(object)
        }
    }
}

extension JSONNumber {
    /// The integer that holds the value, or else how it is written.
    fileprivate init(_ container: any SingleValueDecodingContainer, writtenAs text: String?) {
        if let value = try? container.decode(Int64.self) {
            self = .signed(value)
        } else if let value = try? container.decode(UInt64.self) {
            self = .unsigned(value)
        } else {
            // A number that is written in plain digits is held by one of the two.
            self = .other(text ?? "a number")
        }
    }
}
