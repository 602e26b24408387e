import Snapshot

/// What a guest was told that its processor has, against what a host's KVM can give.
package enum CPUIDNeeds {
    private struct Word {
        let leaf: UInt32, subleaf: UInt32
        let register: SnapshotNeeds.Register
        /// Bits that are not the host's: KVM emulates them, they say how vCPUs are grouped, or they follow the guest.
        var own: UInt32 = 0
    }

    /// The registers that are sets of features (SDM volume 2, CPUID; APM volume 3, appendix E).
    private static let words = [
        Word(leaf: 1, subleaf: 0, register: .ecx, own: 1 << 31 | 1 << 27 | 1 << 24 | 1 << 21),
        Word(leaf: 1, subleaf: 0, register: .edx, own: 1 << 28 | 1 << 9),
        Word(leaf: 7, subleaf: 0, register: .ebx), Word(leaf: 7, subleaf: 0, register: .ecx, own: 1 << 4),
        Word(leaf: 7, subleaf: 0, register: .edx), Word(leaf: 7, subleaf: 1, register: .eax),
        Word(leaf: 0xD, subleaf: 0, register: .eax), Word(leaf: 0xD, subleaf: 1, register: .eax),
        Word(leaf: 0x8000_0001, subleaf: 0, register: .ecx, own: 1 << 22 | 1 << 1),
        Word(leaf: 0x8000_0001, subleaf: 0, register: .edx, own: 1 << 9),
        Word(leaf: 0x8000_0008, subleaf: 0, register: .ebx),
        Word(leaf: 0x4000_0001, subleaf: 0, register: .eax, own: 1 << 15),
    ]

    /// What a guest of these leaves needs of its host.
    package static func of(_ leaves: [CPUIDEntry]) -> [SnapshotNeeds.CPUIDWord] {
        words.compactMap { word in
            let bits = value(word.leaf, word.subleaf, word.register, leaves) & ~word.own
            guard bits != 0 else { return nil }
            return SnapshotNeeds.CPUIDWord(leaf: word.leaf, subleaf: word.subleaf, word.register, bits: bits)
        }
    }

    /// A register of a leaf and subleaf; 0 where there is no such leaf.
    package static func value(
        _ leaf: UInt32, _ subleaf: UInt32, _ register: SnapshotNeeds.Register, _ leaves: [CPUIDEntry]
    ) -> UInt32 {
        guard let entry = leaves.first(where: { $0.function == leaf && $0.index == subleaf }) else { return 0 }
        return switch register {
        case .eax: entry.eax
        case .ebx: entry.ebx
        case .ecx: entry.ecx
        case .edx: entry.edx
        }
    }
}
