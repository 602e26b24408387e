/// Little-endian numbers in bytes that were copied out of a file.
struct ByteReader {
    let bytes: [UInt8]

    /// The number at an offset; zero where the bytes end before it.
    func number<Value: FixedWidthInteger & UnsignedInteger>(_ offset: Int, _ type: Value.Type = Value.self) -> Value {
        let size = Value.bitWidth / 8
        guard offset >= 0, offset <= bytes.count - size else { return 0 }
        return (0..<size).reduce(0) { $0 | Value(truncatingIfNeeded: bytes[offset + $1]) << Value(8 * $1) }
    }

    func u16(_ offset: Int) -> UInt16 { number(offset) }
    func u32(_ offset: Int) -> UInt32 { number(offset) }
    func u64(_ offset: Int) -> UInt64 { number(offset) }
}

/// Bytes under construction, little-endian.
struct ByteWriter {
    private(set) var bytes: [UInt8]

    init(count: Int = 0) { bytes = [UInt8](repeating: 0, count: count) }

    mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        for index in 0..<(Value.bitWidth / 8) { bytes.append(UInt8(truncatingIfNeeded: value >> Value(8 * index))) }
    }

    mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<(Value.bitWidth / 8) {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index))
        }
    }

    mutating func put(_ source: ArraySlice<UInt8>, at offset: Int) {
        for (index, byte) in source.enumerated() { bytes[offset + index] = byte }
    }
}
