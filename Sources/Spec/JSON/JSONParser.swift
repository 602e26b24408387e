/// A strict reader of JSON text (RFC 8259).
///
/// It is stricter than common decoders where a silent choice would hide a mistake: a key that appears twice, a
/// trailing comma, a lone surrogate, a byte order mark and text after the value are errors. Each error says line and
/// column.
struct JSONParser {
    /// The deepest nesting of lists and objects; a VM's configuration needs six levels.
    static let maximumDepth = 128

    private let bytes: [UInt8]
    private var position = 0

    /// The one value that the bytes hold.
    /// - Throws: `SpecError` with one issue of kind `.syntax`.
    static func parse(_ bytes: [UInt8]) throws(SpecError) -> JSONValue {
        var parser = JSONParser(bytes: bytes)
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            throw parser.failure("the text starts with a byte order mark; save it as UTF-8 without one", at: 0)
        }
        parser.skipSpace()
        if parser.position == bytes.count {
            throw parser.failure("there is no value; give an object like {}", at: parser.position)
        }
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        if parser.position < bytes.count {
            throw parser.failure("found \(parser.found) after the end of the value; remove it", at: parser.position)
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
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case .some(let byte) where byte == UInt8(ascii: "-") || (0x30...0x39).contains(byte):
            return .number(try number())
        default: throw failure("expected a value, found \(found)", at: position)
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(SpecError) -> JSONValue {
        let text = word.description
        guard bytes[position...].starts(with: text.utf8) else {
            throw failure("expected a value, found \(found); a text goes into quotation marks", at: position)
        }
        position += text.utf8.count
        return value
    }

    private func checkDepth(_ depth: Int) throws(SpecError) {
        if depth > Self.maximumDepth {
            throw failure("nested deeper than \(Self.maximumDepth) levels", at: position)
        }
    }

    private mutating func array(depth: Int) throws(SpecError) -> JSONValue {
        try checkDepth(depth)
        var items: [JSONValue] = []
        position += 1
        skipSpace()
        if next == UInt8(ascii: "]") {
            position += 1
            return .array(items)
        }
        while true {
            skipSpace()
            items.append(try value(depth: depth))
            if try !another(closing: "]") { return .array(items) }
        }
    }

    private mutating func object(depth: Int) throws(SpecError) -> JSONValue {
        try checkDepth(depth)
        var object = JSONObject()
        position += 1
        skipSpace()
        if next == UInt8(ascii: "}") {
            position += 1
            return .object(object)
        }
        while true {
            skipSpace()
            let start = position
            guard next == UInt8(ascii: "\"") else {
                throw failure("expected a key in quotation marks, found \(found)", at: start)
            }
            let key = try string()
            if object[key] != nil {
                throw failure("key \(quoted(key)) appears twice in one object; keep one", at: start)
            }
            skipSpace()
            guard next == UInt8(ascii: ":") else {
                throw failure("expected ':' after key \(quoted(key)), found \(found)", at: position)
            }
            position += 1
            skipSpace()
            object[key] = try value(depth: depth)
            if try !another(closing: "}") { return .object(object) }
        }
    }

    /// Steps over a comma (true) or over the closing bracket (false).
    private mutating func another(closing: UnicodeScalar) throws(SpecError) -> Bool {
        skipSpace()
        if next == UInt8(ascii: ",") {
            position += 1
            return true
        }
        guard next == UInt8(ascii: closing) else {
            throw failure("expected ',' or '\(closing)', found \(found)", at: position)
        }
        position += 1
        return false
    }

    private mutating func number() throws(SpecError) -> JSONNumber {
        let start = position
        if next == UInt8(ascii: "-") { position += 1 }
        let leading = next
        let whole = digits()
        if whole == 0 { throw failure("expected a digit, found \(found)", at: position) }
        if whole > 1, leading == UInt8(ascii: "0") {
            throw failure("a number must not start with 0", at: start)
        }
        if next == UInt8(ascii: ".") {
            position += 1
            if digits() == 0 { throw failure("expected a digit after '.', found \(found)", at: position) }
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            if digits() == 0 { throw failure("expected a digit in the exponent, found \(found)", at: position) }
        }
        return JSONNumber(checked: String(decoding: bytes[start..<position], as: UTF8.self))
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = next, byte >= 0x30, byte <= 0x39 { position += 1 }
        return position - start
    }

    private mutating func string() throws(SpecError) -> String {
        let start = position
        position += 1
        var content: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                guard let text = String(validating: content, as: UTF8.self) else {
                    throw failure("this text is not UTF-8; save the file as UTF-8", at: start)
                }
                return text
            case UInt8(ascii: "\\"):
                content.append(contentsOf: Array(String(try escape()).utf8))
            case 0..<0x20:
                throw failure("a control character in a text must be escaped, found \(found)", at: position)
            default:
                content.append(byte)
                position += 1
            }
        }
        throw failure("this text has no closing quotation mark", at: start)
    }

    private mutating func escape() throws(SpecError) -> UnicodeScalar {
        let start = position
        position += 1
        let letter = next
        position += 1
        switch letter {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw failure("unknown escape in a text; write a backslash as \\\\", at: start)
        }
        let first = try codeUnit(start)
        if let scalar = UnicodeScalar(first) { return scalar }
        guard first < 0xdc00, next == UInt8(ascii: "\\") else {
            throw failure("half of a surrogate pair in a text", at: start)
        }
        position += 1
        guard next == UInt8(ascii: "u") else { throw failure("half of a surrogate pair in a text", at: start) }
        position += 1
        let second = try codeUnit(start)
        guard (0xdc00..<0xe000).contains(second),
            let scalar = UnicodeScalar(0x10000 + (UInt32(first - 0xd800) << 10) + UInt32(second - 0xdc00))
        else { throw failure("half of a surrogate pair in a text", at: start) }
        return scalar
    }

    private mutating func codeUnit(_ start: Int) throws(SpecError) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                throw failure("\\u needs four hexadecimal digits", at: start)
            }
            unit = unit << 4 | UInt16(truncatingIfNeeded: digit)
            position += 1
        }
        return unit
    }

    /// An error at an offset, with its line and its column in characters, both from 1.
    private func failure(_ message: String, at offset: Int) -> SpecError {
        let before = bytes.prefix(offset)
        let line = before.count { $0 == 0x0a } + 1
        let column = before.reversed().prefix { $0 != 0x0a }.count { $0 & 0xc0 != 0x80 } + 1
        return SpecError(
            SpecIssue(.syntax, "$", "not valid JSON at line \(line), column \(column): \(message)"))
    }
}
