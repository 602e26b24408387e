// The released executable is linked without _StringProcessing, which is regular expressions for the most part. These are
// its searches that need none: LeftOut.ld gives them the names by which compiled code calls the originals. Each repeats
// the constraints of its original, which make up its calling convention.

extension StringProtocol {
    /// `contains(_:)`, of a text in a text.
    @_silgen_name("swiftlet_string_contains")
    package func releaseContains(_ other: String) -> Bool {
        releaseFirstRange(of: other) != nil
    }
}

extension BidirectionalCollection where Element: Comparable {
    /// `firstRange(of:)`: where another collection first appears; one without elements appears at the start.
    @_silgen_name("swiftlet_first_range")
    package func releaseFirstRange<C: Collection>(of other: C) -> Range<Index>? where C.Element == Element {
        var start = startIndex
        while let end = end(of: other, at: start) {
            if let end { return start..<end }
            formIndex(after: &start)
        }
        return nil
    }
}

extension RangeReplaceableCollection where Element: Equatable {
    /// `replacing(_:with:maxReplacements:)`: a copy with another collection in place of each appearance of one.
    @_silgen_name("swiftlet_replacing")
    package func releaseReplacing<C: Collection, Replacement: Collection>(
        _ other: C, with replacement: Replacement, maxReplacements: Int
    ) -> Self where C.Element == Element, Replacement.Element == Element {
        var result = Self()
        var copied = startIndex
        var start = startIndex
        var left = maxReplacements
        while left > 0, let end = end(of: other, at: start) {
            if let end {
                result.append(contentsOf: self[copied..<start])
                result.append(contentsOf: replacement)
                left -= 1
                copied = end
                if end > start {
                    start = end
                    continue
                }
            }
            if start == endIndex { break }
            formIndex(after: &start)
        }
        result.append(contentsOf: self[copied...])
        return result
    }
}

extension Collection where Element: Equatable {
    /// `trimmingPrefix(_:)`: without a prefix, if it starts with it.
    @_silgen_name("swiftlet_trimming_prefix")
    package func releaseTrimmingPrefix<Prefix: Sequence>(_ prefix: Prefix) -> SubSequence
    where Prefix.Element == Element {
        var place = startIndex
        for element in prefix {
            guard place != endIndex, self[place] == element else { return self[...] }
            formIndex(after: &place)
        }
        return self[place...]
    }

    /// Where another collection ends that appears at a place.
    /// - Returns: `.some(nil)` if it does not appear there but may further on, nil if it cannot.
    fileprivate func end<C: Collection>(of other: C, at start: Index) -> Index?? where C.Element == Element {
        var place = start
        for element in other {
            guard place != endIndex else { return nil }
            guard self[place] == element else { return .some(nil) }
            formIndex(after: &place)
        }
        return place
    }
}
