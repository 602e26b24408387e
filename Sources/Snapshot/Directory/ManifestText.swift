import FoundationEssentials
import Host

/// The bytes of `manifest.json`.
///
/// Its second line holds the CRC-32C of all its bytes, taken with zeroes for the digits:
///
///     {
///       "checksum" : "89abcdef",
enum ManifestText {
    private static let lead = Array("{\n  \"checksum\" : \"".utf8)
    private static let digits = lead.count..<lead.count + 8
    /// The most bytes that are read.
    static let limit = 1 << 20

    /// The text of a manifest.
    static func encode(_ manifest: Manifest) throws(SnapshotError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let body: Data
        do {
            body = try encoder.encode(manifest)
        } catch {
            throw DecodingFault(error).snapshotError(in: SnapshotFile.manifest)
        }
        // The body begins with a brace and the line's end.
        var text = lead + Array("00000000\",\n".utf8) + body.dropFirst(2)
        text.replaceSubrange(digits, with: Hexadecimal.text(Checksum.crc32c(text)).utf8)
        return text
    }

    /// Reads a manifest and checks every value in it, then the checksum.
    ///
    /// - Parameter file: the path for errors.
    static func decode(_ bytes: [UInt8], file: String) throws(SnapshotError) -> Manifest {
        let data = Data(bytes)
        try checkFormat(data, file)
        let manifest: Manifest
        do {
            manifest = try JSONDecoder().decode(PathKept<Manifest>.self, from: data).value
        } catch {
            throw DecodingFault(error).snapshotError(in: file)
        }
        try ManifestCheck(file: file).check(manifest)
        guard bytes.count >= digits.upperBound, bytes.starts(with: lead),
            let sum = Hexadecimal.value(bytes[digits])
        else {
            throw SnapshotError(
                .malformed, file: file, field: "checksum",
                "the file does not begin with its checksum, so it was written anew by something else; restore it from "
                    + "where it came")
        }
        var bare = bytes
        for index in digits { bare[index] = UInt8(ascii: "0") }
        let found = Checksum.crc32c(bare)
        guard found == sum else { throw .checksum(file, found: found, expected: sum) }
        return manifest
    }

    private struct Head: Decodable { let format: Int }

    /// A format that is not known may have any other form than this one, so it is looked at first.
    private static func checkFormat(_ data: Data, _ file: String) throws(SnapshotError) {
        let head: Head
        do {
            head = try JSONDecoder().decode(PathKept<Head>.self, from: data).value
        } catch {
            throw DecodingFault(error).snapshotError(in: file)
        }
        if head.format != Manifest.format { throw .unknownFormat(head.format, newest: Manifest.format, file) }
    }
}

/// A value whose decoding errors all have their path.
struct PathKept<Value: Decodable>: Decodable {
    let value: Value

    init(from decoder: any Decoder) throws {
        do {
            value = try Value(from: decoder)
        } catch {
            if error is DecodingError || error is SnapshotError { throw error }
            value = try Value(from: PathKeepingDecoder(base: decoder))
        }
    }
}

/// 32-bit numbers as eight hexadecimal digits.
package enum Hexadecimal {
    /// All eight digits.
    package static func text(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    static func value(_ digits: some Collection<UInt8>) -> UInt32? {
        guard digits.count == 8, digits.allSatisfy({ 0x30...0x39 ~= $0 || 0x61...0x66 ~= $0 }) else { return nil }
        return UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
    }
}

extension SnapshotError {
    /// A file whose bytes are not those that were written.
    static func checksum(_ file: String, field: String? = nil, found: UInt32, expected: UInt32) -> SnapshotError {
        SnapshotError(
            .checksum, file: file, field: field ?? "checksum",
            "the bytes are not those that were written: their CRC-32C is \(Hexadecimal.text(found)) and has to be "
                + "\(Hexadecimal.text(expected)); restore the file from where it came, or take another snapshot")
    }

    /// A format that this version does not know.
    static func unknownFormat(_ found: Int, newest: Int, _ file: String) -> SnapshotError {
        let advice =
            found > newest
            ? "use a version of swiftlet at least as new as the one that wrote it"
            : "formats are counted from 1, so the file is damaged"
        return SnapshotError(
            .format(found: found, newest: newest), file: file, field: "format",
            "this is format \(found) and this version reads formats up to \(newest); \(advice)")
    }
}
