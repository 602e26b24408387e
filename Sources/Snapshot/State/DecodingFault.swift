import FoundationEssentials

/// What a decoder found wrong: the place, and words for it.
struct DecodingFault {
    private let error: any Error

    init(_ error: any Error) { self.error = error }

    /// The fault as an error of a file.
    ///
    /// - Parameter field: the place that the decoding began at, where the decoder does not know it.
    func snapshotError(in file: String?, under field: String? = nil) -> SnapshotError {
        if let error = error as? SnapshotError {
            let inner = error.file == nil ? Self.joined(field, error.field) : error.field
            return SnapshotError(error.kind, file: error.file ?? file, field: inner, error.words)
        }
        let (path, text) = parts
        let words = text.hasSuffix(".") ? String(text.dropLast()) : text
        let place = Self.text(path)
        let full = place.isEmpty ? field : place
        return SnapshotError(.malformed, file: file, field: full, "\(words); the file is damaged or was changed")
    }

    /// The decoder's path, the outermost key first, and what is wrong there.
    private var parts: ([any CodingKey], String) {
        switch error {
        case DecodingError.keyNotFound(let key, let context):
            return (context.codingPath + [key], "this field is missing")
        case DecodingError.typeMismatch(let type, let context):
            return (context.codingPath, "got \(Self.found(context)), expected \(Self.words(type))")
        case DecodingError.valueNotFound(let type, let context):
            return (context.codingPath, "got null, expected \(Self.words(type))")
        case DecodingError.dataCorrupted(let context): return (context.codingPath, context.debugDescription)
        case EncodingError.invalidValue(let value, let context):
            return (context.codingPath, "the value \(value) has no form in JSON: \(context.debugDescription)")
        default: return ([], "\(error)")
        }
    }

    /// What the decoder found, which it tells in a sentence alone: "Expected to decode … but found bool instead."
    private static func found(_ context: DecodingError.Context) -> String {
        let words = [
            ("a string", "a string"), ("an array", "an array"), ("a dictionary", "an object"),
            ("bool", "true or false"),
            ("null", "null"),
        ]
        return words.first { context.debugDescription.hasSuffix("found \($0.0) instead.") }?.1 ?? "a number"
    }

    /// What a field of a type may be.
    static func words(_ type: Any.Type) -> String {
        func range<Number: FixedWidthInteger>(_ type: Number.Type) -> String {
            "a whole number from \(Number.min) to \(Number.max)"
        }
        if let type = type as? any FixedWidthInteger.Type { return range(type) }
        if type == [String: Any].self { return "an object" }
        if type == [Any].self { return "an array" }
        if type == Bool.self { return "true or false" }
        return type == String.self ? "a string" : "a number"
    }

    private static func joined(_ outer: String?, _ inner: String?) -> String? {
        guard let outer, let inner, !inner.isEmpty else { return outer ?? inner }
        return inner.hasPrefix(outer) ? inner : "\(outer).\(inner)"
    }

    private static func text(_ path: [any CodingKey]) -> String {
        var text = ""
        for key in path {
            if let index = key.intValue {
                text += "[\(index)]"
            } else {
                text += (text.isEmpty ? "" : ".") + key.stringValue
            }
        }
        return text
    }
}
