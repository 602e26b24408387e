import Host

/// The disks of a machine that leaves, for their images to be copied while its guest writes to them. The sender's threads
/// call it, several at once; disks go by their place in the hello's list.
package protocol MirrorSource: AnyObject, Sendable {
    /// Notes from now on which blocks are written.
    func begin() throws(MigrationError)
    /// The blocks that were written since the last time, and forgets them: for each disk, block i (``DiskBlocks``) in bit
    /// i % 64 of word i / 64.
    func takeWritten() throws(MigrationError) -> [[UInt64]]
    /// Notes no more; nothing if it did not.
    func end()
    /// The first bytes of a disk at or behind an offset that are no hole; nil where there are none.
    func nextData(_ disk: Int, from offset: UInt64) throws(MigrationError) -> Range<UInt64>?
    /// Fills a range, which is page-aligned, from an offset of a disk.
    func read(_ disk: Int, into range: HostRange, at offset: UInt64) throws(MigrationError)
}

extension MirrorSource {
    /// How many bytes of a disk are no holes.
    package func dataBytes(_ disk: Int) throws(MigrationError) -> UInt64 {
        var (bytes, next): (UInt64, UInt64) = (0, 0)
        while let data = try nextData(disk, from: next), data.upperBound > next {
            bytes += UInt64(data.count)
            next = data.upperBound
        }
        return bytes
    }
}

/// A disk whose image comes along, as the hello lists it.
package struct MirroredDisk: Codable, Equatable, Sendable {
    /// The device's.
    package var id: String
    /// Bytes that the guest sees, and how many of them were no holes when the source looked.
    package var size: UInt64, dataBytes: UInt64
    /// What the guest was told of the sizes of its blocks, in bytes.
    package var logicalBlockSize: UInt32, physicalBlockSize: UInt32

    package init(id: String, size: UInt64, dataBytes: UInt64, logicalBlockSize: UInt32, physicalBlockSize: UInt32) {
        (self.id, self.size, self.dataBytes) = (id, size, dataBytes)
        (self.logicalBlockSize, self.physicalBlockSize) = (logicalBlockSize, physicalBlockSize)
    }

    /// The most disks, and the most bytes of one, 64 TiB: what is noted of each block has to fit into memory.
    static let countLimit = 256
    package static let sizeLimit: UInt64 = 1 << 46

    /// Checks a list that came.
    static func check(_ disks: [MirroredDisk]) throws(MigrationError) {
        guard disks.count <= countLimit, Set(disks.map(\.id)).count == disks.count else {
            throw .violation("the peer's hello lists \(disks.count) disks, some of them twice perhaps")
        }
        for disk in disks {
            guard disk.size > 0, disk.size % 512 == 0, disk.size <= sizeLimit else {
                throw .violation("the peer's hello has a disk of \(disk.size) bytes")
            }
        }
    }
}

/// The blocks that disks are copied by.
package enum DiskBlocks {
    /// Bytes of a block; a disk's last one may be shorter.
    package static let size: UInt64 = 64 << 10
    /// The most blocks of a frame of bytes, and the most of one of zeroes.
    static let perFrame = 16, zeroesPerFrame = 16 << 10

    /// How many blocks there are in so many bytes.
    static func count(in bytes: UInt64) -> Int { Int(bytes / size) + (bytes % size == 0 ? 0 : 1) }

    /// None of them, for a disk of so many bytes.
    static func none(of bytes: UInt64) -> [UInt64] { [UInt64](repeating: 0, count: (count(in: bytes) + 63) / 64) }

    /// The bytes of the blocks, as if none were short.
    static func bytes(_ blocks: [[UInt64]]) -> UInt64 {
        UInt64(Bitmaps.count(blocks)) * size
    }

    /// Hands out the blocks in parts of a frame at most.
    struct Cursor {
        struct Part: Equatable {
            let disk: Int
            /// The first block that bit 0 of the mask stands for.
            let first: Int
            let mask: UInt16
        }

        private let blocks: [[UInt64]]
        private var (disk, group) = (0, 0)

        init(_ blocks: [[UInt64]]) { self.blocks = blocks }

        mutating func next() -> Part? {
            while disk < blocks.count {
                let words = blocks[disk]
                while group / 4 < words.count {
                    let word = words[group / 4] >> UInt64(group % 4 * perFrame)
                    guard word != 0 else {
                        group = (group / 4 + 1) * 4
                        continue
                    }
                    group += 1
                    let mask = UInt16(truncatingIfNeeded: word)
                    if mask != 0 { return Part(disk: disk, first: (group - 1) * perFrame, mask: mask) }
                }
                (disk, group) = (disk + 1, 0)
            }
            return nil
        }
    }
}
