import Host
import Synchronization

/// Sends the blocks of disks over all the streams at once.
final class DiskSender: Sendable {
    private let source: any MirrorSource
    private let disks: [MirroredDisk]
    private let channels: [FrameChannel]
    private let buffers: [DiskBuffer]
    private let limit: BandwidthLimit?
    private let progress: MigrationProgress
    private let stop: MigrationStop
    private let patience: MigrationPatience

    init(
        _ source: any MirrorSource, _ disks: [MirroredDisk], _ channels: [FrameChannel], _ limit: BandwidthLimit?,
        _ ends: (progress: MigrationProgress, stop: MigrationStop, patience: MigrationPatience)
    ) throws(MigrationError) {
        (self.source, self.disks, self.channels, self.limit) = (source, disks, channels, limit)
        (progress, stop, patience) = ends
        var buffers: [DiskBuffer] = []
        for _ in channels { buffers.append(try DiskBuffer()) }
        self.buffers = buffers
    }

    /// How a round goes.
    struct Round: Sendable {
        var number: Int
        /// Whether the destination's images are still empty, so that zeroes need not go at all.
        var isFirst = false
        /// Whether the limit on the bandwidth counts.
        var isLimited = true
    }

    // MARK: What is to go

    /// The blocks that are not all hole. What is written from `begin` of the source on is noted there.
    func everything() throws(MigrationError) -> [[UInt64]] {
        var all: [[UInt64]] = []
        for (index, disk) in disks.enumerated() {
            var blocks = DiskBlocks.none(of: disk.size)
            var next: UInt64 = 0
            while next < disk.size, let data = try source.nextData(index, from: next), data.upperBound > next {
                if let asked = stop.asked { throw asked }
                let end = min(DiskBlocks.count(in: data.upperBound), DiskBlocks.count(in: disk.size))
                for block in Int(data.lowerBound / DiskBlocks.size)..<max(end, Int(data.lowerBound / DiskBlocks.size)) {
                    blocks[block / 64] |= 1 << UInt64(block % 64)
                }
                next = data.upperBound
            }
            all.append(blocks)
        }
        return all
    }

    // MARK: Sending

    /// Sends blocks, and returns when the last of them is on its way.
    ///
    /// - Parameter heeding: whether a wish for the end ends it.
    /// - Returns: the bytes that went out.
    func send(_ blocks: [[UInt64]], _ round: Round, heeding: Bool) throws(MigrationError) -> UInt64 {
        let size = DiskBlocks.bytes(blocks)
        progress.update { $0.disks?.remaining = size }
        guard size > 0 else { return 0 }
        let cursor = SharedCursor(blocks)
        return try StreamWork.run(
            channels, name: "mirror", isShort: size <= 8 * UInt64(DiskHead.dataLimit), heeding: heeding ? stop : nil,
            "a disk",
            state: { [self] index in Stream(channels[index], buffers[index], HostClock.monotonic) },
            step: { [self] (stream: inout Stream, _) throws(MigrationError) in
                guard let part = cursor.next() else { return nil }
                return try send(part, round, &stream, heeding: heeding)
            })
    }

    private final class SharedCursor: Sendable {
        private let cursor: Mutex<DiskBlocks.Cursor>

        init(_ blocks: [[UInt64]]) { cursor = Mutex(DiskBlocks.Cursor(blocks)) }

        func next() -> DiskBlocks.Cursor.Part? { cursor.withLock { $0.next() } }
    }

    /// A stream while one thread sends on it.
    private struct Stream {
        let channel: FrameChannel
        let buffer: DiskBuffer
        /// When the last frame went, in ns of the monotonic clock.
        var last: UInt64

        init(_ channel: FrameChannel, _ buffer: DiskBuffer, _ now: UInt64) {
            (self.channel, self.buffer, last) = (channel, buffer, now)
        }
    }

    private func send(
        _ part: DiskBlocks.Cursor.Part, _ round: Round, _ stream: inout Stream, heeding: Bool
    ) throws(MigrationError) -> Int {
        var sent = 0
        for run in Self.runs(part.mask) {
            let offset = UInt64(part.first + run.lowerBound) * DiskBlocks.size
            // The disk's last block may be shorter.
            let end = min(UInt64(part.first + run.upperBound) * DiskBlocks.size, disks[part.disk].size)
            guard offset < end else { continue }
            let count = Int(end - offset)
            try source.read(part.disk, into: stream.buffer.data.part(0..<count), at: offset)
            for piece in Self.pieces(stream.buffer.data, count) {
                let head = DiskHead(
                    disk: UInt32(part.disk), round: UInt32(clamping: round.number),
                    offset: offset + UInt64(piece.range.lowerBound), count: UInt64(piece.range.count))
                let heeded = heeding ? stop.event : nil
                let now = HostClock.monotonic
                if !piece.isZero {
                    if round.isLimited { limit?.wait(for: piece.range.count + DiskHead.size, heeding: stop.event) }
                    sent += try stream.channel.send(
                        head, piece.range, of: stream.buffer, within: patience.frame, heeding: heeded)
                } else if !round.isFirst || patience.isBreathDue(since: stream.last, at: now) {
                    // Whoever waits for a frame is to hear of a source that finds nothing to send for long.
                    try stream.channel.send(.diskZeroes, head.bytes, within: patience.frame, heeding: heeded)
                    sent += FrameHeader.size + DiskHead.size
                } else {
                    continue
                }
                stream.last = now
            }
        }
        let done = UInt64(part.mask.nonzeroBitCount) * DiskBlocks.size
        progress.update { report in
            report.bytes += UInt64(sent)
            report.disks?.sent += UInt64(sent)
            if let left = report.disks?.remaining { report.disks?.remaining = left - min(done, left) }
        }
        return sent
    }

    /// The blocks of a mask in ascending order as ranges without gaps.
    static func runs(_ mask: UInt16) -> [Range<Int>] {
        var runs: [Range<Int>] = []
        for block in 0..<DiskBlocks.perFrame where mask >> UInt16(block) & 1 == 1 {
            if let last = runs.last, last.upperBound == block {
                runs[runs.count - 1] = last.lowerBound..<block + 1
            } else {
                runs.append(block..<block + 1)
            }
        }
        return runs
    }

    /// The first bytes of a buffer as ranges of blocks that hold nothing but zeroes, or hold something, in turn.
    static func pieces(_ data: HostRange, _ count: Int) -> [(range: Range<Int>, isZero: Bool)] {
        let page = HostRange.pageSize
        let pages = (count + page - 1) / page
        // Room behind the disk's end, up to a whole page.
        data.part(count..<pages * page).clear()
        let found = data.nonzeroPages(of: PageSet(lowest: pages))
        let size = Int(DiskBlocks.size)
        var pieces: [(range: Range<Int>, isZero: Bool)] = []
        for start in stride(from: 0, to: count, by: size) {
            let end = min(start + size, count)
            // A block has 16 pages: a quarter of a word.
            let first = start / page
            let isZero = found[first / 64] >> UInt64(first % 64) & 0xFFFF == 0
            if let last = pieces.last, last.isZero == isZero {
                pieces[pieces.count - 1].range = last.range.lowerBound..<end
            } else {
                pieces.append((start..<end, isZero))
            }
        }
        return pieces
    }
}
