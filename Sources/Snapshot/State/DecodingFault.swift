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
            return (context.codingPath, "this is no \(type): \(context.debugDescription)")
        case DecodingError.valueNotFound(let type, let context):
            return (context.codingPath, "this is null and has to be a value of \(type)")
        case DecodingError.dataCorrupted(let context):
            let below = context.underlyingError.map { ": \($0)" } ?? ""
            return (context.codingPath, context.debugDescription + below)
        case EncodingError.invalidValue(let value, let context):
            return (context.codingPath, "the value \(value) has no form in JSON: \(context.debugDescription)")
        default: return ([], "\(error)")
        }
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
