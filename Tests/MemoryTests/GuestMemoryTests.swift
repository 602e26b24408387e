import CLinux
import Foundation
import Host
import Memory
import TestSupport
import Testing

/// Regions, checked copies at their borders, the dirty pages, and memory that others can map.
struct GuestMemoryTests {
    private func make(_ change: (inout MemoryBacking) -> Void = { _ in }) throws -> GuestMemory {
        var backing = MemoryBacking()
        change(&backing)
        return try GuestMemory(
            [MemoryRange(address: 0x1000, size: 0x2000), MemoryRange(address: 0x10000, size: 0x1000)], backing)
    }

    @Test func copiesInsideRegions() throws {
        for shared in [false, true] {
            let memory = try make { $0.shared = shared }
            try memory.write(0x1122_3344_5566_7788 as UInt64, at: 0x2FF8)
            #expect(try memory.bytes(at: 0x2FF8, count: 8) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
            #expect(try memory.read(UInt16.self, at: 0x2FFB) == 0x4455)
            try memory.write([1, 2, 3], at: 0x10FFD)
            #expect(try memory.read(UInt8.self, at: 0x10FFF) == 3)
            try memory.zero(at: 0x10FFE, count: 2)
            #expect(try memory.bytes(at: 0x10FFD, count: 3) == [1, 0, 0])
            #expect((memory.fileDescriptor != nil) == shared)
            #expect(memory.size == 0x3000)
        }
    }

    @Test(
        arguments: [
            (0, 1), (0xFFF, 1), (0xFFF, 2), (0x2FFF, 2), (0x3000, 1), (0x10FFF, 2), (0x11000, 1), (.max, 1),
            (.max - 7, 8),
            (1 << 63, 8), (0x1000, 0x2001),
        ] as [(UInt64, Int)])
    func rangesThatAreNotRAM(address: UInt64, count: Int) throws {
        let memory = try make()
        let error = GuestMemoryError.outside(address: address, length: UInt64(count))
        #expect(throws: error) { try memory.bytes(at: address, count: count) }
        #expect(throws: error) { try memory.write([UInt8](repeating: 1, count: count), at: address) }
        #expect(throws: error) { try memory.zero(at: address, count: UInt64(count)) }
        #expect(throws: GuestMemoryError.self) { try memory.zero(at: 0x1000, count: .max) }
    }

    @Test func emptyRangesAreFine() throws {
        let memory = try make()
        #expect(try memory.bytes(at: .max, count: 0).isEmpty)
        #expect(try memory.bytes(at: 0, count: -5).isEmpty)
        try memory.write([], at: 0)
        try memory.zero(at: .max, count: 0)
    }

