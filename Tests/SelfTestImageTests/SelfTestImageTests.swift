import Testing

@testable import SelfTestImage

/// Little-endian numbers out of an ELF file, nil where the file ends.
private struct Image {
    let bytes: [UInt8]

    func number(_ offset: Int, _ size: Int) -> Int? {
        guard offset >= 0, offset + size <= bytes.count else { return nil }
        return bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    /// (type, offset, virtual address, physical address, size in the file, size in memory) of each program header.
    func segments() throws -> [(type: Int, offset: Int, address: Int, fileSize: Int, memorySize: Int)] {
        let table = try #require(number(32, 8))
        let size = try #require(number(54, 2))
        return try (0..<(try #require(number(56, 2)))).map { index in
            let header = table + index * size
            return (
                try #require(number(header, 4)), try #require(number(header + 8, 8)),
                try #require(number(header + 24, 8)), try #require(number(header + 32, 8)),
                try #require(number(header + 40, 8))
            )
        }
    }
}

@Suite struct SelfTestImageTests {
    private let image = Image(bytes: SelfTestImage.elf())

    @Test func isA64BitExecutableForX86() {
        #expect(image.bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1]))
        #expect(image.number(16, 2) == 2)
        #expect(image.number(18, 2) == 62)
        #expect(image.bytes.count < 64 << 10)
    }

    @Test func loadsWhereRAMIsOnTheSmallestMachine() throws {
        let loads = try image.segments().filter { $0.type == 1 }
        #expect(!loads.isEmpty)
        for load in loads {
            #expect(load.address >= 1 << 20)
            #expect(load.address + load.memorySize <= 4 << 20)
            #expect(load.offset + load.fileSize <= image.bytes.count)
            #expect(load.memorySize >= load.fileSize)
        }
    }

    @Test func hasThePVHNoteAndBeginsWithATimestampWrite() throws {
        let note = try #require(try image.segments().first { $0.type == 4 })
        #expect(image.number(note.offset, 4) == 4)
        #expect(image.number(note.offset + 8, 4) == 18)
        #expect(image.bytes[(note.offset + 12)...].starts(with: Array("Xen\0".utf8)))
        let entry = try #require(image.number(note.offset + 16, 8))
        let load = try #require(
            try image.segments().first { $0.type == 1 && $0.address <= entry && entry < $0.address + $0.fileSize })
        // outb %al, $0x80
        #expect(image.bytes[(load.offset + entry - load.address)...].starts(with: [0xE6, 0x80]))
    }

    @Test func decodesEveryLetter() {
        let letters = SelfTestBytes.letters.withUTF8Buffer { unsafe Array($0) }
        #expect(letters.count == 2 * image.bytes.count)
        #expect(letters.allSatisfy { (97...112).contains($0) })
        let again = image.bytes.flatMap { [97 + $0 >> 4, 97 + $0 & 15] }
        #expect(again == letters)
    }
}
