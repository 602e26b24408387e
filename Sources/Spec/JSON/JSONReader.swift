import FoundationEssentials

/// Reads a JSON text, and says of what is wrong where it is: a bracket, comma or key, a trailing comma, a key that appears
/// twice, a byte order mark, and nesting or length that would cost the reader its stack or its time.
///
/// The library's decoder says none of this, and walks a text by reflection: most of what it costs is the same for a text
/// of one line. It has the last word on strings and numbers that are not plain.
struct JSONReader {
    /// The deepest nesting of lists and objects; a VM's configuration needs six levels.
    static let maximumDepth = 128
    /// The most values in one text.
    static let maximumValues = 100_000

    private let bytes: [UInt8]
    private var position = 0
    private var values = 0
    /// The keys and indices that lead to the position.
    private var path = SpecPath()

    /// Reads a whole text.
    /// - Throws: `SpecError` with one issue of kind `.syntax`, which says line and column or names the place.
    static func read(_ bytes: [UInt8]) throws(SpecError) -> JSONValue {
        var reader = JSONReader(bytes: bytes)
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            throw reader.failure("the text starts with a byte order mark; save it as UTF-8 without one")
        }
        reader.skipSpace()
        if reader.next == nil { throw reader.failure("there is no value; give an object like {}") }
        let value = try reader.value(depth: 1)
        reader.skipSpace()
        if reader.next != nil {
            throw reader.failure("found \(reader.found) after the end of the value; remove it")
        }
        return value
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

    private mutating func value(depth: Int) throws(SpecError) -> JSONValue {
        values += 1
        if values > Self.maximumValues { throw failure("more than \(Self.maximumValues) values") }
        switch next {
        case UInt8(ascii: "{"): return .object(try object(depth))
        case UInt8(ascii: "["): return .array(try array(depth))
        case UInt8(ascii: "\""):
            guard let text = Self.decoded(try string()) else {
                let message = "not valid JSON: this text is not UTF-8 or has an escape that JSON does not have"
                throw SpecError(SpecIssue(.syntax, path.text(.json), message))
            }
            return .string(text)
        case UInt8(ascii: "-"), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return .number(number())
        default:
            let words: [(String, JSONValue)] = [("true", .bool(true)), ("false", .bool(false)), ("null", .null)]
            for (word, value) in words where bytes[position...].starts(with: word.utf8) {
                position += word.utf8.count
                return value
            }
            let isWord = next.map { $0 | 0x20 >= UInt8(ascii: "a") && $0 | 0x20 <= UInt8(ascii: "z") } ?? false
            throw failure("expected a value, found \(found)\(isWord ? "; a text goes into quotation marks" : "")")
        }
    }

    /// Reads the bytes that numbers consist of.
    private mutating func number() -> JSONNumber {
        let start = position
        while let byte = next, (0x30...0x39).contains(byte) || "+-.eE".utf8.contains(byte) { position += 1 }
        let text = bytes[start..<position]
        let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
        let isPlain = 1...18 ~= digits.count && digits.allSatisfy { 0x30...0x39 ~= $0 }
        if isPlain, digits.count == 1 || digits.first != 0x30 {
            let value = digits.reduce(0 as Int64) { $0 * 10 + Int64($1 - 0x30) }
            return .signed(digits.count < text.count ? -value : value)
        }
        let data = Data(text)
        if let value = try? JSONDecoder().decode(Int64.self, from: data) { return .signed(value) }
        if let value = try? JSONDecoder().decode(UInt64.self, from: data) { return .unsigned(value) }
        return .other(String(decoding: text, as: UTF8.self))
    }

    private mutating func array(_ depth: Int) throws(SpecError) -> [JSONValue] {
        var items: [JSONValue] = []
        try members(depth, closing: "]") { reader, index throws(SpecError) in
            reader.path.steps.append(.index(index))
            items.append(try reader.value(depth: depth + 1))
        }
        return items
    }

    private mutating func object(_ depth: Int) throws(SpecError) -> JSONObject {
        var object = JSONObject()
        try members(depth, closing: "}") { reader, _ throws(SpecError) in
            let key = try reader.key(unlessIn: object)
            reader.path.steps.append(.key(key))
            object[key] = try reader.value(depth: depth + 1)
        }
        object.sortKeys()
        return object
    }

    /// Reads the members of a list or an object; `read` takes one, at its index, and leaves its step in the path.
    private mutating func members(
        _ depth: Int, closing: UnicodeScalar, _ read: (inout JSONReader, Int) throws(SpecError) -> Void
    ) throws(SpecError) {
        if depth > Self.maximumDepth {
            throw failure("nested deeper than \(Self.maximumDepth) levels; a spec needs six")
        }
        position += 1
        skipSpace()
        var index = 0
        while index > 0 || next != UInt8(ascii: closing) {
            try read(&self, index)
            path.steps.removeLast()
            skipSpace()
            if next == UInt8(ascii: closing) { break }
            guard next == UInt8(ascii: ",") else { throw failure("expected ',' or '\(closing)', found \(found)") }
            position += 1
            skipSpace()
            index += 1
        }
        position += 1
    }

    /// Reads a key that no other member has, and steps over its colon.
    private mutating func key(unlessIn object: JSONObject) throws(SpecError) -> String {
        let start = position
        guard next == UInt8(ascii: "\"") else { throw failure("expected a key in quotation marks, found \(found)") }
        guard let key = Self.decoded(try string()) else {
            throw failure("this key is not UTF-8 or has an escape that JSON does not have", at: start)
        }
        if object[key] != nil {
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

    /// The text that stands in quotation marks; nil where it is not UTF-8 or has a wrong escape.
    private static func decoded(_ text: ArraySlice<UInt8>) -> String? {
        let isPlain = text.allSatisfy { $0 < 0x80 && $0 != UInt8(ascii: "\\") }
        if isPlain { return String(decoding: text.dropFirst().dropLast(), as: UTF8.self) }
        return try? JSONDecoder().decode(String.self, from: Data(text))
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

extension JSONValue {
    /// The one value that a JSON text holds.
    /// - Throws: `SpecError` with one issue of kind `.syntax`, which says line and column or names the place.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> JSONValue { try JSONReader.read(bytes) }
}
