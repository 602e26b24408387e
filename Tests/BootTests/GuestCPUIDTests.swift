import Boot
import KVM
import TestSupport
import Testing

/// The leaves that vCPUs get of made-up hosts, and the ids of grouped vCPUs.
struct GuestCPUIDTests {
    private func leaf(
        _ function: UInt32, _ index: UInt32 = 0, _ values: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
    ) -> CPUIDEntry {
        var entry = CPUIDEntry(function, index, indexed: function == 4 || function == 0x8000_001D)
        (entry.eax, entry.ebx, entry.ecx, entry.edx) = values
        return entry
    }

    private var intel: [CPUIDEntry] {
        [
            leaf(0, 0, (0x16, 0x756E_6547, 0x6C65_746E, 0x4965_6E69)),
            leaf(1, 0, (0x50654, 0x0F10_0800, 0x8, 0x0BAB_FBFF)),
            leaf(4, 0, (0x1C00_4121, 0, 0, 0)), leaf(4, 3, (0x1C03_C163, 0, 0, 0)), leaf(4, 4, (0, 0, 0, 0)),
            leaf(6, 0, (4, 0, 9, 0)), leaf(0xB, 0, (7, 7, 7, 7)), leaf(0x4000_0000, 0, (0x4000_0001, 1, 2, 3)),
            leaf(0x4000_0001), leaf(0x8000_0000, 0, (0x8000_0008, 0, 0, 0)), leaf(0x8000_0001),
            leaf(0x8000_0008, 0, (0x302E, 0, 0, 0)),
        ]
    }

    private func entries(
        _ host: [CPUIDEntry], _ topology: ProcessorTopology, apicID: UInt32 = 0, bits: UInt32? = nil, tsc: UInt32? = nil
    ) -> [CPUIDEntry] {
        GuestCPUID.entries(
            CPUIDSource(
                supported: host, topology: topology, physicalAddressBits: bits, tscKilohertz: tsc, tscDeadline: true),
            apicID: apicID)
    }

    private func find(_ entries: [CPUIDEntry], _ function: UInt32, _ index: UInt32 = 0) -> CPUIDEntry? {
        entries.first { $0.function == function && $0.index == index }
    }

