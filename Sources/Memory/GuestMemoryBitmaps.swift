extension GuestMemory {
    /// Cuts a bitmap of all pages, one region's behind the other's as `DirtyBitmap` has them, into one for each region.
    ///
    /// - Parameter words: 64 pages each; missing ones are clear.
    /// - Returns: for each region, page i of it in bit i % 64 of word i / 64.
    package func bitmapsByRegion(_ words: [UInt64]) -> [[UInt64]] {
        var first = 0
        return ranges.map { range in
            let pages = Int(range.size / Self.pageSize)
            defer { first += pages }
            return Self.bits(of: words, first..<first + pages)
        }
    }

    private static func bits(of words: [UInt64], _ pages: Range<Int>) -> [UInt64] {
        let shift = UInt64(pages.lowerBound % 64)
        let count = (pages.count + 63) / 64
        func word(_ index: Int) -> UInt64 { index < words.count ? words[index] : 0 }
        var bits = (0..<count).map { index in
            let place = pages.lowerBound / 64 + index
            return shift == 0 ? word(place) : word(place) >> shift | word(place + 1) << (64 - shift)
        }
        let rest = UInt64(pages.count % 64)
        if rest > 0 { bits[count - 1] &= (1 << rest) - 1 }
        return bits
    }
}
