extension [UInt64] {
    /// Adds the pages of another set, a bit each, as ``DirtyBitmap`` has them; grows to hold them all.
    package mutating func unite(_ more: [UInt64]) {
        if count < more.count { self += [UInt64](repeating: 0, count: more.count - count) }
        for (index, word) in more.enumerated() { self[index] |= word }
    }
}