    @Test func regionsThatCannotBe() {
        let cases: [[(UInt64, UInt64)]] = [
            [(0, 0)], [(0, 4095)], [(1, 4096)], [(0, 8192), (4096, 4096)], [(8192, 4096), (0, 4096)],
            [(.max - 4095, 8192)], [(0, 1 << 63)],
        ]
        for ranges in cases {
            #expect(throws: GuestMemoryError.self, "\(ranges)") {
                try GuestMemory(ranges.map { MemoryRange(address: $0.0, size: $0.1) })
            }
        }
        #expect(throws: GuestMemoryError.self) { try make { $0.hugePageSize = 2 << 20 } }
    }

    @Test func dirtyPages() throws {
        let memory = try make()
        try memory.write(1 as UInt8, at: 0x1000)
        #expect(memory.dirty.take() == [0])
        memory.dirty.setTracking(true)
        try memory.write([1, 2], at: 0x1FFF)
        try memory.write(1 as UInt8, at: 0x10FFF)
        #expect(memory.dirty.take() == [0b111])
        #expect(memory.dirty.take() == [0])
        memory.markDirty(0x2FFF, .max)
        memory.markDirty(0x5000, 1)
        memory.markDirty(0x1000, 0)
        #expect(memory.dirty.take() == [0b010])
        memory.dirty.setTracking(false)
        try memory.zero(at: 0x1000, count: 4096)
        #expect(memory.dirty.take() == [0])
    }

    @Test func filesAreLoaded() throws {
        let memory = try make()
        let scratch = try ScratchDirectory("memory")
        let path = try scratch.write("file", Array(0..<100))
        let file = try FileDescriptor.open(path, 0)
        try memory.load(file, offset: 90, count: 10, at: 0x1000, path: path)
        #expect(try memory.bytes(at: 0x1000, count: 11) == Array(90..<100) + [0])
        #expect(throws: GuestMemoryError.shortFile(path: path, wanted: 11, got: 10)) {
            try memory.load(file, offset: 90, count: 11, at: 0x1000, path: path)
        }
        #expect(throws: GuestMemoryError.outside(address: 0x2FFF, length: 2)) {
            try memory.load(file, offset: 0, count: 2, at: 0x2FFF, path: path)
        }
        #expect(throws: GuestMemoryError.self) { try memory.load(file, offset: .max, count: 1, at: 0x1000, path: path) }
    }

    @Test func zeroPagesOfAFileAreLeftAlone() throws {
        let memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        // Zeroes; a page with one byte behind them; a chunk that begins with something; zeroes with an odd end.
        var bytes = [UInt8](repeating: 0, count: 3 * 0x10000 + 0x5003)
        bytes[0x4FFF] = 7
        bytes[0x10000] = 8
        bytes[0x1FFFF] = 9
        bytes[bytes.count - 1] = 10
        let scratch = try ScratchDirectory("memory")
        let path = try scratch.write("file", [1, 2, 3] + bytes)
        let file = try FileDescriptor.open(path, 0)
        // What is there already shows which pages were written.
        let before = [UInt8](repeating: 0xEE, count: 0x60000)
        try memory.write(before, at: 0x1000)
        memory.dirty.setTracking(true)
        try memory.loadIntoZeroes(file, offset: 3, count: bytes.count, at: 0x2000, path: path)
        var expected = before
        func copy(_ range: Range<Int>) {
            expected.replaceSubrange((range.lowerBound + 0x1000)..<(range.upperBound + 0x1000), with: bytes[range])
        }
        copy(0x4000..<0x5000)
        copy(0x10000..<0x11000)
        copy(0x1F000..<0x20000)
        copy(0x35000..<0x35003)
        #expect(try memory.bytes(at: 0x1000, count: before.count) == expected)
        let words = memory.dirty.take()
        let written = (0..<words.count * 64).filter { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }
        #expect(written == [6, 0x12, 0x21, 0x37])
    }

    /// A page counts as zero only when each of its bytes is, wherever the one that is not stands.
    @Test func onePageIsCopiedForOneByte() throws {
        let page = 4096
        let places = [0, 1, 31, 32, 511, 512, 2047, 3583, 3584, 4064, 4095]
        let memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        var bytes = [UInt8](repeating: 0, count: 2 * places.count * page)
        for (index, place) in places.enumerated() { bytes[2 * index * page + place] = 0x80 }
        let scratch = try ScratchDirectory("memory")
        let path = try scratch.write("file", bytes)
        let file = try FileDescriptor.open(path, 0)
        let before = [UInt8](repeating: 0xEE, count: bytes.count)
        try memory.write(before, at: 0)
        try memory.loadIntoZeroes(file, offset: 0, count: bytes.count, at: 0, path: path)
        let after = try memory.bytes(at: 0, count: bytes.count)
        for index in 0..<(2 * places.count) {
            let range = (index * page)..<((index + 1) * page)
            #expect(after[range] == (index % 2 == 0 ? bytes : before)[range], "page \(index)")
        }
    }

    /// The file is unmapped when it is told to, not while somebody waits for the copy.
    @Test func aCopiedFileStaysMappedUntilItIsReleased() throws {
        func isMapped(_ path: String) throws -> Bool {
            let maps = try String(
                decoding: FileHandle(forReadingFrom: URL(filePath: "/proc/self/maps")).readToEnd() ?? Data(),
                as: UTF8.self)
            return maps.contains(URL(filePath: path).lastPathComponent)
        }
        let memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        let scratch = try ScratchDirectory("memory")
        let path = try scratch.write("mapped-until-released", [UInt8](repeating: 1, count: 8192))
        let file = try FileDescriptor.open(path, 0)
        try memory.loadIntoZeroes(file, offset: 0, count: 8192, at: 0, path: path)
        #expect(try isMapped(path))
        memory.releaseSources()
        #expect(try !isMapped(path))
        #expect(try memory.bytes(at: 0, count: 8192) == [UInt8](repeating: 1, count: 8192))
    }

    /// Where the host has huge pages for it, a byte takes one, but not in the first two MiB, of which a guest uses little.
    @Test func theFirstPagesAreSmall() throws {
        let huge = 2 << 20
        let memory = try GuestMemory([MemoryRange(address: 0, size: 8 << 20)])
        func resident(_ address: UInt64) throws -> Int {
            let pointer = unsafe memory.hostPointer(address, UInt64(huge))
            guard let start = unsafe pointer else { return -1 }
            var pages = [UInt8](repeating: 0, count: huge / 4096)
            guard unsafe mincore(start, huge, &pages) == 0 else { return -1 }
            return pages.count { $0 & 1 != 0 }
        }
        try memory.write([1], at: 0x10_0000)
        try memory.write([1], at: 0x40_0000)
        #expect(try resident(0) == 2)
        let setting = try? String(contentsOfFile: "/sys/kernel/mm/transparent_hugepage/enabled", encoding: .utf8)
        if let setting, !setting.contains("[never]") { #expect(try resident(0x40_0000) == huge / 4096) }
        #expect(try resident(0x60_0000) == 0)
    }

    @Test func aFileThatEndsEarlyIsNamed() throws {
        let memory = try make()
        let scratch = try ScratchDirectory("memory")
        for fill in [0, 1] as [UInt8] {
            let path = try scratch.write("file\(fill)", [UInt8](repeating: fill, count: 100))
            let file = try FileDescriptor.open(path, 0)
            #expect(throws: GuestMemoryError.shortFile(path: path, wanted: 101, got: 100)) {
                try memory.loadIntoZeroes(file, offset: 0, count: 101, at: 0x1000, path: path)
            }
            for offset in [UInt64(Int.max) - 50, .max] {
                #expect(throws: GuestMemoryError.shortFile(path: path, wanted: 100, got: 0)) {
                    try memory.loadIntoZeroes(file, offset: offset, count: 100, at: 0x1000, path: path)
                }
            }
            for (address, count) in [(0x2FFF, 2), (0x9000, 1), (0x1000, Int.max)] as [(UInt64, Int)] {
                #expect(throws: GuestMemoryError.outside(address: address, length: UInt64(count))) {
                    try memory.loadIntoZeroes(file, offset: 0, count: count, at: address, path: path)
                }
            }
        }
    }

    @Test func allocatingAheadCanBeCancelled() throws {
        var backing = MemoryBacking()
        backing.prefault = true
        var asked = 0
        #expect(throws: GuestMemoryError.cancelled) {
            _ = try GuestMemory([MemoryRange(address: 0, size: 1 << 30)], backing) {
                asked += 1
                return asked == 2
            }
        }
        #expect(asked == 2)
    }

    /// A file that becomes shorter while it is copied is an error, as one that was too short before; a signal would
    /// end the process.
    @Test func aFileThatBecomesShorterWhileItIsCopied() throws {
        let page = 4096
        let scratch = try ScratchDirectory("memory")
        let path = try scratch.write("file", [UInt8](repeating: 1, count: 4 * page))
        let file = try FileDescriptor.open(path, 2)
        let mapping = try Mapping(length: 4 * page, .privateFile(descriptor: file.raw, offset: 0))
        try file.truncate(to: UInt64(2 * page), path: path)
        var target = [UInt8](repeating: 0, count: 5 * page)
        let done = unsafe target.withUnsafeMutableBytes { bytes in
            let start = unsafe UnsafeMutableRawPointer(
                bitPattern: (UInt(bitPattern: bytes.baseAddress) + UInt(page - 1)) & ~UInt(page - 1))
            return unsafe cl_copy_nonzero_pages(start, mapping.base, 4 * page, nil)
        }
        #expect(done == 2 * page)
        #expect(target.count { $0 == 1 } == 2 * page)
        let memory = try make()
        #expect(throws: GuestMemoryError.shortFile(path: path, wanted: 2 * page, got: page)) {
            try memory.loadIntoZeroes(file, offset: UInt64(page), count: 2 * page, at: 0x1000, path: path)
        }
    }

    /// KVM maps a huge page for the guest only where its guest-physical and its host address have the same place in it.
    @Test(arguments: [false, true]) func hugePagesFitTheGuestAndTheHost(shared: Bool) throws {
        var backing = MemoryBacking()
        backing.shared = shared
        let ranges = [
            MemoryRange(address: 0, size: 5 << 20), MemoryRange(address: 0x4010_3000, size: 4 << 20),
            MemoryRange(address: 1 << 32, size: 2 << 20),
        ]
        // One that is mapped before shifts what follows.
        let odd = try Mapping(length: 4096)
        let memory = try GuestMemory(ranges, backing)
        for (index, range) in ranges.enumerated() {
            #expect(UInt64(memory.hostAddress(ofRegion: index)) % (2 << 20) == range.address % (2 << 20))
            try memory.write([1, 2, 3], at: range.end - 3)
            #expect(try memory.bytes(at: range.end - 3, count: 3) == [1, 2, 3])
        }
        #expect(odd.length == 4096)
    }

    @Test func sharedMemoryIsInItsFile() throws {
        let memory = try make { $0.shared = true }
        try memory.write([7, 8, 9], at: 0x10000)
        let file = try FileDescriptor.duplicate(number: try #require(memory.fileDescriptor))
        // The regions lie one behind the other.
        #expect(try file.readExactly(3, at: 0x2000, path: "memfd") == [7, 8, 9])
        #expect(try file.status().size == 0x3000)
    }
}
