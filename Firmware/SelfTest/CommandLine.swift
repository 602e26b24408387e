// The command line: `key=value` words, read in place.

struct CommandLine {
    private let start: UInt64

    /// - Parameter address: of the text that ends with a zero byte; 0 when there is none.
    init(at address: UInt64) {
        start = address
        if address != 0 { Paging.map(address, 4096) }
    }

    /// The value of the first word `key=…`, from its address to the blank or the end.
    @inline(never) func value(_ key: StaticString) -> Word? {
        guard start != 0 else { return nil }
        var address = start
        let limit = start + 4096
        while address < limit, memoryRead8(address) != 0 {
            let word = Word(at: address, limit: limit)
            if word.count > key.utf8CodeUnitCount, word.starts(with: key),
                memoryRead8(address + UInt64(key.utf8CodeUnitCount)) == 61
            {
                return Word(at: address + UInt64(key.utf8CodeUnitCount) + 1, limit: limit)
            }
            address = word.end
            while address < limit, memoryRead8(address) == 32 { address += 1 }
        }
        return nil
    }
}

/// A run of bytes without blanks.
struct Word {
    let start: UInt64
    let end: UInt64
    var count: Int { Int(end - start) }

    init(at address: UInt64, limit: UInt64) {
        start = address
        var end = address
        while end < limit, memoryRead8(end) > 32 { end += 1 }
        self.end = end
    }

    @inline(never) func starts(with text: StaticString) -> Bool {
        let text8 = UInt64(UInt(bitPattern: text.utf8Start))
        for offset in 0..<UInt64(text.utf8CodeUnitCount)
        where start + offset >= end || memoryRead8(start + offset) != memoryRead8(text8 + offset) {
            return false
        }
        return true
    }

    @inline(never) static func == (word: Word, text: StaticString) -> Bool {
        word.count == text.utf8CodeUnitCount && word.starts(with: text)
    }

    /// The word as a number, decimal or hexadecimal with `0x`.
    var number: UInt64? {
        var address = start
        var base: UInt64 = 10
        if starts(with: "0x") {
            base = 16
            address += 2
        }
        guard address < end, end - address <= 16 else { return nil }
        var value: UInt64 = 0
        while address < end {
            let byte = memoryRead8(address) | 0x20
            let digit: UInt64
            switch byte {
            case 48...57: digit = UInt64(byte - 48)
            case 97...102 where base == 16: digit = UInt64(byte - 87)
            default: return nil
            }
            value = value &* base &+ digit
            address += 1
        }
        return value
    }

    /// The word as an IPv4 address, the first number in the highest byte.
    var ipv4: UInt32? {
        var value: UInt32 = 0
        var part: UInt32 = 0
        var digits = 0
        var parts = 0
        var address = start
        while true {
            let byte = address < end ? memoryRead8(address) : 46
            switch byte {
            case 48...57:
                part = part &* 10 &+ UInt32(byte - 48)
                digits += 1
                if part > 255 || digits > 3 { return nil }
            case 46:
                if digits == 0 { return nil }
                value = value << 8 | part
                part = 0
                digits = 0
                parts += 1
                if address >= end { return parts == 4 ? value : nil }
                if parts == 4 { return nil }
            default:
                return nil
            }
            address += 1
        }
    }
}
