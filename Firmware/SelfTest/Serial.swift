// Output over COM1, and text that is printed while it is put together: no strings, no memory.

enum Serial {
    static let base: UInt16 = 0x3F8
    /// Bytes that the transmitter's FIFO still takes before its state has to be read again.
    nonisolated(unsafe) private static var room = 0
    /// A transmitter that never got ready: nothing waits for it a second time.
    nonisolated(unsafe) private static var dead = false

    /// 115200 baud, 8N1, FIFOs on, no interrupts.
    static func start() {
        portWrite8(base + 1, 0)
        portWrite8(base + 3, 0x80)
        portWrite8(base, 1)
        portWrite8(base + 1, 0)
        portWrite8(base + 3, 3)
        portWrite8(base + 2, 7)
        portWrite8(base + 4, 3)
    }

    @inline(never) static func write(_ byte: UInt8) {
        if room == 0 {
            var polls = dead ? 0 : 100_000
            while polls > 0, portRead8(base + 5) & 0x20 == 0 { polls -= 1 }
            dead = polls == 0
            room = 16
        }
        room -= 1
        portWrite8(base, byte)
    }

    @inline(never) static func write(_ text: StaticString) {
        var address = UInt64(UInt(bitPattern: text.utf8Start))
        let end = address + UInt64(text.utf8CodeUnitCount)
        while address < end {
            write(memoryRead8(address))
            address += 1
        }
    }

    /// The received byte, if there is one.
    static func read() -> UInt8? {
        portRead8(base + 5) & 1 == 0 ? nil : portRead8(base)
    }

    @inline(never) static func write(hex value: UInt64, digits least: Int = 1) {
        var digits = 16
        while digits > least, value >> UInt64(4 * (digits - 1)) == 0 { digits -= 1 }
        while digits > 0 {
            digits -= 1
            let digit = UInt8(truncatingIfNeeded: value >> UInt64(4 * digits)) & 15
            write(digit < 10 ? 48 + digit : 87 + digit)
        }
    }

    @inline(never) static func write(decimal value: UInt64) {
        var power: UInt64 = 1
        while value / power >= 10 { power *= 10 }
        var rest = value
        while power > 0 {
            write(48 + UInt8(truncatingIfNeeded: rest / power))
            rest %= power
            power /= 10
        }
    }

    /// Bytes of guest memory, the unprintable ones as dots, up to the first zero.
    @inline(never) static func write(bytes address: UInt64, _ count: UInt64) {
        for offset in 0..<count {
            let byte = memoryRead8(address + offset)
            if byte == 0 { return }
            write(byte >= 32 && byte < 127 ? byte : 46)
        }
    }

    /// The bytes of a register, lowest first.
    @inline(never) static func write(letters word: UInt32) {
        for shift in 0..<4 {
            let byte = UInt8(truncatingIfNeeded: word >> UInt32(8 * shift))
            if byte == 0 { return }
            write(byte >= 32 && byte < 127 ? byte : 46)
        }
    }
}

/// Interpolated text. Each part goes to the serial port as it is met.
struct Text: ExpressibleByStringInterpolation {
    struct StringInterpolation: StringInterpolationProtocol {
        init(literalCapacity: Int, interpolationCount: Int) {}
        @inline(never) func appendLiteral(_ text: StaticString) { Serial.write(text) }
        @inline(never) func appendInterpolation(_ text: StaticString) { Serial.write(text) }
        @inline(never) func appendInterpolation(_ value: Int) { Serial.write(decimal: UInt64(value.magnitude)) }
        @inline(never) func appendInterpolation(_ value: some UnsignedInteger & FixedWidthInteger) {
            Serial.write(decimal: UInt64(truncatingIfNeeded: value))
        }
        @inline(never) func appendInterpolation(hex value: some UnsignedInteger & FixedWidthInteger, digits: Int = 1) {
            Serial.write("0x")
            Serial.write(hex: UInt64(truncatingIfNeeded: value), digits: digits)
        }
        @inline(never) func appendInterpolation(digits value: some UnsignedInteger & FixedWidthInteger, _ count: Int) {
            Serial.write(hex: UInt64(truncatingIfNeeded: value), digits: count)
        }
        @inline(never) func appendInterpolation(letters word: UInt32) { Serial.write(letters: word) }
        @inline(never) func appendInterpolation(bytes address: UInt64, count: UInt64) {
            Serial.write(bytes: address, count)
        }
    }

    @inline(never) init(stringLiteral text: StaticString) { Serial.write(text) }
    init(stringInterpolation: StringInterpolation) {}
}

/// Prints a line.
@inline(never)
func say(_ text: Text) {
    Serial.write(13)
    Serial.write(10)
}

/// Prints the beginning of a line.
func tell(_ text: Text) {}
