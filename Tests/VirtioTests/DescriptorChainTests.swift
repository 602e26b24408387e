import Host
import Memory
import TestSupport
import Testing
import Virtio

/// Copies across the borders of segments, which may lie anywhere and overlap.
struct DescriptorChainTests {
    /// Offers one chain, and gives it to the body.
    private func withChain(
        _ buffers: [FakeDriver.Buffer], _ prepare: (GuestMemory) throws -> Void = { _ in },
        _ body: (borrowing DescriptorChain, GuestMemory) throws -> Void
    ) throws {
        let driver = try makeDriver(size: 16)
        try prepare(driver.memory)
        var queue = try makeQueue(driver)
        try driver.send(buffers)
        guard let chain = try queue.pop() else { throw FakeDriverError(description: "no chain") }
        try body(chain, driver.memory)
    }

    private func expectBytes(
        _ expected: [UInt8], at address: UInt64, _ memory: GuestMemory, location: SourceLocation = #_sourceLocation
    ) throws {
        let bytes = try memory.bytes(at: address, count: expected.count)
        #expect(bytes == expected, sourceLocation: location)
    }

    @Test func valuesAcrossSegments() throws {
        let bytes: [UInt8] = Array(1...16)
        try withChain(
            [.readable(0x10001, 3), .readable(0x20003, 1), .readable(0x30005, 12)],
            { memory in
                try memory.write(Array(bytes[0..<3]), at: 0x10001)
                try memory.write(Array(bytes[3..<4]), at: 0x20003)
                try memory.write(Array(bytes[4...]), at: 0x30005)
            },
            { chain, _ in
                for offset in 0...8 {
                    let value = chain.read(UInt64.self, at: offset)
                    let expected = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
                    #expect(value == expected, "offset \(offset)")
                }
                for offset in [9, 15, 16, 17, .max, -1, .min] {
                    let value = chain.read(UInt64.self, at: offset)
                    #expect(value == nil, "offset \(offset)")
                }
                let last = chain.read(UInt8.self, at: 15)
                #expect(last == 16)
            })
    }

    @Test func spansAcrossSegments() throws {
        try withChain(
            [.readable(0x10000, 5), .readable(0x20000, 5), .writable(0x30000, 3), .writable(0x31000, 4)],
            { memory in
                try memory.write([0, 1, 2, 3, 4], at: 0x10000)
                try memory.write([5, 6, 7, 8, 9], at: 0x20000)
            },
            { chain, memory in
                for (offset, count, expected) in [
                    (0, 10, 10), (3, 4, 4), (8, 10, 2), (10, 4, 0), (99, 4, 0), (-1, 4, 0),
                ] {
                    var bytes = [UInt8](repeating: 0xEE, count: count)
                    var span = bytes.mutableSpan
                    let got = chain.read(at: offset, into: &span)
                    #expect(got == expected, "offset \(offset)")
                    #expect(bytes == (0..<count).map { $0 < expected ? UInt8(offset + $0) : 0xEE })
                }
                let bytes: [UInt8] = [10, 11, 12, 13]
                let whole = chain.write(bytes.span, at: 1)
                #expect(whole == 4)
                try expectBytes([0, 10, 11, 0], at: 0x30000, memory)
                try expectBytes([12, 13, 0, 0, 0], at: 0x31000, memory)
                let part = chain.write(bytes.span, at: 5)
                #expect(part == 2)
                try expectBytes([12, 13, 10, 11, 0], at: 0x31000, memory)
                let outside = chain.write(bytes.span, at: 7)
                let negative = chain.write(bytes.span, at: -2)
                #expect(outside == 0 && negative == 0)
            })
    }

    @Test func valuesAreWrittenWholeOrNotAtAll() throws {
        try withChain([.writable(0x10000, 1), .writable(0x20000, 2)]) { chain, memory in
            let fits = chain.write(0x0302 as UInt16, at: 0)
            #expect(fits)
            try expectBytes([2, 0], at: 0x10000, memory)
            try expectBytes([3, 0, 0], at: 0x20000, memory)
            for offset in [2, 3, .max, -1, .min] {
                let written = chain.write(0xFFFF as UInt16, at: offset)
                #expect(!written, "offset \(offset)")
            }
            try expectBytes([3, 0, 0], at: 0x20000, memory)
        }
    }

    @Test func vectorsOfSubranges() throws {
        let scratch = try ScratchDirectory("vectors")
        let path = try scratch.write("file", Array(0..<64))
        let file = try FileDescriptor.open(path, 2)
        let buffers: [FakeDriver.Buffer] = [
            .readable(0x10000, 4), .readable(0x11000, 4), .writable(0x20000, 4), .writable(0x21000, 4),
        ]
        try withChain(buffers, { try $0.write([1, 2, 3, 4], at: 0x10000) }) { chain, memory in
            let shapes = [(0, 8), (0, 4), (4, 4), (3, 2), (1, 100), (8, 4), (0, 0), (-1, 4), (100, 1)].map {
                offset, count in
                let readable = chain.readable(from: offset, count: count)
                let first = [readable.count, readable.byteCount]
                let writable = chain.writable(from: offset, count: count)
                return first == [writable.count, writable.byteCount] ? first : [-1]
            }
            #expect(shapes == [[2, 8], [1, 4], [1, 4], [2, 2], [2, 7], [0, 0], [0, 0], [0, 0], [0, 0]])
            let read = try file.read(into: chain.writable(from: 3, count: 3), at: 10)
            #expect(read == 3)
            try expectBytes([0, 0, 0, 10, 0], at: 0x20000, memory)
            try expectBytes([11, 12, 0, 0], at: 0x21000, memory)
            let written = try file.write(chain.readable(from: 2, count: 3), at: 20)
            #expect(written == 3)
        }
        #expect(try scratch.read("file")[18..<25] == [18, 19, 3, 4, 0, 23, 24])
    }

    @Test func alignmentOfVectors() throws {
        try withChain([.readable(0x10000, 512), .readable(0x20200, 1024), .writable(0x30100, 512)]) { chain, _ in
            let good = chain.readable(from: 0, count: 1536).isAligned(to: 512)
            let cut = chain.readable(from: 1, count: 511).isAligned(to: 512)
            let misplaced = chain.writable(from: 0, count: 512).isAligned(to: 512)
            #expect(good && !cut && !misplaced)
        }
    }
}
