import KVM

/// What the vCPUs' CPUID leaves are made from.
package struct CPUIDSource: Equatable, Sendable {
    /// What KVM can give.
    package let supported: [CPUIDEntry]
    /// How the vCPUs are grouped.
    package let topology: ProcessorTopology
    /// The width of guest-physical addresses; nil for the host's.
    package let physicalAddressBits: UInt32?
    /// The TSC's frequency in kHz, if it is known.
    package let tscKilohertz: UInt32?
    /// Whether KVM emulates the TSC deadline timer; KVM does not say so in its leaves.
    package let tscDeadline: Bool
    /// The host processor's leaves 0x8000_0002 to 0x8000_0004, its name, for where KVM does not tell them.
    package var hostBrand: [CPUIDEntry] = []

    package init(
        supported: [CPUIDEntry], topology: ProcessorTopology, physicalAddressBits: UInt32?, tscKilohertz: UInt32?,
        tscDeadline: Bool
    ) {
        (self.supported, self.topology, self.physicalAddressBits) = (supported, topology, physicalAddressBits)
        (self.tscKilohertz, self.tscDeadline) = (tscKilohertz, tscDeadline)
    }

    /// The guest's width of physical addresses.
    package var addressBits: UInt32 {
        let host = supported.first { $0.function == 0x8000_0008 }.map { $0.eax & 0xFF } ?? 36
        return min(host, physicalAddressBits ?? host)
    }
}

