import Testing

@testable import Machine

struct DirtyMeterTests {
    @Test func wordsAreMergedAtAnyBit() {
        var words: [UInt64] = [1, 0, 1 << 63]
        MachineInstance.merge(0b11, at: 0, into: &words)
        #expect(words == [0b11, 0, 1 << 63])
        MachineInstance.merge(1 << 63 | 1, at: 70, into: &words)
        #expect(words == [0b11, 1 << 6, 1 << 63 | 1 << 5])
        // What lies behind the last word is nobody's page.
        MachineInstance.merge(.max, at: 190, into: &words)
        #expect(words == [0b11, 1 << 6, 0b11 << 62 | 1 << 5])
        MachineInstance.merge(.max, at: 192, into: &words)
        #expect(words.count == 3)
    }

    @Test func measuresBetweenLooks() {
        let meter = DirtyMeter()
        meter.add(pages: 5)
        #expect(meter.reading == nil)
        meter.begin()
        #expect(meter.reading == DirtyMeter.Reading())
        meter.add(pages: 2)
        meter.add(pages: 1)
        #expect(meter.reading?.bytes == 3 * 4096)
        #expect((meter.reading?.bytesPerSecond ?? 0) > 0)
        meter.end()
        #expect(meter.reading == nil)
    }
}
