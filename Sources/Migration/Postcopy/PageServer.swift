import Host
import Snapshot

/// Gives a machine's destination the pages that it lacks: those first that its guest waits for, the others in the
/// background. On the source's thread.
///
/// Only a few frames are on their way at a time, so that a page that somebody waits for has few before it.
final class PageServer {
    /// Pages of a frame that nobody waits for, and around one that somebody does.
    private static let (pushed, around) = (64, 16)
    /// Frames that may be on their way; of huge pages fewer.
    private static let (window, hugeWindow) = (4, 2)

    private let regions: [MemoryRegion]
    private let progress: MigrationProgress
    private let stop: MigrationStop
    private let patience: MigrationPatience
    private let limit: BandwidthLimit?
    private let isHuge: Bool
    /// The pages that have not gone out.
    private var pending: PageList
    /// What somebody waits for, the first one first.
    private var wanted: [(place: ChunkPlace, pages: PageSet)] = []
    /// Where the background goes on: a region, and a group of 64 pages in it.
    private var next = (region: 0, word: 0)
    /// Frames on this stream.
    private var (sent, got): (UInt64, UInt64) = (0, 0)

    /// - Parameters:
    ///   - pages: those that the destination lacks.
    ///   - pageSize: bytes of its pages.
    init(
        _ pages: PageList, pageSize: Int, _ regions: [MemoryRegion], _ options: SenderOptions,
        _ channel: (progress: MigrationProgress, stop: MigrationStop)
    ) {
        (pending, self.regions) = (pages, regions)
        (progress, stop) = channel
        patience = options.patience
        limit = options.bandwidth.map { BandwidthLimit($0) }
        isHuge = pageSize != HostRange.pageSize
    }

    /// Takes a frame about pages, and gives those at once that are wanted.
    ///
    /// - Returns: whether it is one.
    func take(_ frame: Frame, _ channel: FrameChannel, heeding event: EventFD?) throws(MigrationError) -> Bool {
        switch frame.kind {
        case .got:
            guard frame.payload.count == 8 else { throw .violation("a number has \(frame.payload.count) bytes") }
            let number = LittleEndian.number(frame.payload, 0, 8)
            guard number > got, number <= sent else {
                throw .violation("\(number) of \(sent) frames of pages were taken")
            }
            got = number
        case .want:
            guard frame.payload.count == PageList.entrySize else { throw .violation("pages are wanted in no words") }
            let (place, pages) = try PageList.entry(frame.payload, at: 0, regions)
            wanted.append((place, pages))
            while try sendWanted(channel, heeding: event) {}
        default: return false
        }
        return true
    }

    /// Gives all that is lacking.
    ///
    /// - Throws: what keeps it from doing so; cancelled when the process ends.
    func serve(_ channel: FrameChannel) throws(MigrationError) {
        while true {
            let mayPush = pending.count > 0 && sent - got < UInt64(isHuge ? Self.hugeWindow : Self.window)
            if !mayPush || channel.hasInput {
                let frame = try channel.receive(within: patience.silence, heeding: stop.ending)
                if frame.kind == .complete { return }
                guard try take(frame, channel, heeding: stop.ending) else {
                    throw .violation("\(frame.kind) came while pages went over")
                }
            } else {
                try push(channel)
            }
        }
    }

    private func sendWanted(_ channel: FrameChannel, heeding event: EventFD?) throws(MigrationError) -> Bool {
        guard !wanted.isEmpty else { return false }
        let (place, pages) = wanted.removeFirst()
        var group = pages
        if isHuge {
            group = place.pages
        } else {
            for first in stride(from: 0, to: 512, by: Self.around) {
                let block = PageSet.range(first..<first + Self.around)
                if !(pages & block).isEmpty { group |= block }
            }
        }
        let going = group & pending[place.region, place.chunk]
        // Those that are on their way already come before whatever is sent now.
        guard !going.isEmpty else { return true }
        next = (place.region, place.chunk * 8 + going.pageLimit / 64)
        try send(going, place, channel, nil, heeding: event)
        return true
    }

    private func push(_ channel: FrameChannel) throws(MigrationError) {
        guard let (region, word) = nextGroup() else { return }
        let place = ChunkPlace(region: region, chunk: word / 8, of: regions)
        let group = isHuge ? place.pages : PageSet.range(word % 8 * Self.pushed..<(word % 8 + 1) * Self.pushed)
        let going = group & pending[region, word / 8]
        try send(going, place, channel, limit, heeding: stop.ending)
    }

    /// The next group that has pages to go, after the one before, and from the beginning again.
    private func nextGroup() -> (Int, Int)? {
        guard pending.count > 0 else { return nil }
        var turns = 0
        while turns <= regions.count {
            let words = pending.words[next.region]
            if let word = words.indices.dropFirst(next.word).first(where: { words[$0] != 0 }) {
                next.word = word
                return next
            }
            next = ((next.region + 1) % regions.count, 0)
            turns += 1
        }
        return nil
    }

    private func send(
        _ pages: PageSet, _ place: ChunkPlace, _ channel: FrameChannel, _ limit: BandwidthLimit?,
        heeding event: EventFD?
    ) throws(MigrationError) {
        let present = place.host.nonzeroPages(of: pages)
        let head = PagesHead(address: place.address, round: 2, present: present, zero: pages & ~present)
        pending.remove(pages, region: place.region, chunk: place.chunk)
        sent += 1
        let frame = channel.ready(head, of: place.host)
        limit?.wait(for: frame.count, heeding: stop.ending)
        try channel.send(frame, within: patience.silence, heeding: event)
        let left = pending.size
        progress.update { report in
            report.bytes += UInt64(frame.count)
            report.pages += UInt64(present.pageCount)
            report.zeroPages += UInt64((pages & ~present).pageCount)
            report.remainingBytes = left
        }
    }
}