    /// Linux shows the name in /proc/cpuinfo and asks for it only where the extended leaves go that far.
    @Test func namesTheProcessorWhereKVMDoesNot() throws {
        func bytes(_ text: String) -> [UInt8] {
            Array(text.utf8) + [UInt8](repeating: 0, count: 48 - text.utf8.count)
        }
        func name(_ text: String) -> [CPUIDEntry] {
            let words = stride(from: 0, to: 48, by: 4).map { start in
                bytes(text)[start..<start + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            }
            return (0..<3).map { index in
                let part = words[4 * index..<4 * index + 4].map { $0 }
                return leaf(0x8000_0002 + UInt32(index), 0, (part[0], part[1], part[2], part[3]))
            }
        }
        let brand = name("A processor of the host's, with a long name")
        func brands(_ supported: [CPUIDEntry]) -> [CPUIDEntry] {
            var source = CPUIDSource(
                supported: supported, topology: ProcessorTopology(flat: 1), physicalAddressBits: nil,
                tscKilohertz: nil, tscDeadline: true)
            source.hostBrand = brand
            return GuestCPUID.entries(source, apicID: 0).filter { GuestCPUID.brandLeaves.contains($0.function) }
        }
        #expect(brands(intel) == brand)
        #expect(brands(intel + name("")) == brand)
        let given = name("KVM's own")
        #expect(brands(intel + given) == given)
        // Without extended leaves there is no place for a name.
        #expect(brands(intel.filter { $0.function < 0x8000_0000 }) == [])
        var short = intel.filter { $0.function <= 0x8000_0001 }
        let top = try #require(short.firstIndex { $0.function == 0x8000_0000 })
        short[top].eax = 0x8000_0001
        var source = CPUIDSource(
            supported: short, topology: ProcessorTopology(flat: 1), physicalAddressBits: nil, tscKilohertz: nil,
            tscDeadline: true)
        source.hostBrand = brand
        #expect(find(GuestCPUID.entries(source, apicID: 0), 0x8000_0000)?.eax == 0x8000_0004)
    }

    @Test func basicLeavesOfIntel() {
        let topology = ProcessorTopology(threads: 2, cores: 4, dies: 1, packages: 2)
        let leaves = entries(intel, topology, apicID: 11)
        let basic = find(leaves, 1)
        #expect(basic?.ebx == 0x0B08_0800)
        // Hypervisor, x2APIC and TSC deadline are on, MONITOR is off; several threads in a package.
        #expect(basic?.ecx == 0x8120_0000)
        #expect(basic.map { $0.edx >> 28 & 1 } == 1)
        #expect(find(leaves, 0)?.eax == 0x16 && find(leaves, 6)?.ecx == 0)
        #expect(leaves.filter { $0.function == 0xB }.count == 3)
        #expect(find(leaves, 0x1F) == nil)
        #expect(find(leaves, 0x4000_0001)?.eax == 0x8000)
        #expect(find(leaves, 0x8000_0008)?.eax == 0x302E)
    }

    @Test func extendedTopology() {
        let topology = ProcessorTopology(threads: 2, cores: 3, dies: 2, packages: 2)
        let leaves = entries(intel, topology, apicID: 21)
        let levels = (0..<4).map { index in find(leaves, 0x1F, UInt32(index)) }
        #expect(levels.map { $0?.eax } == [1, 3, 4, 0])
        #expect(levels.map { $0?.ebx } == [2, 6, 12, 0])
        #expect(levels.map { $0?.ecx } == [0x100, 0x201, 0x502, 0x003])
        #expect(levels.allSatisfy { $0?.edx == 21 && $0?.flags == 1 })
        #expect((0..<3).map { find(leaves, 0xB, UInt32($0))?.eax } == [1, 4, 0])
        #expect(find(leaves, 0)?.eax == 0x1F)
    }

    @Test func cachesAreSharedByTheRightVCPUs() {
        let leaves = entries(intel, ProcessorTopology(threads: 2, cores: 4, dies: 1, packages: 1))
        #expect(find(leaves, 4, 0).map { $0.eax >> 14 & 0xFFF } == 1)
        #expect(find(leaves, 4, 3).map { $0.eax >> 14 & 0xFFF } == 7)
        #expect(find(leaves, 4, 0).map { $0.eax >> 26 } == 3)
        #expect(find(leaves, 4, 0).map { $0.eax & 0x3FFF } == 0x0121)
        #expect(find(leaves, 4, 4)?.eax == 0)
    }

    @Test func leavesOfAMD() {
        let amd = [
            leaf(0, 0, (0x10, 0x6874_7541, 0x444D_4163, 0x6974_6E65)), leaf(1),
            leaf(0x8000_0000, 0, (0x8000_001F, 0, 0, 0)),
            leaf(0x8000_0001), leaf(0x8000_0008, 0, (0x3030, 0, 0, 0)), leaf(0x8000_001D, 0, (0x121, 0, 0, 0)),
            leaf(0x8000_001D, 3, (0x163, 0, 0, 0)),
        ]
        let leaves = entries(amd, ProcessorTopology(threads: 2, cores: 8, dies: 1, packages: 1), apicID: 5)
        #expect(find(leaves, 0x8000_0001)?.ecx == 0x40_0002)
        #expect(find(leaves, 0x8000_0000)?.eax == 0x8000_001F)
        #expect(find(leaves, 0x8000_0008)?.ecx == 0x400F)
        #expect(find(leaves, 0x8000_001D, 0).map { $0.eax >> 14 } == 1)
        #expect(find(leaves, 0x8000_001D, 3).map { $0.eax >> 14 } == 15)
        let node = find(leaves, 0x8000_001E)
        #expect(node?.eax == 5 && node?.ebx == 0x102 && node?.ecx == 0)
        #expect(find(leaves, 0x1F) == nil)
    }

    /// A processor from before threads: what the guest's are grouped by is there all the same.
    @Test func groupsVCPUsOnAnAMDWithoutTheLeafForIt() {
        let amd = [
            leaf(0, 0, (0xD, 0x6874_7541, 0x444D_4163, 0x6974_6E65)), leaf(1),
            leaf(0x8000_0000, 0, (0x8000_000A, 0, 0, 0)), leaf(0x8000_0001, 0, (0, 0, 5, 0)),
            leaf(0x8000_0008, 0, (0x3030, 0, 0, 0)),
        ]
        let leaves = entries(amd, ProcessorTopology(threads: 2, cores: 2, dies: 2, packages: 1), apicID: 7)
        #expect(find(leaves, 0x8000_0000)?.eax == 0x8000_001E)
        #expect(find(leaves, 0x8000_0001)?.ecx == 0x40_0007)
        let node = find(leaves, 0x8000_001E)
        #expect(node?.eax == 7 && node?.ebx == 0x103 && node?.ecx == 0x101)
        #expect(leaves.filter { $0.function == 0x8000_001E }.count == 1)
    }

    @Test func addressWidthAndTSC() {
        let flat = ProcessorTopology(flat: 1)
        #expect(find(entries(intel, flat, bits: 40), 0x8000_0008)?.eax == 0x3028)
        #expect(find(entries(intel, flat, bits: 52), 0x8000_0008)?.eax == 0x302E)
        #expect(find(entries(intel, flat), 0x4000_0010) == nil)
        let leaves = entries(intel, flat, tsc: 2_400_000)
        #expect(find(leaves, 0x4000_0010)?.eax == 2_400_000 && find(leaves, 0x4000_0010)?.ebx == 1_000_000)
        #expect(find(leaves, 0x4000_0000)?.eax == 0x4000_0010)
        #expect(find(leaves, 1).map { $0.edx >> 28 & 1 } == 0)
        #expect(entries([], flat).allSatisfy { $0.function == 0xB })
    }

    @Test func apicIDs() {
        #expect(ProcessorTopology(flat: 5).apicIDs(5) == [0, 1, 2, 3, 4])
        let uneven = ProcessorTopology(threads: 2, cores: 3, dies: 1, packages: 2)
        #expect(uneven.apicIDs(12) == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13])
        let dies = ProcessorTopology(threads: 1, cores: 1, dies: 3, packages: 2)
        #expect(dies.apicIDs(6) == [0, 1, 2, 4, 5, 6])
        for topology in [uneven, dies, ProcessorTopology(threads: 3, cores: 5, dies: 2, packages: 3)] {
            let ids = topology.apicIDs(90)
            #expect(Set(ids).count == 90 && ids == ids.sorted())
        }
        #expect(ProcessorTopology(threads: 0, cores: 0, dies: 0, packages: 0) == ProcessorTopology(flat: 1))
    }

    @Test func groupsBeyondAllNumbers() {
        // Products that leave 32 bits must not divide by zero.
        let wild = ProcessorTopology(threads: 65536, cores: 65536, dies: 1, packages: 1)
        #expect(wild.apicID(7) == 7)
        #expect(!entries(intel, wild).isEmpty)
        #expect(!entries(intel, ProcessorTopology(threads: .max, cores: .max, dies: .max, packages: .max)).isEmpty)
    }
}
