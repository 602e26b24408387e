/// A resource descriptor of a `resourceTemplate` (ACPI 6.5, 6.4).
package enum AMLResource: Sendable {
    /// Ports at a fixed place that the device decodes with all 16 bits (6.4.2.5).
    case ports(first: UInt16, count: UInt8)
    /// Memory at a fixed place below 4 GiB, in bytes (6.4.3.4).
    case memory32(base: UInt32, size: UInt32, writable: Bool = true)
    /// Interrupts, as GSIs, that the device raises (6.4.3.6).
    case interrupts([UInt32], AMLTrigger, AMLPolarity = .activeHigh, shared: Bool = false)
    /// PCI buses that a bridge hands on (6.4.3.5.3).
    case busNumbers(ClosedRange<UInt16>)
    /// Ports that a bridge hands on (6.4.3.5.3).
    case portWindow(ClosedRange<UInt16>)
    /// Memory below 4 GiB that a bridge hands on (6.4.3.5.2).
    case memoryWindow32(ClosedRange<UInt32>, AMLCaching = .none)
    /// Memory that a bridge hands on (6.4.3.5.1).
    case memoryWindow64(ClosedRange<UInt64>, AMLCaching = .cacheable)

    /// How an interrupt line shows an event; the raw value is the descriptor's bit.
    package enum AMLTrigger: UInt8, Sendable {
        case level = 0
        case edge = 1
    }

    /// What an interrupt line's active level is; the raw value is the descriptor's bit.
    package enum AMLPolarity: UInt8, Sendable {
        case activeHigh = 0
        case activeLow = 1
    }

    /// What a memory window may be used for; the raw value is the encoding in its type-specific flags.
    package enum AMLCaching: UInt8, Sendable {
        case none = 0
        case cacheable = 1
        case writeCombining = 2
        case prefetchable = 3
    }

    /// The descriptor's bytes.
    func encoded() throws(ACPIError) -> [UInt8] {
        switch self {
        case .ports(let first, let count):
            guard count > 0, UInt32(first) + UInt32(count) <= 0x1_0000 else {
                throw .outOfRange(
                    what: "ports from 0x\(String(first, radix: 16)), a number", value: UInt64(count),
                    allowed: 1...min(255, 0x1_0000 - UInt64(first)))
            }
            var bytes: [UInt8] = [0x47, 0x01]
            bytes.appendACPI(first)
            bytes.appendACPI(first)
            return bytes + [0x01, count]
        case .memory32(let base, let size, let writable):
            let room = 0x1_0000_0000 - UInt64(base)
            guard size > 0, UInt64(size) <= room else {
                throw .outOfRange(
                    what: "memory from 0x\(String(base, radix: 16)), a size", value: UInt64(size), allowed: 1...room)
            }
            var bytes: [UInt8] = [0x86, 0x09, 0x00, writable ? 1 : 0]
            bytes.appendACPI(base)
            bytes.appendACPI(size)
            return bytes
        case .interrupts(let lines, let trigger, let polarity, let shared):
            guard let count = UInt8(exactly: lines.count), count > 0 else {
                throw .outOfRange(what: "a number of interrupts", value: UInt64(lines.count), allowed: 1...255)
            }
            var bytes: [UInt8] = [0x89]
            bytes.appendACPI(UInt16(2 + 4 * Int(count)))
            bytes += [0x01 | trigger.rawValue << 1 | polarity.rawValue << 2 | (shared ? 0x08 : 0), count]
            for line in lines { bytes.appendACPI(line) }
            return bytes
        case .busNumbers(let range): return try Self.window(0x88, kind: 2, flags: 0, range)
        case .portWindow(let range): return try Self.window(0x88, kind: 1, flags: 0x03, range)
        case .memoryWindow32(let range, let caching):
            return try Self.window(0x87, kind: 0, flags: 0x01 | caching.rawValue << 1, range)
        case .memoryWindow64(let range, let caching):
            return try Self.window(0x8A, kind: 0, flags: 0x01 | caching.rawValue << 1, range)
        }
    }

    /// An address space descriptor (6.4.3.5) of a bridge: both ends fixed, decoded by the bridge, not translated.
    private static func window<Address: FixedWidthInteger & UnsignedInteger>(
        _ tag: UInt8, kind: UInt8, flags: UInt8, _ range: ClosedRange<Address>
    ) throws(ACPIError) -> [UInt8] {
        let (length, overflow) = (range.upperBound - range.lowerBound).addingReportingOverflow(1)
        guard !overflow else {
            throw .outOfRange(
                what: "a window that ends at an address", value: UInt64(range.upperBound),
                allowed: UInt64(range.lowerBound)...(UInt64(range.upperBound) - 1))
        }
        var bytes: [UInt8] = [tag]
        bytes.appendACPI(UInt16(3 + 5 * Address.bitWidth / 8))
        bytes += [kind, 0x0C, flags]
        for value in [0, range.lowerBound, range.upperBound, 0, length] { bytes.appendACPI(value) }
        return bytes
    }
}
