import Memory

/// One range of the memory map that a boot protocol hands over, with the types of e820 (ACPI 6.5 table 15.4).
package struct MemoryMapEntry: Equatable, Sendable {
    /// What the range is.
    package enum Kind: UInt32, Sendable { case usable = 1, reserved = 2 }
    /// The first guest-physical address, and the length in bytes.
    package let address: UInt64, size: UInt64
    /// What it is.
    package let kind: Kind
}

/// Where RAM lies, and what the guest is told of it.
package struct MemoryMap: Equatable, Sendable {
    /// The smallest guest, in bytes.
    package static let minimum: UInt64 = 16 << 20

    /// RAM, ascending.
    package let ranges: [MemoryRange]
    /// The map for the guest.
    package let entries: [MemoryMapEntry]
    /// The first address behind the RAM below 4 GiB, and behind all RAM.
    package let lowEnd: UInt64, end: UInt64

    /// Lays out RAM.
    ///
    /// - Parameter size: bytes, whole pages, at least `minimum`.
    package init(size: UInt64) throws(BootError) {
        guard size >= Self.minimum, let ranges = MachineLayout.ram(size: size), let last = ranges.last else {
            throw BootError("$.memory.size", "", "\(size) bytes cannot be laid out", remedy: "16 MiB is the least")
        }
        self.ranges = ranges.map { MemoryRange(address: $0.lowerBound, size: $0.upperBound - $0.lowerBound) }
        lowEnd = ranges[0].upperBound
        end = last.upperBound
        func entry(_ range: Range<UInt64>, _ kind: MemoryMapEntry.Kind) -> MemoryMapEntry {
            MemoryMapEntry(address: range.lowerBound, size: range.upperBound - range.lowerBound, kind: kind)
        }
        var entries = [
            entry(MachineLayout.lowRAM, .usable), entry(MachineLayout.biosArea, .reserved),
            entry(MachineLayout.highRAMStart..<ranges[0].upperBound, .usable), entry(MachineLayout.ecam, .reserved),
        ]
        for range in ranges.dropFirst() { entries.append(entry(range, .usable)) }
        self.entries = entries
    }
}
