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

extension ValueBytes {
    /// The values that lie in the bytes one behind the other; nil unless the bytes end with a whole one.
    package static func values<Value: BitwiseCopyable>(
        of bytes: ArraySlice<UInt8>, as type: Value.Type = Value.self
    ) -> [Value]? {
        let size = MemoryLayout<Value>.size
        guard size > 0, size == MemoryLayout<Value>.stride, bytes.count % size == 0 else { return nil }
        let count = bytes.count / size
        return unsafe [Value](unsafeUninitializedCapacity: count) { space, filled in
            // SAFETY: the space has room for `count` values, which are made of any bytes of their size.
            unsafe UnsafeMutableRawBufferPointer(space).copyBytes(from: bytes)
            filled = count
        }
    }

    /// The bytes of values, one behind the other, of a type whose stride is its size.
    package static func of<Value: BitwiseCopyable>(all values: [Value]) -> [UInt8] {
        // SAFETY: the bytes are copied while the array lives.
        unsafe values.withUnsafeBytes { unsafe [UInt8]($0) }
    }
}
