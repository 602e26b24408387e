import Boot
import Memory
import TestSupport
import Testing

/// bzImages, the files that are neither, initramfs and command line.
struct BzImageLoadingTests {
    @Test func goodKernel() throws {
        let bench = try LoadingBench()
        let loaded = try bench.load(TinyBzImage.bytes)
        #expect(loaded.boot == "Linux 64-bit")
        #expect(loaded.entry.mode == .long64(bootParameters: 0x8000, pageTables: 0x9000))
        #expect(loaded.entry.entry == 0x20_0200)
        #expect(try bench.memory.bytes(at: 0x20_0000, count: 1024) == Array(TinyBzImage.bytes[1024...]))
        #expect(loaded.ranges[0].text == "kernel@200000+100000")
    }

    @Test func bootParametersByteByByte() throws {
        let bench = try LoadingBench()
        _ = try bench.load(TinyBzImage.bytes, initramfs: [9, 9, 9])
        var page = [UInt8](repeating: 0, count: 4096)
        page.replaceSubrange(0x1F1..<0x26C, with: TinyBzImage.bytes[0x1F1..<0x26C])
        page.put(0xE_0000 as UInt64, at: 0x70)
        page[0x1E8] = 4
        page[0x210] = 0xFF
        page.put(0x1FF_F000 as UInt32, at: 0x218)
        page.put(3 as UInt32, at: 0x21C)
        page.put(0x2_0000 as UInt32, at: 0x228)
        let map: [(UInt64, UInt64, UInt32)] = [
            (0, 0xA_0000, 1), (0xA_0000, 0x6_0000, 2), (0x10_0000, 0x1F0_0000, 1), (0xE800_0000, 0x10_0000, 2),
        ]
        page.replaceSubrange(
            0x2D0..<(0x2D0 + 80), with: map.flatMap { little($0.0) + little($0.1) + little($0.2) })
        #expect(try bench.memory.bytes(at: 0x8000, count: 4096) == page)
    }

    @Test func pageTablesMapFourGibibytes() throws {
        let bench = try LoadingBench()
        _ = try bench.load(TinyBzImage.bytes)
        func entry(_ table: UInt64, _ index: UInt64) throws -> UInt64 { try bench.memory.read(at: table + 8 * index) }
        #expect(try entry(0x9000, 0) == 0xA003 && entry(0x9000, 1) == 0)
        for address in [0, 0x20_0000, 0x3FE0_0000, 0x4000_0000, 0xC012_3456, 0xFFFF_FFFF] as [UInt64] {
            let middle = try entry(0xA000, address >> 30)
            let last = try entry(middle & ~0xFFF, address >> 21 & 511)
            #expect(middle & 0xFFF == 3 && last == address & ~0x1F_FFFF | 0x83)
        }
        #expect(try entry(0xA000, 4) == 0)
    }

    @Test func truncatedAnywhere() throws {
        let bytes = TinyBzImage.bytes
        let bench = try LoadingBench()
        for length in stride(from: 0, to: bytes.count - 15, by: 7) {
            let error = bench.refusal(Array(bytes[..<length]))
            #expect(error != nil, "\(length) bytes were loaded")
            if length >= 0x206 { #expect(error?.contains("is truncated: ") == true, "\(length): \(error ?? "")") }
        }
    }

    @Test func damagedHeaders() throws {
        let bench = try LoadingBench()
        func check(_ expected: String?, _ change: (inout [UInt8]) -> Void) {
            var bytes = TinyBzImage.bytes
            change(&bytes)
            let error = bench.refusal(bytes)
            #expect(expected.map { error?.contains($0) == true } ?? (error == nil), "\(error ?? "loaded")")
        }
        check("is a Linux kernel with boot protocol 2.11; 2.12 is needed; use Linux 3.8 or newer") {
            $0.put(0x20B as UInt16, at: 0x206)
        }
        check("is a zImage") { $0[0x211] = 0 }
        check("has no 64-bit entry point; use a kernel built for x86_64") { $0.put(0 as UInt16, at: 0x236) }
        check("it ends within its setup code of 2560 bytes") { $0[0x1F1] = 0 }
        check("it ends within its setup code of 131072 bytes") { $0[0x1F1] = 255 }
        check("its header promises 68719476720 bytes of kernel, and 1024 follow") { $0.put(UInt32.max, at: 0x1F4) }
        for address in [0, 0xFFFFF, 0x1F0_0001, .max, .max - 0x10_0000] as [UInt64] {
            check("of memory from 0x\(String(address, radix: 16)) on to unpack itself") { $0.put(address, at: 0x258) }
        }
        check("needs 4294967295 bytes of memory") { $0.put(UInt32.max, at: 0x260) }
        check(nil) { $0[0x201] = 0 }
        check(nil) { $0[0x201] = 255 }
        check(nil) { $0.put(0 as UInt32, at: 0x260) }
    }

    @Test func otherFiles() throws {
        let bench = try LoadingBench()
        let kinds: [([UInt8], String)] = [
            ([0x1F, 0x8B, 8, 0], "a gzip file"), ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "an xz file"),
            ([0x28, 0xB5, 0x2F, 0xFD], "a zstd file"), ([0x02, 0x21, 0x4C, 0x18], "an LZ4 file"),
            ([0x51, 0x46, 0x49, 0xFB], "a qcow2 disk image"),
            ([0x4D, 0x5A], "an EFI executable or a kernel for arm64"),
            ([1, 2, 3], "neither ELF nor bzImage"),
        ]
        for (magic, words) in kinds {
            let error = bench.refusal(magic + [UInt8](repeating: 0, count: 0x300))
            #expect(error?.contains("is \(words) (it begins with ") == true)
            #expect(error?.hasSuffix("give an uncompressed vmlinux with a PVH entry, or a bzImage") == true)
        }
        let scratch = try ScratchDirectory("payload")
        func refusal(_ path: String) -> String? {
            do throws(BootError) {
                _ = try PayloadSource(path: path, field: "$.payload.kernel")
                return nil
            } catch {
                return error.description
            }
        }
        #expect(refusal(scratch.path)?.contains("is a directory; name the file in it") == true)
        #expect(refusal(scratch.path("no"))?.contains("cannot be opened: No such file or directory (ENOENT)") == true)
        #expect(refusal(try scratch.write("empty", ""))?.hasSuffix("is empty; fetch or build it again") == true)
        #expect(refusal("/dev/null")?.contains("is not a regular file") == true)
    }

