/// Which pages of several regions, or blocks of several disks: i in bit i % 64 of word i / 64 of each.
enum Bitmaps {
    /// How many there are.
    static func count(_ bitmaps: [[UInt64]]) -> Int {
        bitmaps.reduce(0) { $0 + $1.reduce(0) { $0 + $1.nonzeroBitCount } }
    }

    /// Puts the others' bits into the first, as far as it reaches.
    static func unite(_ bitmaps: inout [[UInt64]], _ others: [[UInt64]]) {
        for index in bitmaps.indices where index < others.count {
            for word in bitmaps[index].indices where word < others[index].count {
                bitmaps[index][word] |= others[index][word]
            }
        }
    }
}
