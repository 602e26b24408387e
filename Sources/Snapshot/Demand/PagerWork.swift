import Host
import Synchronization

/// What the threads of a pager share.
final class PagerWork: Sendable {
    /// What has become of a chunk.
    enum Progress: UInt8 { case absent, coming, there }
    /// How it is over; nil while it is not.
    enum Over: Equatable { case complete, stopped, failed(SnapshotError) }

    struct State {
        var chunks: [Progress]
        var touched: [Int] = []
        var over: Over?
    }

    private let target: DemandPager.Target
    private let source: any PageSource
    private let geometry: MemoryGeometry
    private let faulted: UserFault
    private let ended: @Sendable (DemandPager.End) -> Void
    let state: Mutex<State>
    /// Signalled for ever when it is over.
    let over: EventFD
    let faults = Atomic<UInt64>(0), bytes = Atomic<UInt64>(0)

    init(
        _ target: DemandPager.Target, _ source: any PageSource, _ ended: @escaping @Sendable (DemandPager.End) -> Void
    ) throws(HostError) {
        (self.target, self.source, self.ended) = (target, source, ended)
        geometry = MemoryGeometry(
            addressesAndSizes: target.regions.map { ($0.guestAddress, UInt64($0.host.count)) })
        over = try EventFD()
        faulted = try UserFault()
        state = Mutex(State(chunks: Array(repeating: .absent, count: geometry.chunkCount)))
        // Closing the descriptor ends what is registered where a later one is refused.
        for region in target.regions { try faulted.register(region.host, isShared: target.isShared) }
    }

    var failure: SnapshotError? {
        guard case .failed(let error)? = state.withLock({ $0.over }) else { return nil }
        return error
    }

    private var isOver: Bool { state.withLock { $0.over != nil } }

    /// Lets all who wait go on, for the first reason that there is.
    func release(_ reason: Over) {
        let isFirst = state.withLock { state in
            defer { if state.over == nil { state.over = reason } }
            return state.over == nil
        }
        guard isFirst else { return }
        source.cancel()
        switch reason {
        case .complete: break
        case .failed(let error): ended(.failed(error))
        case .stopped: break
        }
        for region in target.regions { faulted.unregister(region.host) }
        over.signal()
        if reason == .complete { ended(.complete) }
    }

    // MARK: The threads

    /// Gives pages to who waits for them.
    func serve() {
        attempt { () throws(any Error) in
            let scratch = try ChunkScratch()
            var entries = [PollEntry(faulted.raw, forReading: true), PollEntry(over.raw, forReading: true)]
            while true {
                PollEntry.wait(&entries)
                if entries[1].isReadable { return }
                while let address = try faulted.next() { try answer(address, scratch) }
            }
        }
    }

    /// Gives all pages that are not zero, those of some chunks first.
    func fillAll(_ first: [Int]) {
        yieldPrecedence(steps: 10)
        attempt { () throws(any Error) in
            let scratch = try ChunkScratch()
            for index in first where geometry.chunkCount > index && index >= 0 { try fill(index, scratch) }
            for index in 0..<geometry.chunkCount { try fill(index, scratch) }
            // The other thread may still be at a chunk that it has taken.
            while !isOver, state.withLock({ $0.chunks.contains(.coming) }) { HostClock.sleep(milliseconds: 1) }
            release(.complete)
        }
    }

    private func attempt(_ body: () throws -> Void) {
        // Once it is over for another reason, what the kernel refuses then is no failure.
        do { try body() } catch let error as SnapshotError { release(.failed(error)) } catch {
            let errno = (error as? Errno) ?? .noMemory
            release(.failed(SnapshotError(.host(errno), "pages of the guest's memory cannot be given: \(error)")))
        }
    }

    /// Has the calling thread get a chunk, unless another one has.
    ///
    /// - Returns: what had become of it before.
    private func take(_ index: Int, touched: Bool) -> Progress {
        state.withLock { state in
            let before = state.chunks[index]
            guard before == .absent else { return before }
            state.chunks[index] = .coming
            if touched { state.touched.append(index) }
            return before
        }
    }

    /// A source may be another machine, which could name pages that a shorter chunk does not have.
    private func dataPages(_ index: Int) -> PageSet {
        source.dataPages(ofChunk: index) & geometry.chunk(index).allPages
    }

    private func answer(_ address: UInt, _ scratch: ChunkScratch) throws {
        // Ordering: a number for people.
        faults.wrappingAdd(1, ordering: .relaxed)
        guard
            let region = target.regions.firstIndex(where: { address &- $0.host.address < UInt($0.host.count) })
        else { return }
        let offset = Int(address - target.regions[region].host.address)
        let index =
            Int(geometry.regions[region].fileOffset) / MemoryGeometry.chunkSize + offset / MemoryGeometry.chunkSize
        let page = offset % MemoryGeometry.chunkSize / HostRange.pageSize
        let data = dataPages(index)
        // A huge page is a chunk, and comes as one.
        let isZero = target.pageSize == HostRange.pageSize ? !data.contains(page) : data.isEmpty
        switch isZero ? .there : take(index, touched: true) {
        case .absent: try get(index, data, scratch)
        // The other thread gives it, and wakes who waits.
        case .coming: break
        // A page of zeroes, or one that was there and that somebody has taken away since.
        case .there: try giveZeroes(geometry.chunk(index), page, scratch)
        }
    }

    private func fill(_ index: Int, _ scratch: ChunkScratch) throws {
        if isOver { return }
        let data = dataPages(index)
        if data.isEmpty { return }
        if take(index, touched: false) == .absent { try get(index, data, scratch) }
    }

    /// Reads a chunk that was taken, and gives it.
    private func get(_ index: Int, _ data: PageSet, _ scratch: ChunkScratch) throws {
        let chunk = geometry.chunk(index)
        let isHuge = target.pageSize != HostRange.pageSize
        if isHuge { scratch.first.clear() }
        try source.read(chunk: index, into: scratch.first.part(0..<chunk.count), scratch.second)
        let place = host(chunk)
        for run in isHuge ? [0..<chunk.count / HostRange.pageSize] : data.runs {
            let part = run.lowerBound * HostRange.pageSize..<run.upperBound * HostRange.pageSize
            try faulted.fill(place.part(part), from: scratch.first.part(part), pageSize: target.pageSize)
            bytes.wrappingAdd(UInt64(part.count), ordering: .relaxed)
        }
        state.withLock { $0.chunks[index] = .there }
    }

    private func giveZeroes(_ chunk: MemoryGeometry.Chunk, _ page: Int, _ scratch: ChunkScratch) throws {
        if target.pageSize == HostRange.pageSize {
            let start = page * HostRange.pageSize
            try faulted.fillWithZeroes(host(chunk).part(start..<start + HostRange.pageSize))
        } else {
            // Huge pages have no zeroes of the kernel's to share.
            scratch.first.clear()
            try faulted.fill(host(chunk), from: scratch.first.part(0..<chunk.count), pageSize: target.pageSize)
        }
    }

    private func host(_ chunk: MemoryGeometry.Chunk) -> HostRange {
        target.regions[chunk.region].host.part(chunk.offset..<chunk.offset + chunk.count)
    }
}
