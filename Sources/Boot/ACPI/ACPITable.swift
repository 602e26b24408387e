/// A system description table: a header and what follows it (ACPI 6.5, 5.2.6).
struct ACPITable {
    /// Bytes of a table's header.
    static let headerSize = 36

    /// The table with its length and a checksum that makes the sum of its bytes 0.
    ///
    /// - Parameters:
    ///   - signature: four characters.
    ///   - body: what follows the header.
    static func bytes(_ signature: StaticString, revision: UInt8, _ body: [UInt8]) throws(ACPIError) -> [UInt8] {
        guard let length = UInt32(exactly: headerSize + body.count) else {
            throw .tooLong(what: "a table", size: headerSize + body.count, limit: Int(UInt32.max))
        }
        var bytes = [UInt8](signature.description.utf8)
        bytes.appendACPI(length)
        bytes += [revision, 0] + oemID + oemTableID
        bytes.appendACPI(UInt32(1))
        bytes += creatorID
        bytes.appendACPI(UInt32(1))
        bytes += body
        bytes[9] = checksum(bytes)
        return bytes
    }

    /// What to add to bytes so that their sum is 0 modulo 256.
    static func checksum(_ bytes: some Sequence<UInt8>) -> UInt8 { bytes.reduce(0, &-) }

    /// A generic address structure of a byte-wide register in I/O space (ACPI 6.5, 5.2.3.2).
    static func register(port: UInt16) -> [UInt8] {
        // I/O space, 8 bits wide from bit 0 on, accessed as a byte.
        var bytes: [UInt8] = [0x01, 8, 0, 0x01]
        bytes.appendACPI(UInt64(port))
        return bytes
    }

    /// The pointer to the other tables (ACPI 6.5, 5.2.5.3), of revision 2, which has no RSDT.
    static func rsdp(xsdt: UInt64) -> [UInt8] {
        var bytes = [UInt8]("RSD PTR ".utf8)
        bytes += [0] + oemID + [2]
        bytes.appendACPI(UInt32(0))
        bytes.appendACPI(UInt32(rsdpSize))
        bytes.appendACPI(xsdt)
        bytes += [0, 0, 0, 0]
        bytes[8] = checksum(bytes.prefix(20))
        bytes[32] = checksum(bytes)
        return bytes
    }

    /// Bytes of the RSDP.
    static let rsdpSize = 36

    private static let oemID = [UInt8]("SWIFTL".utf8)
    private static let oemTableID = [UInt8]("SWIFTLET".utf8)
    private static let creatorID = [UInt8]("SWFT".utf8)
}
