/// Why ACPI tables cannot be built.
package enum ACPIError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A name that AML cannot express (ACPI 6.5, 20.2.2).
    case badName(String, reason: String)
    /// Text that does not have the form that its place in AML demands.
    case badText(String, expected: String)
    /// A number outside what its field can hold.
    case outOfRange(what: String, value: UInt64, allowed: ClosedRange<UInt64>)
    /// Something that AML has to hold grew past its limit, in bytes.
    case tooLong(what: String, size: Int, limit: Int)
    /// The address for the tables is not a multiple of 16, or the tables would end past the last address.
    case badBase(UInt64)
    /// The tables together need more bytes than there are.
    case noRoom(size: Int, limit: Int)
    /// The boot processors are none or more than there are processors.
    case processorCount(boot: Int, all: Int)
    /// A processor's APIC id is not above that of the processor before it.
    case unorderedAPICID(index: Int, id: UInt32)

    package var description: String {
        switch self {
        case .badName(let name, let reason): "\"\(name)\" cannot name an ACPI object: \(reason)"
        case .badText(let text, let expected): "\"\(text)\" cannot stand in an ACPI table: it has to be \(expected)"
        case .outOfRange(let what, let value, let allowed):
            "ACPI cannot describe \(what) of 0x\(String(value, radix: 16)): the allowed range is "
                + "0x\(String(allowed.lowerBound, radix: 16)) to 0x\(String(allowed.upperBound, radix: 16))"
        case .tooLong(let what, let size, let limit):
            "ACPI cannot hold \(what) of \(size) bytes: the limit is \(limit)"
        case .badBase(let base):
            "ACPI tables cannot lie at 0x\(String(base, radix: 16)): the address has to be a multiple of 16 with room "
                + "behind it"
        case .noRoom(let size, let limit):
            "the ACPI tables need \(size) bytes and there are \(limit); fewer vCPUs need less"
        case .processorCount(let boot, let all):
            "\(boot) of \(all) vCPUs cannot be present at boot: it takes at least 1 and at most all of them"
        case .unorderedAPICID(let index, let id):
            "vCPU \(index) has the APIC id \(id), which is not above that of the vCPU before it"
        }
    }
}

extension [UInt8] {
    /// Appends an integer as ACPI stores it, the least significant byte first.
    mutating func appendACPI<Integer: FixedWidthInteger & UnsignedInteger>(_ value: Integer) {
        for shift in stride(from: 0, to: Integer.bitWidth, by: 8) { append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
}
