import Testing

@testable import Memory

@Suite struct GuestMemoryBitmapsTests {
    private let memory: GuestMemory

    /// Regions of 100, 64 and 1 pages, whose pages do not begin with a word.
    init() throws {
        memory = try GuestMemory([
            MemoryRange(address: 0, size: 100 * 4096), MemoryRange(address: 1 << 20, size: 64 * 4096),
            MemoryRange(address: 1 << 32, size: 4096),
        ])
    }

    @Test func aBitmapIsCutAtTheRegions() throws {
        var words = [UInt64](repeating: 0, count: 3)
        for page in [0, 63, 64, 99, 100, 101, 163, 164] { words[page / 64] |= 1 << UInt64(page % 64) }
        let bits = memory.bitmapsByRegion(words)
        let expected: [[UInt64]] = [[1 | 1 << 63, 1 | 1 << 35], [0b11 | 1 << 63], [1]]
        #expect(bits == expected)
        #expect(memory.bitmapsByRegion([]) == [[0, 0], [0], [0]])
        #expect(memory.bitmapsByRegion([.max, .max, .max]) == [[.max, 1 << 36 - 1], [.max], [1]])
    }

    @Test func whatDevicesWriteIsFoundInItsRegion() throws {
        memory.dirty.setTracking(true)
        try memory.write([7], at: 1 << 20 + 4096 * 5)
        try memory.write([7], at: 1 << 32)
        let bits = memory.bitmapsByRegion(memory.dirty.take())
        #expect(bits == [[0, 0], [1 << 5], [1]])
    }
}
