import Boot
import Memory
import TestSupport
import Testing

/// ELF kernels with a PVH entry: what is loaded where, byte by byte, and every way in which one can be damaged.
struct ELFLoadingTests {
    @Test func goodKernel() throws {
        let bench = try LoadingBench()
        let loaded = try bench.load(TinyELF().bytes, initramfs: [UInt8](repeating: 0x77, count: 5000))
        #expect(loaded.boot == "PVH")
        #expect(loaded.entry.mode == .protected32(startInfo: 0x6000) && loaded.entry.entry == 0x10_0010)
        #expect(try bench.memory.bytes(at: 0x10_0000, count: 32) == Array(1...32))
        #expect(try bench.memory.bytes(at: 0x2_0000, count: 14) == Array("console=ttyS0\0".utf8))
        let initramfs: UInt64 = 0x1FF_E000
        #expect(
            loaded.ranges.map(\.text) == ["kernel@100000+1000", "command line@20000+e", "initramfs@1ffe000+1388"])
        #expect(try bench.memory.bytes(at: initramfs, count: 5000).allSatisfy { $0 == 0x77 })
    }

    /// Of a section without bytes the whole pages that lie in a segment are zero, whatever is in the file.
    @Test func sectionsWithoutBytesAreNotRead() throws {
        typealias Section = (type: UInt32, flags: UInt64, start: UInt64, size: UInt64)
        let page = 4096
        // In the segment's pages 1 to 3, from a little before; one per thread; one with bytes; one that holds nothing.
        let sections: [Section] = [
            (8, 3, 0xFFF, 3 * 0x1000 + 1), (8, 0x403, 0x4000, 0x1000), (1, 3, 0x5000, 0x1000), (8, 0, 0x6000, 0x1000),
            (8, 3, 0x7800, 0x1000), (8, 3, .max - 1, 4), (8, 3, 0x9000, 0x10_0000),
        ]
        for isDamaged in [false, true] {
            let bench = try LoadingBench()
            var kernel = TinyELF()
            kernel.code = (0..<10 * page).map { UInt8(truncatingIfNeeded: $0 / page + 1) }
            kernel.memorySize = UInt64(11 * page)
            var file = kernel.bytes
            file.put(UInt64(isDamaged ? Int.max : file.count), at: 40)
            file.put(64 as UInt16, at: 58)
            file.put(UInt16(sections.count), at: 60)
            for section in sections {
                var header = [UInt8](repeating: 0, count: 64)
                header.put(section.type, at: 4)
                header.put(section.flags, at: 8)
                header.put(section.start, at: 16)
                header.put(section.size, at: 32)
                file += header
            }
            _ = try bench.load(file)
            let loaded = try bench.memory.bytes(at: 0x10_0000, count: 10 * page)
            let expected = isDamaged ? Array(1...10) : [1, 0, 0, 0, 5, 6, 7, 8, 9, 0]
            #expect((0..<10).map { Int(loaded[$0 * page]) } == expected)
            #expect((0..<10).map { Int(loaded[$0 * page + page - 1]) } == expected)
        }
    }

    @Test func startInformationByteByByte() throws {
        let bench = try LoadingBench()
        _ = try bench.load(TinyELF().bytes, initramfs: [1, 2, 3])
        let info: [UInt8] =
            [0x78, 0xC5, 0x6E, 0x33, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0] + little(0x6040 as UInt64)
            + little(0x2_0000 as UInt64) + little(0xE_0000 as UInt64) + little(0x7000 as UInt64)
            + [UInt8(bench.map.entries.count), 0, 0, 0, 0, 0, 0, 0]
        #expect(try bench.memory.bytes(at: 0x6000, count: 56) == info)
        let modules = little(0x1FF_F000 as UInt64) + little(3 as UInt64) + [UInt8](repeating: 0, count: 16)
        #expect(try bench.memory.bytes(at: 0x6040, count: 32) == modules)
        let expected: [(UInt64, UInt64, UInt32)] = [
            (0, 0xA_0000, 1), (0xA_0000, 0x6_0000, 2), (0x10_0000, 0x1F0_0000, 1), (0xE800_0000, 0x10_0000, 2),
        ]
        let map: [UInt8] = expected.flatMap { little($0.0) + little($0.1) + little($0.2) + little(0 as UInt32) }
        #expect(try bench.memory.bytes(at: 0x7000, count: map.count) == map)
        let gdt = [0, 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067] as [UInt64]
        #expect(try bench.memory.bytes(at: 0x500, count: 40) == gdt.flatMap { little($0) })
        let other = try LoadingBench()
        _ = try other.load(TinyELF().bytes)
        #expect(try other.memory.bytes(at: 0x600C, count: 12).allSatisfy { $0 == 0 })
    }

    @Test func truncatedAnywhere() throws {
        let bytes = TinyELF().bytes
        let bench = try LoadingBench()
        for length in 0..<bytes.count {
            let error = bench.refusal(Array(bytes[..<length]))
            #expect(error?.hasPrefix("$.payload.kernel: kernel: is ") == true, "\(length): \(error ?? "loaded")")
            if length >= 4 { #expect(error?.contains("is truncated: its ") == true, "\(length): \(error ?? "loaded")") }
        }
        #expect(bench.refusal(bytes) == nil)
    }

    /// What each damage of the file header and program headers leads to.
    @Test func damagedHeaders() throws {
        let bench = try LoadingBench()
        func check(_ expected: String, _ change: (inout [UInt8]) -> Void) {
            var bytes = TinyELF().bytes
            change(&bytes)
            let error = bench.refusal(bytes)
            #expect(error?.contains(expected) == true, "\(error ?? "loaded")")
        }
        let (code, note) = (TinyELF.tableOffset, TinyELF.tableOffset + 56)
        check("is an ELF file, but not a 64-bit little-endian one") { $0[4] = 1 }
        check("is an ELF file, but not a 64-bit little-endian one") { $0[5] = 2 }
        check("is an ELF file for machine 183, not x86_64 (62)") { $0.put(183 as UInt16, at: 18) }
        check("has 2 program headers of 55 bytes; a kernel has some, of 56 bytes") { $0.put(55 as UInt16, at: 54) }
        check("has 0 program headers of 56 bytes") { $0.put(0 as UInt16, at: 56) }
        check("is truncated: its program header table needs") { $0.put(UInt16.max, at: 56) }
        for offset in [0x220, .max, .max - 100, 1 << 63] as [UInt64] {
            check("is truncated: its program header table needs 112 bytes at offset \(offset)") {
                $0.put(offset, at: 32)
            }
            check("is truncated: its segment needs 32 bytes at offset \(offset)") { $0.put(offset, at: code + 8) }
            check("is truncated: its note segment needs 20 bytes at offset \(offset)") { $0.put(offset, at: note + 8) }
        }
        check("is truncated: its note segment needs 1048576 bytes") { $0.put(UInt64.max, at: note + 32) }
        check("larger in the file than in memory") { $0.put(UInt64.max, at: code + 32) }
        check("has nothing to load") { $0.put(0 as UInt32, at: code) }
        check("has nothing to load") { $0.put(0 as UInt64, at: code + 40) }
        for address in [0, 0xFF000, 0x1FF_F001, 0xFFFF_F000, .max, .max - 0xFFF, 1 << 63] as [UInt64] {
            check("has its PVH entry point 0x100010 outside all its segments") { $0.put(address, at: code + 24) }
        }
        check("wants 4 KiB at 0xff800, and RAM for kernels is 0x100000..<0x2000000; raise memory.size") { bytes in
            bytes.put(0xFF800 as UInt64, at: code + 24)
            bytes.put(0xFF810 as UInt32, at: TinyELF.noteOffset + 16)
        }
        check("has its PVH entry point 0x100010 outside all its segments") {
            $0.put(0x20_0000 as UInt64, at: code + 24)
        }
        check("raise memory.size") { $0.put(UInt64.max - 0x10_0000, at: code + 40) }
    }

    @Test func damagedNotes() throws {
        let bench = try LoadingBench()
        let none = "is an ELF file without a PVH entry point (note XEN_ELFNOTE_PHYS32_ENTRY)"
        func check(_ expected: String?, note: [UInt8]) {
            var elf = TinyELF()
            elf.note = note
            let error = bench.refusal(elf.bytes)
            #expect(expected.map { error?.contains($0) == true } ?? (error == nil), "\(error ?? "loaded")")
        }
        let good = TinyELF().note
        let other =
            little(3 as UInt32) + little(5 as UInt32) + little(1 as UInt32) + [65, 66, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]
        check(nil, note: other + good)
        check(nil, note: good + [1, 2, 3])
        check(nil, note: little(4 as UInt32) + little(8 as UInt32) + good[8..<16] + little(0x10_0010 as UInt64))
        check(none, note: little(4 as UInt32) + little(8 as UInt32) + good[8..<16] + little(0x1_0010_0010 as UInt64))
        check(none, note: [])
        check(none, note: Array(good[..<19]))
        for size in [UInt32.max, UInt32.max - 3, 0x8000_0000, 21, 2, 0] {
            check(none, note: little(size) + good[4...])
            check(none, note: good[..<4] + little(size) + good[8...])
        }
        check(none, note: good[..<8] + little(17 as UInt32) + good[12...])
        check(none, note: good[..<12] + Array("Xan\0".utf8) + good[16...])
    }

    @Test func aSegmentOverAnothersZeroes() throws {
        // The note is loaded as well, to where the code's segment has zeroes.
        var bytes = TinyELF().bytes
        let second = TinyELF.tableOffset + 56
        let third = second + 56
        bytes.put(3 as UInt16, at: 56)
        bytes.replaceSubrange(third..<(third + 56), with: Array(bytes[second..<(second + 56)]))
        bytes.put(1 as UInt32, at: third)
        bytes.put(0x10_0400 as UInt64, at: third + 24)
        bytes.put(20 as UInt64, at: third + 40)
        let bench = try LoadingBench()
        let loaded = try bench.load(bytes)
        #expect(loaded.ranges[0].text == "kernel@100000+1000")
        #expect(try bench.memory.bytes(at: 0x10_0400, count: 20) == TinyELF().note)
        #expect(try bench.memory.bytes(at: 0x10_0020, count: 32).allSatisfy { $0 == 0 })
    }

    /// A kernel in a file, with a page of zeroes between two others: it is written only where a segment lies below it.
    @Test(arguments: [false, true]) func zeroPagesOfAFile(overlapping: Bool) throws {
        var elf = TinyELF()
        elf.code = [UInt8](repeating: 5, count: 4096) + [UInt8](repeating: 0, count: 0x20000)
        elf.code[elf.code.count - 1] = 6
        elf.memorySize = 0x22000
        var bytes = elf.bytes
        if overlapping {
            // The same segment again, loaded over itself.
            let third = TinyELF.tableOffset + 112
            bytes.put(3 as UInt16, at: 56)
            bytes.replaceSubrange(third..<(third + 56), with: Array(bytes[TinyELF.tableOffset..<third - 56]))
            bytes.put(elf.address + 4096, at: third + 24)
        }
        let scratch = try ScratchDirectory("boot")
        let path = try scratch.write("vmlinux", bytes)
        let bench = try LoadingBench()
        try bench.memory.write([UInt8](repeating: 0xEE, count: 0x24000), at: elf.address)
        let kernel = try PayloadSource(path: path, field: "$.payload.kernel")
        let payload = Payload(kernel: kernel, initramfs: nil, commandLine: "")
        _ = try PayloadLoader.load(payload, into: bench.memory, map: bench.map, rsdp: 0xE_0000)
        let loaded = try bench.memory.bytes(at: elf.address, count: 0x24000)
        if overlapping {
            #expect(loaded[..<4096].allSatisfy { $0 == 5 } && loaded[4096..<8192].allSatisfy { $0 == 5 })
            #expect(loaded[8192..<0x21FFF].allSatisfy { $0 == 0 } && loaded[0x21FFF] == 6)
        } else {
            #expect(Array(loaded[..<elf.code.count].filter { $0 != 0xEE }.prefix(4096)) == Array(elf.code[..<4096]))
            #expect(loaded[0x11000..<0x20000].allSatisfy { $0 == 0xEE } && loaded[elf.code.count - 1] == 6)
            #expect(loaded[0x21000...].allSatisfy { $0 == 0xEE })
        }
    }

    @Test func mutationsNeverTrap() throws {
        let bench = try LoadingBench(size: 16 << 20)
        var random = SeededGenerator(seed: 0xE1F)
        var refused = 0
        let values: [UInt64] = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 63, .max, .max - 7]
        for _ in 0..<6000 {
            var bytes = TinyELF().bytes
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset = Int.random(in: 4..<0x114, using: &random)
                if Bool.random(using: &random) {
                    bytes[offset] = .random(in: 0...255, using: &random)
                } else {
                    bytes.put(values.randomElement(using: &random) ?? 0, at: offset)
                }
            }
            if bench.refusal(bytes) != nil { refused += 1 }
        }
        #expect(refused > 1000)
    }
}
