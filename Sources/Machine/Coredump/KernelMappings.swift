import CLinux
import Memory

/// Finds what a guest's kernel has mapped where, so that a debugger can follow its pointers.
///
/// The tables are the guest's and may say anything: each is copied out, addresses outside RAM are left out, and the
/// number of ranges has a limit, which also ends tables that point at each other.
struct KernelMappings {
    /// A range of kernel addresses that lies in RAM in one piece.
    struct Range: Equatable {
        var virtual: UInt64, physical: UInt64, size: UInt64
    }

    private let memory: GuestMemory
    private let limit: Int
    private(set) var ranges: [Range] = []

    /// The ranges of the upper half of the address space under 4- or 5-level tables (SDM volume 3, 4.5); none where the
    /// vCPU does not use those.
    static func find(_ special: kvm_sregs, _ memory: GuestMemory, limit: Int) -> [Range] {
        // Paging, PAE and long mode.
        guard special.cr0 & 1 << 31 != 0, special.cr4 & 1 << 5 != 0, special.efer & 1 << 10 != 0 else { return [] }
        var mappings = KernelMappings(memory: memory, limit: limit)
        let levels = special.cr4 & 1 << 12 != 0 ? 5 : 4
        mappings.walk(table: special.cr3 & Self.addressBits, level: levels, virtual: 0, indices: 256..<512)
        return mappings.ranges
    }

    private init(memory: GuestMemory, limit: Int) { (self.memory, self.limit) = (memory, limit) }

    private static let addressBits: UInt64 = 0x000F_FFFF_FFFF_F000

    private mutating func walk(table: UInt64, level: Int, virtual: UInt64, indices: Swift.Range<Int>) {
        guard let bytes = try? memory.bytes(at: table, count: 4096) else { return }
        let shift = UInt64(12 + 9 * (level - 1))
        for index in indices where ranges.count < limit {
            let entry = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[8 * index + $1]) << UInt64(8 * $1) }
            guard entry & 1 != 0 else { continue }
            var address = virtual | UInt64(index) << shift
            // Canonical: the bits above the highest that is translated repeat it.
            if indices.lowerBound == 256 { address |= ~UInt64(0) << (shift + 8) }
            if level == 1 || (level <= 3 && entry & 1 << 7 != 0) {
                let size = UInt64(1) << shift
                add(virtual: address, physical: entry & Self.addressBits & ~(size - 1), size: size)
            } else {
                walk(table: entry & Self.addressBits, level: level - 1, virtual: address, indices: 0..<512)
            }
        }
    }

    /// Adds what of a mapping is RAM, to the range before it where it goes on there.
    private mutating func add(virtual: UInt64, physical: UInt64, size: UInt64) {
        for region in memory.ranges {
            let start = max(physical, region.address)
            let end = min(physical + size, region.end)
            guard start < end else { continue }
            let place = virtual + (start - physical)
            if let last = ranges.last, last.virtual &+ last.size == place, last.physical + last.size == start {
                ranges[ranges.count - 1].size += end - start
            } else {
                ranges.append(Range(virtual: place, physical: start, size: end - start))
            }
        }
    }
}
