import Testing

@testable import swiftlet

/// What the released executable has in place of Swift's own searches finds and replaces what those do.
@Suite struct StringSearchTests {
    private static let pairs = [
        ("", ""), ("", "a"), ("a", ""), ("abc", ""), ("abcabc", "abc"), ("aaaa", "aa"), ("aaab", "ab"), ("abab", "ba"),
        ("receive_bytes", "bytes"), ("virtio_latency_us", "_latency_"), ("abc", "abcd"), ("ab", "c"), ("aab", "aab"),
        ("caf\u{e9} au lait", "cafe\u{301}"), ("cafe\u{301}", "cafe"), ("\u{1f469}\u{200d}\u{1f680}", "\u{1f680}"),
    ]

    @Test(arguments: pairs) func searchesAsSwiftDoes(_ text: String, _ other: String) {
        let found = text.firstRange(of: other)
        #expect(text.releaseFirstRange(of: other) == found)
        // Swift's `contains(_:)` finds what its `firstRange(of:)` does; with Foundation, the name is another function's.
        #expect(text.releaseContains(other) == (found != nil))
        #expect(Array(text.utf8).releaseFirstRange(of: other.utf8) == Array(text.utf8).firstRange(of: other.utf8))
        #expect(text.releaseTrimmingPrefix(other) == text.trimmingPrefix(other))
    }

    @Test(arguments: pairs) func replacesAsSwiftDoes(_ text: String, _ other: String) {
        for count in [0, 1, 2, .max] {
            let replaced = text.releaseReplacing(other, with: "<>", maxReplacements: count)
            #expect(replaced == text.replacing(other, with: "<>", maxReplacements: count))
        }
        let dropped = Array(text.utf8).releaseReplacing(other.utf8, with: [], maxReplacements: .max)
        #expect(dropped == Array(text.utf8).replacing(other.utf8, with: [], maxReplacements: .max))
    }
}