/// Makes the CPUID leaves of a vCPU. SDM volume 2, CPUID; APM volume 3, appendix E; kernel: virt/kvm/x86/cpuid.rst.
package enum GuestCPUID {
    private static let topologyLeaves: Set<UInt32> = [0xB, 0x1F, 0x80000026]

    /// The leaves of the processor's name, 48 characters.
    package static let brandLeaves: ClosedRange<UInt32> = 0x8000_0002...0x8000_0004

    /// Whether leaves name the processor.
    package static func hasBrand(_ entries: [CPUIDEntry]) -> Bool {
        entries.contains { brandLeaves.contains($0.function) && ($0.eax | $0.ebx | $0.ecx | $0.edx) != 0 }
    }

    /// The leaves of the vCPU with an APIC id.
    package static func entries(_ source: CPUIDSource, apicID: UInt32) -> [CPUIDEntry] {
        let isAMD = source.supported.first { $0.function == 0 }.map { $0.ebx == 0x6874_7541 || $0.ebx == 0x6F67_7948 }
        var entries = source.supported.filter { !topologyLeaves.contains($0.function) && $0.function != 0x4000_0010 }
        for index in entries.indices {
            adjust(&entries[index], source, apicID: apicID)
        }
        name(&entries, source)
        entries += extendedTopology(source.topology, apicID: apicID, function: 0xB)
        if isAMD != true {
            if maximumLeaf(source.supported) >= 0x1F || source.topology.dies > 1 {
                entries += extendedTopology(source.topology, apicID: apicID, function: 0x1F)
            }
        } else {
            groupAMD(&entries, source, apicID: apicID)
        }
        if let frequency = source.tscKilohertz, entries.contains(where: { $0.function == 0x4000_0000 }) {
            // VMware's leaf that KVM guests read as well: TSC and APIC bus frequency in kHz; KVM's bus runs at 1 GHz.
            var leaf = CPUIDEntry(0x4000_0010)
            (leaf.eax, leaf.ebx) = (frequency, 1_000_000)
            entries.append(leaf)
        }
        return entries
    }

    /// Gives the processor the host's name where it has none: Linux shows it in `/proc/cpuinfo`.
    private static func name(_ entries: inout [CPUIDEntry], _ source: CPUIDSource) {
        let brand = source.hostBrand.filter { brandLeaves.contains($0.function) }
        // The first extended leaf says how far they go; without it there are none.
        guard !hasBrand(entries), brand.count == brandLeaves.count,
            let top = entries.firstIndex(where: { $0.function == 0x8000_0000 })
        else { return }
        entries[top].eax = max(entries[top].eax, brandLeaves.upperBound)
        entries.removeAll { brandLeaves.contains($0.function) }
        entries += brand
    }

    /// Gives AMD's leaf of threads, cores and nodes to a processor that does not have it too: without it Linux takes
    /// each thread for a core.
    private static func groupAMD(_ entries: inout [CPUIDEntry], _ source: CPUIDSource, apicID: UInt32) {
        guard let top = entries.firstIndex(where: { $0.function == 0x8000_0000 }),
            let features = entries.firstIndex(where: { $0.function == 0x8000_0001 })
        else { return }
        entries[top].eax = max(entries[top].eax, 0x8000_001E)
        entries[features].ecx |= 1 << 22  // TOPOEXT
        guard !entries.contains(where: { $0.function == 0x8000_001E }) else { return }
        var leaf = CPUIDEntry(0x8000_001E)
        adjust(&leaf, source, apicID: apicID)
        entries.append(leaf)
    }

    private static func maximumLeaf(_ entries: [CPUIDEntry]) -> UInt32 {
        entries.first { $0.function == 0 }?.eax ?? 0
    }

    private static func adjust(_ entry: inout CPUIDEntry, _ source: CPUIDSource, apicID: UInt32) {
        let topology = source.topology
        switch entry.function {
        case 0x0: if topology.dies > 1 { entry.eax = max(entry.eax, 0x1F) } else { entry.eax = max(entry.eax, 0xB) }
        case 0x1: basic(&entry, source, apicID: apicID)
        case 0x4: cache(&entry, topology, coresField: true)
        case 0x6: entry.ecx &= ~0x9  // neither APERF/MPERF nor energy bias: their MSRs are not there
        case 0x4000_0000: entry.eax = source.tscKilohertz == nil ? max(entry.eax, 0x4000_0001) : 0x4000_0010
        // The interrupt routes here take destination ids of 15 bits (KVM_FEATURE_MSI_EXT_DEST_ID).
        case 0x4000_0001: entry.eax |= 1 << 15
        case 0x8000_0001:
            if topology.perPackage > 1 { entry.ecx |= 1 << 1 }
        case 0x8000_0008:
            entry.eax = entry.eax & ~0xFF | source.addressBits
            entry.ecx = topology.packageShift << 12 | min(topology.perPackage - 1, 0xFF)
        case 0x8000_001D: cache(&entry, topology, coresField: false)
        case 0x8000_001E:
            let die = apicID >> topology.dieShift
            entry.eax = apicID
            entry.ebx = (topology.threads - 1) << 8 | (apicID >> topology.coreShift & 0xFF)
            entry.ecx = (topology.dies - 1) << 8 | die & 0xFF
            entry.edx = 0
        default: break
        }
    }

    private static func basic(_ entry: inout CPUIDEntry, _ source: CPUIDSource, apicID: UInt32) {
        let logical = min(1 << source.topology.packageShift, 255)
        entry.ebx = entry.ebx & 0xFFFF | UInt32(logical) << 16 | (apicID & 0xFF) << 24
        entry.ecx |= 1 << 31 | 1 << 21
        entry.ecx &= ~(1 << 3)
        if source.tscDeadline { entry.ecx |= 1 << 24 }
        if source.topology.perPackage > 1 { entry.edx |= 1 << 28 } else { entry.edx &= ~(1 << 28) }
    }

    /// Who shares a cache: a core's threads up to level 2, a die at level 3 (EAX bits 14 to 25, ids less one).
    private static func cache(_ entry: inout CPUIDEntry, _ topology: ProcessorTopology, coresField: Bool) {
        guard entry.eax & 0x1F != 0 else { return }
        let level = entry.eax >> 5 & 7
        let shift = level >= 3 ? topology.dieShift : topology.coreShift
        entry.eax = entry.eax & ~(0xFFF << 14) | (((1 << shift) - 1) & 0xFFF) << 14
        if coresField {
            let cores = (1 << (topology.packageShift - topology.coreShift)) - 1
            entry.eax = entry.eax & ~(0x3F << 26) | UInt32(min(cores, 0x3F)) << 26
        }
    }

    /// The levels of leaf 0xB or 0x1F: thread, core and, in 0x1F, die.
    private static func extendedTopology(
        _ topology: ProcessorTopology, apicID: UInt32, function: UInt32
    ) -> [CPUIDEntry] {
        var levels: [(type: UInt32, shift: UInt32, count: UInt32)] = [(1, topology.coreShift, topology.threads)]
        if function == 0x1F, topology.dies > 1 {
            levels.append((2, topology.dieShift, topology.perDie))
            levels.append((5, topology.packageShift, topology.perPackage))
        } else {
            levels.append((2, topology.packageShift, topology.perPackage))
        }
        levels.append((0, 0, 0))
        return levels.enumerated().map { index, level in
            var entry = CPUIDEntry(function, UInt32(index), indexed: true)
            entry.eax = level.shift
            entry.ebx = level.count & 0xFFFF
            entry.ecx = UInt32(index) | level.type << 8
            entry.edx = apicID
            return entry
        }
    }
}
