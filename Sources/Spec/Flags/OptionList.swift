/// An option list as Cloud Hypervisor's flags take it: `key=value,key=value`.
///
/// Commas inside quotation marks or brackets do not separate. Quotation marks are removed from values; two in a row
/// inside quotation marks stand for one.
enum OptionList {
    /// One option: its key, and the text after '=' where there is one.
    struct Option: Equatable {
        let key: String
        let value: String?
    }

    /// What keeps a text from being an option list.
    struct Malformed: Error, Equatable {
        let message: String
    }

    /// The options in order; none for a blank text.
    static func options(_ text: String) throws(Malformed) -> [Option] {
        let text = trimmed(text)
        if text.isEmpty { return [] }
        return try split(text).map { part in
            guard let equals = part.utf8.firstIndex(of: UInt8(ascii: "=")) else { return Option(key: part, value: nil) }
            let value = part[part.utf8.index(after: equals)...]
            return Option(key: String(part[..<equals]), value: trimmed(String(value)))
        }
    }

    /// The parts between the commas outside quotation marks and brackets, with their quotation marks.
    static func split(_ text: String) throws(Malformed) -> [String] {
        var parts: [String] = []
        var current: [UInt8] = []
        var depth = 0
        var quoting = false
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): quoting.toggle()
            case _ where quoting: break
            case UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "]"):
                if depth == 0 { throw Malformed(message: "a ']' without its '['") }
                depth -= 1
            case UInt8(ascii: ",") where depth == 0:
                parts.append(String(decoding: current, as: UTF8.self))
                current = []
                continue
            default: break
            }
            current.append(byte)
        }
        if quoting { throw Malformed(message: "a quotation mark without its partner") }
        if depth > 0 { throw Malformed(message: "a '[' without its ']'") }
        return parts + [String(decoding: current, as: UTF8.self)]
    }

    /// A value without its quotation marks.
    static func unquoted(_ text: String) -> String {
        var output: [UInt8] = []
        var quoting = false
        var previous: UInt8 = 0
        for byte in text.utf8 {
            if byte == UInt8(ascii: "\"") {
                if previous == byte, !quoting { output.append(byte) }
                quoting.toggle()
            } else {
                output.append(byte)
            }
            previous = byte
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// The numbers of a list like `[0,2-4]`; brackets may be left out. nil where it is not one, or longer than 8192.
    static func integers(_ text: String) -> [UInt64]? {
        var body = trimmed(text)[...]
        if body.hasPrefix("["), body.hasSuffix("]"), body.utf8.count >= 2 { body = body.dropFirst().dropLast() }
        var numbers: [UInt64] = []
        for part in body.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
            guard let first = ends.first.flatMap({ number(String($0)) }) else { return nil }
            guard ends.count <= 2, let last = ends.count == 1 ? first : number(String(ends[1])) else { return nil }
            if ends.count == 2, first >= last { return nil }
            guard last - first < 8192, numbers.count < 8192 else { return nil }
            numbers.append(contentsOf: first...last)
        }
        return numbers
    }

    /// A decimal number without a sign.
    static func number(_ text: String) -> UInt64? {
        let text = trimmed(text)
        guard text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return UInt64(text)
    }

    /// Bytes: a number with an optional K, M, G (powers of 1024). nil where it is not one or does not fit 64 bits.
    static func size(_ text: String) -> UInt64? {
        var digits = trimmed(text)
        var shift: UInt64 = 0
        switch digits.last {
        case "K": shift = 10
        case "M": shift = 20
        case "G": shift = 30
        default: break
        }
        if shift > 0 { digits.removeLast() }
        guard let value = number(digits) else { return nil }
        let (bytes, overflow) = value.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : bytes
    }

    /// A text without the spaces, tabs and line ends around it.
    static func trimmed(_ text: String) -> String {
        let space: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d]
        let bytes = Array(text.utf8)
        guard let first = bytes.firstIndex(where: { !space.contains($0) }),
            let last = bytes.lastIndex(where: { !space.contains($0) })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }
}