    @Test func filesAreLoadedLikeBytes() throws {
        let scratch = try ScratchDirectory("payload")
        let kernel = try PayloadSource(path: scratch.write("vmlinux", TinyELF().bytes), field: "$.payload.kernel")
        let initramfs = try PayloadSource(path: scratch.sparse("initrd", bytes: 8 << 20), field: "$.payload.initramfs")
        let bench = try LoadingBench()
        let payload = Payload(kernel: kernel, initramfs: initramfs, commandLine: "")
        let loaded = try PayloadLoader.load(payload, into: bench.memory, map: bench.map, rsdp: 0)
        #expect(loaded.ranges.last?.text == "initramfs@1800000+800000")
        #expect(try PayloadLoader.inspect(kernel) == "ELF with a PVH entry")
        // A file that is cut between the look and the load.
        try scratch.write("initrd", "short")
        #expect(throws: BootError.self) {
            try PayloadLoader.load(payload, into: bench.memory, map: bench.map, rsdp: 0)
        }
    }

    @Test func initramfsAndCommandLineThatDoNotFit() throws {
        let bench = try LoadingBench(size: 16 << 20)
        let large = [UInt8](repeating: 0, count: 16 << 20)
        #expect(
            bench.refusal(TinyELF().bytes, initramfs: large)
                == "$.payload.initramfs: initramfs: is 16 MiB, and 15356 KiB of RAM are left for it behind the kernel; "
                + "raise memory.size")
        let longest = String(repeating: "x", count: 2047)
        #expect(bench.refusal(TinyELF().bytes, commandLine: longest) == nil)
        #expect(
            bench.refusal(TinyELF().bytes, commandLine: longest + "x")
                == "$.payload.cmdline: is 2048 bytes long, and this kernel takes 2047; shorten it")
        var short = TinyBzImage.bytes
        short.put(10 as UInt32, at: 0x238)
        #expect(bench.refusal(short, commandLine: "12345678901")?.contains("this kernel takes 10") == true)
        short.put(UInt32.max, at: 0x238)
        #expect(bench.refusal(short, commandLine: String(repeating: "x", count: 65_535)) == nil)
        #expect(bench.refusal(short, commandLine: String(repeating: "x", count: 65_536)) != nil)
        var low = TinyBzImage.bytes
        low.put(0 as UInt32, at: 0x22C)
        #expect(bench.refusal(low, initramfs: [1])?.contains("0 bytes of RAM are left") == true)
    }

    @Test func memoryMaps() throws {
        #expect(throws: BootError.self) { try MemoryMap(size: (16 << 20) - 4096) }
        #expect(throws: BootError.self) { try MemoryMap(size: .max) }
        let large = try MemoryMap(size: 8 << 30)
        #expect(
            large.ranges == [
                MemoryRange(address: 0, size: 3 << 30), MemoryRange(address: 4 << 30, size: 5 << 30),
            ])
        #expect(large.lowEnd == 3 << 30 && large.end == 9 << 30)
        let last = large.entries.last
        #expect(last?.address == 4 << 30 && last?.size == 5 << 30 && last?.kind == .usable)
    }

    @Test func mutationsNeverTrap() throws {
        let bench = try LoadingBench(size: 16 << 20)
        var random = SeededGenerator(seed: 0xB2)
        var taken = 0
        for _ in 0..<3000 {
            var bytes = TinyBzImage.bytes
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset = Int.random(in: 0x1F1..<0x268, using: &random)
                if Bool.random(using: &random) {
                    bytes[offset] = .random(in: 0...255, using: &random)
                } else {
                    bytes.put([0, 1, .max, .max - 1, 1 << 31].randomElement(using: &random) ?? 0 as UInt32, at: offset)
                }
            }
            if bench.refusal(bytes, initramfs: [1, 2, 3], commandLine: "a") == nil { taken += 1 }
        }
        #expect((100..<2900).contains(taken))
    }
}
