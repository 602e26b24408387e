import Host

/// What a frame is.
package enum FrameKind: UInt16, CaseIterable, Sendable {
    /// The source says what it has, and what it wants.
    case hello = 1
    /// The destination takes it.
    case welcome
    /// The destination does not, or not any more, and says why; it holds nothing of the machine then.
    case refusal
    /// A further stream says which migration it is of, and which stream.
    case join
    /// A descriptor of the memory itself comes with this frame.
    case memory
    /// Pages of a chunk.
    case pages
    /// The round's pages have all been sent on this stream.
    case roundEnd
    /// The destination has a round's pages of all streams.
    case roundDone
    /// The machine's state but its memory.
    case state
    /// The destination has memory and state, and both are sound.
    case ready
    /// The source has let go of the disks and interfaces.
    case release
    /// The destination has the machine as it was, standing still.
    case prepared
    /// The machine is the destination's from here on.
    case commit
    /// The destination has read that.
    case committed
    /// The source gives up and keeps the machine.
    case abort
    /// Bytes of a disk.
    case diskData = 40
    /// A range of a disk that holds zeroes.
    case diskZeroes
    /// Pages of a chunk, compressed.
    case packedPages = 48
    /// The source is at work, and has nothing to send yet.
    case breath
    /// What of the machine stays as it is until it stops, by which the destination may make it before.
    case outline

    /// Which pages hold something: the others are zeroes, and those come in a postcopy migration after the commit, or when
    /// they are wanted.
    case map = 32
    /// The destination's guest waits for pages.
    case want
    /// How many frames of pages the destination has taken on this stream.
    case got
    /// The source of a token is back.
    case rejoin
    /// Which pages the destination still lacks.
    case standing
    /// The destination needs nothing more of the source.
    case complete
    /// The source knows that.
    case farewell

    /// The most bytes of its payload.
    var limit: Int {
        switch self {
        case .hello, .welcome, .refusal: 1 << 20
        case .join: 4096
        case .pages, .packedPages: PagesHead.size + PagesHead.chunkSize
        case .state: 64 << 20
        case .outline: 16 << 20
        case .abort: 64 << 10
        case .diskData: DiskHead.size + DiskHead.dataLimit
        case .diskZeroes: DiskHead.size
        case .roundEnd, .roundDone, .got: 8
        case .map, .standing: 64 << 20
        case .want: PageList.entrySize
        case .rejoin: 4096
        case .memory, .ready, .release, .prepared, .commit, .committed, .complete, .farewell, .breath: 0
        }
    }
}

/// What stands in front of each frame's payload: 32 bytes, numbers little-endian.
///
///     0 "SWMG"   4 kind   6 zero   8 sequence   16 length   24 CRC-32C of the payload   28 CRC-32C of bytes 0 to 27
package struct FrameHeader: Equatable, Sendable {
    package static let size = 32
    static let magic: [UInt8] = Array("SWMG".utf8)

    package var kind: FrameKind
    /// Counts the frames of a direction of a stream, from 0.
    package var sequence: UInt64
    /// Bytes of the payload.
    package var length: Int
    /// The payload's checksum.
    package var checksum: UInt32

    package init(_ kind: FrameKind, sequence: UInt64, length: Int, checksum: UInt32) {
        (self.kind, self.sequence, self.length, self.checksum) = (kind, sequence, length, checksum)
    }

    /// The header's bytes.
    package var bytes: [UInt8] {
        var bytes = Self.magic
        bytes.reserveCapacity(Self.size)
        LittleEndian.append(UInt64(kind.rawValue), 4, to: &bytes)
        LittleEndian.append(sequence, 8, to: &bytes)
        LittleEndian.append(UInt64(length), 8, to: &bytes)
        LittleEndian.append(UInt64(checksum), 4, to: &bytes)
        LittleEndian.append(UInt64(Checksum.crc32c(bytes)), 4, to: &bytes)
        return bytes
    }

    /// Reads a header.
    ///
    /// - Parameter sequence: the number that it has to have.
    /// - Throws: where it is none, or not the next one, or its payload is longer than its kind may have.
    package init(_ bytes: [UInt8], sequence expected: UInt64) throws(MigrationError) {
        guard bytes.count == Self.size, bytes.starts(with: Self.magic) else {
            throw .violation("what came is no frame of a migration")
        }
        guard LittleEndian.number(bytes, 28, 4) == UInt64(Checksum.crc32c(Array(bytes[..<28]))) else {
            throw .violation("a frame's header was damaged on the way")
        }
        let number = LittleEndian.number(bytes, 4, 4)
        guard let raw = UInt16(exactly: number), let kind = FrameKind(rawValue: raw) else {
            throw .violation("a frame has the kind \(number), which this version does not know")
        }
        sequence = LittleEndian.number(bytes, 8, 8)
        guard sequence == expected else {
            throw .violation("frame \(sequence) (\(kind)) came where frame \(expected) was to come")
        }
        let wide = LittleEndian.number(bytes, 16, 8)
        guard let length = Int(exactly: wide), length <= kind.limit else {
            throw .violation("a frame (\(kind)) says that it has \(wide) bytes, and may have \(kind.limit)")
        }
        self.kind = kind
        self.length = length
        checksum = UInt32(truncatingIfNeeded: LittleEndian.number(bytes, 24, 4))
    }
}

