import Host
import Snapshot
import Synchronization

/// Sends a round's pages over all the streams at once.
final class RoundSender: Sendable {
    private struct Work: Sendable {
        let region: Int
        let offset: Int
        let pages: PageSet
    }

    private let source: any MigrationSource
    private let regions: [MemoryRegion]
    private let channels: [FrameChannel]
    private let progress: MigrationProgress
    private let stop: MigrationStop
    let limit: BandwidthLimit?
    private let patience: MigrationPatience

    init(
        _ source: any MigrationSource, _ channels: [FrameChannel], _ options: SenderOptions,
        _ progress: MigrationProgress, _ stop: MigrationStop
    ) {
        (self.source, self.channels, self.progress, self.stop) = (source, channels, progress, stop)
        regions = source.regions
        limit = options.bandwidth.map { BandwidthLimit($0) }
        patience = options.patience
    }

    /// Sends the pages of a round.
    ///
    /// - Parameters:
    ///   - pages: for each region, as the source's `takeWritten` has them.
    ///   - isFirst: whether the destination's memory still holds zeroes, so that pages of zeroes need not go at all.
    ///   - isLimited: whether the limit on the bandwidth counts.
    ///   - heeding: whether a wish for the end ends it.
    /// - Returns: the bytes that went out, or would have without compression: as such the bytes are counted that are still
    ///   to go.
    func send(
        round: Int, _ pages: [[UInt64]], isFirst: Bool, isLimited: Bool, heeding: Bool
    ) throws(MigrationError) -> UInt64 {
        let work = Self.work(pages, regions)
        let next = NextIndex()
        return try StreamWork.run(
            channels, name: "migrate", isShort: work.count <= 8, heeding: heeding ? stop : nil, "pages",
            // When the last frame went over the stream.
            state: { _ in HostClock.monotonic },
            step: { [self] (last: inout UInt64, channel) throws(MigrationError) in
                let index = next.take()
                guard index < work.count else { return nil }
                return try send(
                    work[index], round, channel, after: &last, isFirst: isFirst, isLimited: isLimited,
                    heeding: heeding)
            })
    }

    private final class NextIndex: Sendable {
        private let value = Atomic<Int>(0)

        // Ordering: the number orders nothing else.
        func take() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }
    }

    private static func work(_ pages: [[UInt64]], _ regions: [MemoryRegion]) -> [Work] {
        var work: [Work] = []
        for (region, words) in pages.enumerated() where region < regions.count {
            let size = regions[region].host.count
            for first in stride(from: 0, to: words.count, by: 8) {
                let offset = first / 8 * PagesHead.chunkSize
                guard offset < size else { break }
                var set = PageSet()
                for word in 0..<min(8, words.count - first) { set[word] = words[first + word] }
                let count = min(PagesHead.chunkSize, size - offset) / HostRange.pageSize
                set &= PageSet(lowest: count)
                if !set.isEmpty { work.append(Work(region: region, offset: offset, pages: set)) }
            }
        }
        return work
    }

    /// - Parameter last: when the last frame went over this channel.
    private func send(
        _ work: Work, _ round: Int, _ channel: FrameChannel, after last: inout UInt64, isFirst: Bool, isLimited: Bool,
        heeding: Bool
    ) throws(MigrationError) -> Int {
        let region = regions[work.region]
        let end = min(work.offset + PagesHead.chunkSize, region.host.count)
        try source.beginReading(work.region, work.offset / HostRange.pageSize..<end / HostRange.pageSize)
        let chunk = region.host.part(work.offset..<end)
        var total = 0
        for pages in Self.parts(work.pages) {
            let present = chunk.nonzeroPages(of: pages)
            // Whoever waits for a frame is to hear of a source that finds nothing to send for long.
            let isSilent = patience.isBreathDue(since: last)
            let zero = isFirst && !isSilent ? PageSet() : pages & ~present
            var sent = 0
            if !present.isEmpty || !zero.isEmpty {
                total += PagesHead.dataStart + present.pageCount * HostRange.pageSize
                let head = PagesHead(
                    address: region.guestAddress + UInt64(work.offset), round: UInt64(round), present: present,
                    zero: zero)
                let frame = channel.ready(head, of: chunk)
                if isLimited { limit?.wait(for: frame.count, heeding: stop.event) }
                try channel.send(frame, within: patience.frame, heeding: heeding ? stop.event : nil)
                sent = frame.count
                last = HostClock.monotonic
            }
            progress.update { report in
                report.bytes += UInt64(sent)
                report.pages += UInt64(present.pageCount)
                report.zeroPages += UInt64(pages.pageCount - present.pageCount)
                let done = UInt64(pages.pageCount * HostRange.pageSize)
                report.remainingBytes -= min(done, report.remainingBytes)
            }
        }
        return total
    }

    /// A chunk's pages in parts of 64 to 127, one frame each: what is looked at, copied, summed and sent is in the
    /// processor's nearer caches from the first of these to the last.
    private static func parts(_ pages: PageSet) -> [PageSet] {
        var (parts, part) = ([PageSet](), PageSet())
        for word in 0..<8 {
            part[word] = pages[word]
            guard part.pageCount >= 64 || word == 7 else { continue }
            if !part.isEmpty { parts.append(part) }
            part = PageSet()
        }
        return parts
    }

    /// All pages of the regions.
    static func everything(_ regions: [MemoryRegion]) -> [[UInt64]] {
        regions.map { region in
            let pages = region.host.count / HostRange.pageSize
            return (0..<(pages + 63) / 64).map { word in
                pages - word * 64 >= 64 ? .max : (1 << UInt64(pages - word * 64)) - 1
            }
        }
    }

    /// The bytes of the pages.
    static func size(_ pages: [[UInt64]]) -> UInt64 {
        UInt64(Bitmaps.count(pages) * HostRange.pageSize)
    }
}
