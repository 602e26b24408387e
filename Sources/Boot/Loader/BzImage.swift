import Memory

/// A Linux bzImage, entered in 64-bit mode. Kernel: Documentation/x86/boot.rst, "64-bit boot protocol".
struct BzImage {
    let source: PayloadSource
    let setupBytes: UInt64
    let header: ArraySlice<UInt8>
    let preferredAddress: UInt64, initSize: UInt64
    let initramfsLimit: UInt64, commandLineLimit: Int

    private static let headerStart = 0x1F1
    static let magicOffset = 0x202
    static let magic: [UInt8] = [0x48, 0x64, 0x72, 0x53]

    init(_ source: PayloadSource) throws(BootError) {
        let first = ByteReader(bytes: try source.read(0, 0x290, "setup header"))
        let version = first.u16(0x206)
        guard version >= 0x20C else {
            throw source.error(
                "is a Linux kernel with boot protocol \(version >> 8).\(version & 0xFF); 2.12 is needed",
                remedy: "use Linux 3.8 or newer")
        }
        guard first.bytes[0x211] & 1 != 0 else { throw source.error("is a zImage, which is not supported") }
        guard first.u16(0x236) & 1 != 0 else {
            throw source.error("has no 64-bit entry point", remedy: "use a kernel built for x86_64")
        }
        let setupSectors = first.bytes[0x1F1] == 0 ? 4 : UInt64(first.bytes[0x1F1])
        setupBytes = (setupSectors + 1) * 512
        guard source.size > setupBytes else {
            throw source.error(
                "is truncated: it ends within its setup code of \(setupBytes) bytes", remedy: "fetch it again")
        }
        // The header says how long the compressed kernel is, in paragraphs of 16 bytes.
        let kernelBytes = UInt64(first.u32(0x1F4)) * 16
        guard source.size - setupBytes + 16 > kernelBytes else {
            throw source.error(
                "is truncated: its header promises \(kernelBytes) bytes of kernel, and \(source.size - setupBytes) "
                    + "follow", remedy: "fetch it again")
        }
        // The byte at 0x201 is how far the header reaches behind 0x202.
        let end = min(0x202 + Int(first.bytes[0x201]), 0x290)
        header = first.bytes[Self.headerStart..<max(end, 0x268)]
        preferredAddress = first.u64(0x258)
        initSize = UInt64(first.u32(0x260))
        initramfsLimit = UInt64(first.u32(0x22C))
        commandLineLimit = Int(first.u32(0x238))
        self.source = source
    }

    /// Copies the protected-mode kernel to its preferred address.
    ///
    /// - Returns: what it uses until it has unpacked itself.
    func load(into memory: GuestMemory, below limit: UInt64) throws(BootError) -> Range<UInt64> {
        let size = source.size - setupBytes
        let (end, overflow) = preferredAddress.addingReportingOverflow(max(size, initSize))
        guard !overflow, preferredAddress >= MachineLayout.highRAMStart, end <= limit else {
            throw source.error(
                "needs \(humanSize(max(size, initSize))) of memory from \(hex(preferredAddress)) on to unpack itself, "
                    + "and RAM there ends at \(hex(limit))", remedy: "raise memory.size")
        }
        try source.load(setupBytes, size, to: preferredAddress, memory, "kernel", zeroed: true)
        return preferredAddress..<end
    }

    /// The zero page (`struct boot_params`, Documentation/x86/zero-page.rst).
    func bootParameters(commandLine: UInt64, initramfs: Range<UInt64>?, rsdp: UInt64, map: [MemoryMapEntry]) -> [UInt8]
    {
        var page = ByteWriter(count: 4096)
        page.put(header, at: Self.headerStart)
        page.put(UInt8(0xFF), at: 0x210)
        // Loaded high, and the heap's end is not used in 64-bit mode; KEEP_SEGMENTS and QUIET stay as they are.
        page.put(UInt8(header[0x211] | 0x01), at: 0x211)
        page.put(UInt32(truncatingIfNeeded: commandLine), at: 0x228)
        if let initramfs {
            let size = initramfs.upperBound - initramfs.lowerBound
            page.put(UInt32(truncatingIfNeeded: initramfs.lowerBound), at: 0x218)
            page.put(UInt32(truncatingIfNeeded: size), at: 0x21C)
            page.put(UInt32(truncatingIfNeeded: initramfs.lowerBound >> 32), at: 0xC0)
            page.put(UInt32(truncatingIfNeeded: size >> 32), at: 0xC4)
        }
        page.put(rsdp, at: 0x70)
        page.put(UInt8(min(map.count, 128)), at: 0x1E8)
        for (index, entry) in map.prefix(128).enumerated() {
            page.put(entry.address, at: 0x2D0 + 20 * index)
            page.put(entry.size, at: 0x2D0 + 20 * index + 8)
            page.put(entry.kind.rawValue, at: 0x2D0 + 20 * index + 16)
        }
        return page.bytes
    }

    /// Page tables that map the first 4 GiB to themselves with pages of 2 MiB (SDM volume 3, 4.5).
    static func pageTables(at base: UInt64) -> [UInt8] {
        var writer = ByteWriter(count: 6 * 4096)
        writer.put(base + 0x1000 | 3, at: 0)
        for table in 0..<4 {
            writer.put(base + 0x2000 + UInt64(table) * 0x1000 | 3, at: 0x1000 + 8 * table)
            for entry in 0..<512 {
                let address = UInt64(table) << 30 | UInt64(entry) << 21
                writer.put(address | 0x83, at: 0x2000 + 0x1000 * table + 8 * entry)
            }
        }
        return writer.bytes
    }
}
