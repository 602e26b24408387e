/// The bytes of plain values, such as the kernel's structures, as they lie in memory.
package enum ValueBytes {
    /// A value's bytes. Those between its fields are what they are: zero in a structure that was made by its empty
    /// initialiser.
    package static func of<Value: BitwiseCopyable>(_ value: Value) -> [UInt8] {
        // SAFETY: the bytes are copied while the value lives.
        unsafe withUnsafeBytes(of: value) { unsafe [UInt8]($0) }
    }

    /// The value that the bytes are; nil unless there are exactly as many as it has.
    package static func value<Value: BitwiseCopyable>(of bytes: [UInt8], as type: Value.Type = Value.self) -> Value? {
        guard bytes.count == MemoryLayout<Value>.size else { return nil }
        // SAFETY: the size was checked, and a BitwiseCopyable value is made of any bytes of its size.
        return unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: Value.self) }
    }
}
