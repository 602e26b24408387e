/// The blocks of a disk that came in a round. They take memory only where some came: a peer says how large its disks are.
struct SeenBlocks {
    /// Blocks of a leaf, and its words.
    private static let leaf = 64 << 10, words = leaf / 64
    private var leaves: [[UInt64]]

    /// - Parameter bytes: of the disk, at most ``MirroredDisk/sizeLimit``.
    init(bytes: UInt64) {
        leaves = Array(repeating: [], count: (DiskBlocks.count(in: bytes) + Self.leaf - 1) / Self.leaf)
    }

    /// Forgets them.
    mutating func clear() { for index in leaves.indices { leaves[index] = [] } }

    /// Adds blocks, which lie on the disk.
    ///
    /// - Returns: whether none of them was there; nothing changes otherwise.
    mutating func insert(_ blocks: Range<Int>) -> Bool {
        for block in blocks where contains(block) { return false }
        for block in blocks {
            let index = block / Self.leaf
            if leaves[index].isEmpty { leaves[index] = [UInt64](repeating: 0, count: Self.words) }
            leaves[index][block % Self.leaf / 64] |= 1 << UInt64(block % 64)
        }
        return true
    }

    func contains(_ block: Int) -> Bool {
        let leaf = leaves[block / Self.leaf]
        return !leaf.isEmpty && leaf[block % Self.leaf / 64] >> UInt64(block % 64) & 1 == 1
    }
}
