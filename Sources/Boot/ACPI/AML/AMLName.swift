/// The encodings of names and of other text with a form of its own.
enum AMLName {
    /// A single name: a capital or `_`, then up to three capitals, digits or `_`; short names are filled with `_`
    /// (ACPI 6.5, 20.2.2, NameSeg).
    static func append(segment name: Substring.UTF8View, of whole: String, to bytes: inout [UInt8]) throws(ACPIError) {
        guard (1...4).contains(name.count) else {
            throw .badName(whole, reason: "\"\(Substring(name))\" does not have 1 to 4 characters")
        }
        let start = bytes.count
        for byte in name {
            let letter = isCapital(byte) || byte == UInt8(ascii: "_")
            guard letter || (bytes.count > start && isDigit(byte)) else {
                throw .badName(
                    whole, reason: "\"\(Substring(name))\" is not made of capitals, _ and, after the first, digits")
            }
            bytes.append(byte)
        }
        while bytes.count < start + 4 { bytes.append(UInt8(ascii: "_")) }
    }

    /// A path: `\` or `^`s, then names joined by dots (ACPI 6.5, 20.2.2, NameString).
    static func path(_ text: String) throws(ACPIError) -> [UInt8] {
        // In bytes: characters take longer.
        var rest = text[...].utf8
        var bytes: [UInt8] = []
        if rest.first == UInt8(ascii: "\\") {
            bytes.append(rest.removeFirst())
        } else {
            while rest.first == UInt8(ascii: "^") { bytes.append(rest.removeFirst()) }
        }
        if rest.isEmpty {
            guard !bytes.isEmpty else { throw .badName(text, reason: "it is empty") }
            return bytes + [0x00]
        }
        let dot = UInt8(ascii: ".")
        let names = rest.count { $0 == dot } + 1
        switch names {
        case 1: break
        case 2: bytes.append(0x2E)
        case 3...255: bytes += [0x2F, UInt8(truncatingIfNeeded: names)]
        default: throw .badName("\(text.prefix(40))…", reason: "it has more than 255 parts")
        }
        for _ in 0..<names {
            try append(segment: rest.prefix { $0 != dot }, of: text, to: &bytes)
            rest = rest.drop { $0 != dot }.dropFirst()
        }
        return bytes
    }

    /// The path of an object that a term declares, which the root is not.
    static func declared(_ text: String) throws(ACPIError) -> [UInt8] {
        let bytes = try path(text)
        guard bytes.last != 0x00 else { throw .badName(text, reason: "it names no object that could be declared") }
        return bytes
    }

    /// The number that stands for an id such as `PNP0A08` (ACPI 6.5, 19.3.4, EISAID).
    static func eisaID(_ text: String) throws(ACPIError) -> UInt64 {
        let bytes = [UInt8](text.utf8)
        let expected = "three capitals and four hexadecimal digits"
        guard bytes.count == 7, bytes.prefix(3).allSatisfy(isCapital) else {
            throw .badText(text, expected: expected)
        }
        var packed: UInt32 = 0
        for letter in bytes.prefix(3) { packed = packed << 5 | UInt32(letter - 0x40) }
        for digit in bytes.dropFirst(3) {
            guard let value = hexadecimal(digit) else { throw .badText(text, expected: expected) }
            packed = packed << 4 | UInt32(value)
        }
        return UInt64(packed.byteSwapped)
    }

    /// The 16 bytes of a UUID: its first three groups least significant byte first (ACPI 6.5, 19.6.142, ToUUID).
    static func uuid(_ text: String) throws(ACPIError) -> [UInt8] {
        let expected = "a UUID such as 33db4d5b-1ff7-401c-9657-7441c03dd766"
        let groups = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard groups.map(\.count) == [8, 4, 4, 4, 12] else { throw .badText(text, expected: expected) }
        var bytes: [UInt8] = []
        for (index, group) in groups.enumerated() {
            var part: [UInt8] = []
            var high: UInt8?
            for digit in group {
                guard let value = hexadecimal(digit) else { throw .badText(text, expected: expected) }
                if let first = high {
                    part.append(first << 4 | value)
                    high = nil
                } else {
                    high = value
                }
            }
            bytes += index < 3 ? part.reversed() : part
        }
        return bytes
    }

    private static func isCapital(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
