import FoundationEssentials
import Host

/// Bytes in a device's state, such as one of the kernel's structures: base64 in JSON, or beside it in the packed form.
package struct RawBytes: Codable, Equatable, Sendable {
    /// The bytes.
    package let bytes: [UInt8]

    /// Wraps bytes.
    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The bytes of a plain value as they lie in memory.
    package init<Value: BitwiseCopyable>(of value: Value) { bytes = ValueBytes.of(value) }

    /// The value that the bytes are.
    ///
    /// - Parameter name: what it is, for the error, for example `vcpu0.regs`.
    /// - Throws: ``SnapshotError`` of kind `malformed` unless there are exactly as many bytes as the value has.
    package func value<Value: BitwiseCopyable>(
        as type: Value.Type = Value.self, _ name: String
    ) throws(SnapshotError) -> Value {
        guard let value = ValueBytes.value(of: bytes, as: type) else {
            throw wrongSize(name, MemoryLayout<Value>.size)
        }
        return value
    }

    /// The bytes, of which there must be exactly so many.
    ///
    /// - Throws: ``SnapshotError`` of kind `malformed`.
    package func exactly(_ count: Int, _ name: String) throws(SnapshotError) -> [UInt8] {
        guard bytes.count == count else { throw wrongSize(name, count) }
        return bytes
    }

    private func wrongSize(_ name: String, _ wanted: Int) -> SnapshotError {
        SnapshotError(
            .malformed, field: name,
            "\(bytes.count) bytes where the structure has \(wanted); the snapshot is damaged, or this host's kernel has "
                + "another layout")
    }

    package init(from decoder: any Decoder) throws {
        if let parts = PackedParts.of(decoder) {
            let index = try decoder.singleValueContainer().decode(Int.self)
            guard let part = parts.part(index) else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "there is no part \(index)"))
            }
            bytes = part
            return
        }
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let data = Data(base64Encoded: text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "\"\(text.prefix(24))…\" is not base64"))
        }
        bytes = [UInt8](data)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if let parts = PackedParts.of(encoder) { return try container.encode(parts.add(bytes)) }
        try container.encode(Data(bytes).base64EncodedString())
    }
}