/// Numbers in little-endian bytes.
enum LittleEndian {
    static func append(_ value: UInt64, _ size: Int, to bytes: inout [UInt8]) {
        for index in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
    }

    /// The number of `size` bytes at an offset; the bytes have to be there.
    static func number(_ bytes: [UInt8], _ offset: Int, _ size: Int) -> UInt64 {
        (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }

    static func append(_ pages: PageSet, to bytes: inout [UInt8]) {
        for word in 0..<8 { append(pages[word], 8, to: &bytes) }
    }

    /// The pages of 64 bytes at an offset; the bytes have to be there.
    static func pages(_ bytes: [UInt8], _ offset: Int) -> PageSet {
        var pages = PageSet()
        for word in 0..<8 { pages[word] = number(bytes, offset + 8 * word, 8) }
        return pages
    }
}

/// What stands in front of the pages of a chunk of memory: which they are.
///
///     0 guest-physical address of the chunk   8 round   16 the pages whose bytes follow   80 the pages that are zero
package struct PagesHead: Equatable, Sendable {
    package static let size = 144
    /// Where its pages begin in a frame.
    static let dataStart = FrameHeader.size + size
    /// Bytes of a chunk; a region's last one may be shorter.
    package static let chunkSize = 2 << 20

    /// Where the chunk begins, a whole number of chunks behind the start of its region.
    package var address: UInt64
    /// The round that the pages are of.
    package var round: UInt64
    /// The pages whose bytes follow, in ascending order, and those that hold zeroes now.
    package var present: PageSet, zero: PageSet

    package init(address: UInt64, round: UInt64, present: PageSet, zero: PageSet) {
        (self.address, self.round, self.present, self.zero) = (address, round, present, zero)
    }

    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size)
        LittleEndian.append(address, 8, to: &bytes)
        LittleEndian.append(round, 8, to: &bytes)
        LittleEndian.append(present, to: &bytes)
        LittleEndian.append(zero, to: &bytes)
        return bytes
    }

    /// Reads a head from `size` bytes.
    init(_ bytes: [UInt8]) {
        address = LittleEndian.number(bytes, 0, 8)
        round = LittleEndian.number(bytes, 8, 8)
        (present, zero) = (LittleEndian.pages(bytes, 16), LittleEndian.pages(bytes, 80))
    }

    /// Refuses a head that its own data belies.
    ///
    /// - Parameter dataBytes: how many bytes come with it.
    func check(dataBytes: Int) throws(MigrationError) {
        guard present.pageCount * HostRange.pageSize == dataBytes else {
            throw .violation("\(dataBytes) bytes came for \(present.pageCount) pages")
        }
        guard (present & zero).isEmpty else {
            throw .violation("a page of 0x\(String(address, radix: 16)) came with bytes and as zeroes")
        }
    }
}
