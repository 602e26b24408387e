import FoundationEssentials

/// What a JSON text holds, without its texts and numbers.
enum JSONShape: Sendable {
    case null, bool, string
    /// With how it is written, if that is not plain: 64 bits may not hold it, and the decoder keeps no text that a
    /// message could show.
    case number(String?)
    case array([JSONShape])
    /// The members by their keys, in the order of the keys.
    case object([(key: String, shape: JSONShape)])
}

/// The scan of a JSON text that comes before the decoder: it finds the text's shape, and checks for what the decoder says of none of them where they are or lets them
/// pass: a wrong bracket, comma or key, a trailing comma, a key that appears twice, a byte order mark, and nesting or
/// length that would cost the decoder its stack or its time.
///
/// What stands inside strings and numbers is the decoder's business.
struct JSONStructure {
    /// The deepest nesting of lists and objects; a VM's configuration needs six levels.
    static let maximumDepth = 128
    /// The most values in one text; the decoder takes about a microsecond for each.
    static let maximumValues = 100_000

    private let bytes: [UInt8]
    private var position = 0
    private var values = 0

    /// Checks a whole text.
    /// - Returns: of what kind each of its values is.
    /// - Throws: `SpecError` with one issue of kind `.syntax`, which says line and column.
    static func check(_ bytes: [UInt8]) throws(SpecError) -> JSONShape {
        var structure = JSONStructure(bytes: bytes)
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            throw structure.failure("the text starts with a byte order mark; save it as UTF-8 without one")
        }
        structure.skipSpace()
        if structure.next == nil { throw structure.failure("there is no value; give an object like {}") }
        let shape = try structure.value(depth: 1)
        structure.skipSpace()
        if structure.next != nil {
            throw structure.failure("found \(structure.found) after the end of the value; remove it")
        }
        return shape
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// What stands at the position, for messages.
    private var found: String {
        guard let byte = next else { return "the end of the text" }
        if byte > 0x20, byte < 0x7f { return "'\(Character(UnicodeScalar(byte)))'" }
        let digits = String(byte, radix: 16)
        return "byte 0x\(digits.count < 2 ? "0" : "")\(digits)"
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func value(depth: Int) throws(SpecError) -> JSONShape {
        values += 1
        if values > Self.maximumValues { throw failure("more than \(Self.maximumValues) values") }
        switch next {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["):
            var items: [JSONShape] = []
            try parts(depth, closing: "]") { part throws(SpecError) in items.append(try part.value(depth: depth + 1)) }
            return .array(items)
        case UInt8(ascii: "\""):
            _ = try string()
            return .string
        case UInt8(ascii: "-"), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return .number(number())
        default:
            for (word, shape) in [("true", JSONShape.bool), ("false", .bool), ("null", .null)]
            where bytes[position...].starts(with: word.utf8) {
                position += word.utf8.count
                return shape
            }
            let isWord = next.map { $0 | 0x20 >= UInt8(ascii: "a") && $0 | 0x20 <= UInt8(ascii: "z") } ?? false
            throw failure("expected a value, found \(found)\(isWord ? "; a text goes into quotation marks" : "")")
        }
    }

    /// Steps over the bytes that numbers consist of; what they are, where that is no plain integer.
    private mutating func number() -> String? {
        let start = position
        while let byte = next, (0x30...0x39).contains(byte) || "+-.eE".utf8.contains(byte) { position += 1 }
        let text = bytes[start..<position]
        let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
        let isPlain = 1...18 ~= digits.count && digits.allSatisfy { 0x30...0x39 ~= $0 }
        if isPlain, digits.count == 1 || digits.first != 0x30 { return nil }
        return String(decoding: text, as: UTF8.self)
    }

    /// Steps over an object.
    private mutating func object(_ depth: Int) throws(SpecError) -> JSONShape {
        var keys: Set<String> = []
        var members: [(key: String, shape: JSONShape)] = []
        try parts(depth, closing: "}") { part throws(SpecError) in
            let key = try part.key(&keys)
            members.append((key, try part.value(depth: depth + 1)))
        }
        return .object(members.sorted { $0.key < $1.key })
    }

    /// Steps over a list or an object, each of whose parts `step` steps over.
    private mutating func parts(
        _ depth: Int, closing: UnicodeScalar, step: (inout JSONStructure) throws(SpecError) -> Void
    ) throws(SpecError) {
        if depth > Self.maximumDepth {
            throw failure("nested deeper than \(Self.maximumDepth) levels; a spec needs six")
        }
        position += 1
        skipSpace()
        var isFirst = true
        while !isFirst || next != UInt8(ascii: closing) {
            isFirst = false
            try step(&self)
            skipSpace()
            if next == UInt8(ascii: closing) { break }
            guard next == UInt8(ascii: ",") else { throw failure("expected ',' or '\(closing)', found \(found)") }
            position += 1
            skipSpace()
        }
        position += 1
    }

    /// Steps over a key that no other member has, and its colon.
    private mutating func key(_ keys: inout Set<String>) throws(SpecError) -> String {
        let start = position
        guard next == UInt8(ascii: "\"") else { throw failure("expected a key in quotation marks, found \(found)") }
        let text = try string()
        let isPlain = text.allSatisfy { $0 < 0x80 && $0 != UInt8(ascii: "\\") }
        let decoded =
            isPlain
            ? String(decoding: text.dropFirst().dropLast(), as: UTF8.self)
            : try? JSONDecoder().decode(String.self, from: Data(text))
        guard let key = decoded else {
            throw failure("this key is not UTF-8 or has an escape that JSON does not have", at: start)
        }
        if !keys.insert(key).inserted {
            throw failure("key \(quoted(key)) appears twice in one object; keep one", at: start)
        }
        skipSpace()
        guard next == UInt8(ascii: ":") else {
            throw failure("expected ':' after key \(quoted(key)), found \(found)")
        }
        position += 1
        skipSpace()
        return key
    }

    /// Steps over a string; its bytes, with the quotation marks.
    private mutating func string() throws(SpecError) -> ArraySlice<UInt8> {
        let start = position
        position += 1
        while let byte = next, byte != UInt8(ascii: "\"") {
            if byte < 0x20 { throw failure("a control character in a text must be escaped, found \(found)") }
            position += byte == UInt8(ascii: "\\") ? 2 : 1
        }
        guard next != nil else { throw failure("this text has no closing quotation mark", at: start) }
        position += 1
        return bytes[start..<position]
    }

    /// An error at the position or at an offset, with its line and its column in characters, both from 1.
    private func failure(_ message: String, at offset: Int? = nil) -> SpecError {
        let before = bytes.prefix(offset ?? position)
        let line = before.count { $0 == 0x0a } + 1
        let column = before.reversed().prefix { $0 != 0x0a }.count { $0 & 0xc0 != 0x80 } + 1
        return SpecError(
            SpecIssue(.syntax, "$", "not valid JSON at line \(line), column \(column): \(message)"))
    }
}
