import Memory

/// What to boot.
package struct Payload: Sendable {
    /// The kernel, or firmware that is entered like one.
    package let kernel: PayloadSource
    /// The initial file system.
    package let initramfs: PayloadSource?
    /// The kernel's command line.
    package let commandLine: String

    package init(kernel: PayloadSource, initramfs: PayloadSource?, commandLine: String) {
        (self.kernel, self.initramfs, self.commandLine) = (kernel, initramfs, commandLine)
    }
}

/// A payload in guest memory, ready to run.
package struct LoadedPayload: Equatable, Sendable {
    /// How the boot processor starts.
    package let entry: EntryState
    /// What lies where.
    package let ranges: [LoadedRange]
    /// The boot protocol's name.
    package let boot: String

    /// The protocol and what was loaded, for people: a command line without its end, none where it is empty.
    package var words: String {
        let parts = ranges.compactMap { range -> String? in
            guard range.name == PayloadLoader.commandLineName else { return "\(range.name) \(range.size) bytes" }
            return range.size > 1 ? "\(range.name) \(range.size - 1) bytes" : nil
        }
        return ([boot] + parts).joined(separator: ", ")
    }
}

/// Recognises a payload and loads it.
package enum PayloadLoader {
    /// The longest command line of a kernel that does not say its own limit: COMMAND_LINE_SIZE less the end.
    package static let commandLineLimit = 2047

    /// The range of the command line.
    static let commandLineName = "command line"

    private enum Image {
        case elf(ELFImage)
        case bzImage(BzImage)
    }

    /// Loads kernel, initramfs, command line and boot data into fresh guest memory.
    ///
    /// - Parameter rsdp: where the ACPI tables begin.
    package static func load(
        _ payload: Payload, into memory: GuestMemory, map: MemoryMap, rsdp: UInt64
    ) throws(BootError) -> LoadedPayload {
        let image = try recognise(payload.kernel)
        let kernel: Range<UInt64>
        var initramfsEnd = map.lowEnd
        var limit = commandLineLimit
        switch image {
        case .elf(let elf): kernel = try elf.load(into: memory, below: map.lowEnd)
        case .bzImage(let linux):
            kernel = try linux.load(into: memory, below: map.lowEnd)
            initramfsEnd = min(initramfsEnd, linux.initramfsLimit &+ 1)
            limit = linux.commandLineLimit
        }
        let initramfs = try payload.initramfs.map { source throws(BootError) in
            try place(source, above: kernel.upperBound, below: initramfsEnd, memory)
        }
        let commandLine = try commandLineBytes(payload.commandLine, limit: limit)
        try write(commandLine, at: BootLayout.commandLine, memory)
        var ranges = [
            LoadedRange(name: "kernel", address: kernel.lowerBound, size: kernel.upperBound - kernel.lowerBound),
            LoadedRange(name: commandLineName, address: BootLayout.commandLine, size: UInt64(commandLine.count)),
        ]
        if let initramfs {
            ranges.append(
                LoadedRange(
                    name: "initramfs", address: initramfs.lowerBound,
                    size: initramfs.upperBound - initramfs.lowerBound))
        }
        let entry: EntryState
        switch image {
        case .elf(let elf):
            try write(PVHStart.modules(initramfs), at: BootLayout.moduleList, memory)
            try write(PVHStart.memoryMap(map.entries), at: BootLayout.memoryMap, memory)
            let info = PVHStart.info(hasInitramfs: initramfs != nil, rsdp: rsdp, mapCount: map.entries.count)
            try write(info, at: BootLayout.startInfo, memory)
            entry = EntryState(mode: .protected32(startInfo: BootLayout.startInfo), entry: UInt64(elf.entry))
        case .bzImage(let linux):
            let parameters = linux.bootParameters(
                commandLine: BootLayout.commandLine, initramfs: initramfs, rsdp: rsdp, map: map.entries)
            try write(parameters, at: BootLayout.bootParameters, memory)
            try write(BzImage.pageTables(at: BootLayout.pageTables), at: BootLayout.pageTables, memory)
            entry = EntryState(
                mode: .long64(bootParameters: BootLayout.bootParameters, pageTables: BootLayout.pageTables),
                entry: kernel.lowerBound + 0x200)
        }
        try write(entry.descriptorTable, at: BootLayout.gdt, memory)
        let boot =
            switch image {
            case .elf: "PVH"
            case .bzImage: "Linux 64-bit"
            }
        return LoadedPayload(entry: entry, ranges: ranges, boot: boot)
    }

    /// Tells what a payload is without loading it.
    package static func inspect(_ source: PayloadSource) throws(BootError) -> String {
        switch try recognise(source) {
        case .elf: "ELF with a PVH entry"
        case .bzImage: "Linux bzImage"
        }
    }

    private static func recognise(_ source: PayloadSource) throws(BootError) -> Image {
        let count = Int(min(source.size, 0x206))
        let head = try source.read(0, count, "first bytes")
        if head.starts(with: ELFImage.magic) { return .elf(try ELFImage(source)) }
        if head.count == 0x206, Array(head[BzImage.magicOffset..<BzImage.magicOffset + 4]) == BzImage.magic {
            return .bzImage(try BzImage(source))
        }
        let known: [([UInt8], String)] = [
            ([0x1F, 0x8B], "a gzip file"), ([0xFD, 0x37, 0x7A, 0x58], "an xz file"),
            ([0x28, 0xB5, 0x2F, 0xFD], "a zstd file"), ([0x02, 0x21, 0x4C, 0x18], "an LZ4 file"),
            ([0x51, 0x46, 0x49, 0xFB], "a qcow2 disk image"),
            ([0x4D, 0x5A], "an EFI executable or a kernel for arm64"),
        ]
        let what = known.first { head.starts(with: $0.0) }?.1
        let start = head.prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
        throw source.error(
            "is \(what ?? "neither ELF nor bzImage") (it begins with \(start))",
            remedy: "give an uncompressed vmlinux with a PVH entry, or a bzImage")
    }

    private static func commandLineBytes(_ text: String, limit: Int) throws(BootError) -> [UInt8] {
        let bytes = Array(text.utf8)
        let room = min(limit, Int(BootLayout.commandLineRoom) - 1)
        guard bytes.count <= room else {
            throw BootError(
                "$.payload.cmdline", "", "is \(bytes.count) bytes long, and this kernel takes \(room)",
                remedy: "shorten it")
        }
        return bytes + [0]
    }

    /// Puts the initramfs as high as it may lie, so that the kernel has room to grow.
    private static func place(
        _ source: PayloadSource, above start: UInt64, below end: UInt64, _ memory: GuestMemory
    ) throws(BootError) -> Range<UInt64> {
        let (floor, ceiling) = ((start + 0xFFF) & ~0xFFF, end & ~0xFFF)
        guard ceiling > floor, source.size <= ceiling - floor else {
            let room = ceiling > floor ? ceiling - floor : 0
            throw source.error(
                "is \(humanSize(source.size)), and \(humanSize(room)) of RAM are left for it behind the kernel",
                remedy: "raise memory.size")
        }
        let address = (ceiling - source.size) & ~0xFFF
        guard address >= floor else {
            throw source.error("does not fit behind the kernel", remedy: "raise memory.size")
        }
        try source.load(0, source.size, to: address, memory, "content", zeroed: true)
        return address..<address + source.size
    }

    private static func write(_ bytes: [UInt8], at address: UInt64, _ memory: GuestMemory) throws(BootError) {
        do throws(GuestMemoryError) {
            try memory.write(bytes, at: address)
        } catch {
            throw BootError("$.memory.size", "", "boot data does not fit: \(error)")
        }
    }
}
