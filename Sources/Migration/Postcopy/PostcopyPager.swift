import Host
import Snapshot
import Synchronization

/// Gives a guest that has arrived the pages of its memory that are still at its source, by userfaultfd(2).
///
/// A thread answers who touches a page that is not there: with zeroes where the source has said that it holds nothing, else
/// by asking the source for it; whoever reads the source's stream puts what comes. Nobody is ever let go without the page
/// that it waits for while the guest is to go on: where the source is gone, it waits.
package final class PostcopyPager: GuestPaging {
    /// How it is over.
    package enum Over: Equatable, Sendable {
        /// All is there.
        case complete
        /// The guest is, or it was given up.
        case stopped
    }

    private struct State {
        /// The pages that are still at the source.
        var missing: PageList
        /// Those that somebody waits for, by chunk, in the order in which they were touched.
        var wanted: [(place: ChunkPlace, pages: PageSet)] = []
        var over: Over?
        /// Asks the source for pages of a chunk; nil while there is no way to it.
        var ask: (@Sendable ([UInt8]) -> Void)?
        /// Is told how it is over, once: whoever hears it may hold this object.
        var ended: (@Sendable (Over) -> Void)?
    }

    private let target: DemandPager.Target
    private let faulted: UserFault
    private let state: Mutex<State>
    private let thread = Mutex<Thread?>(nil)
    /// Above zero for ever when it is over.
    package let overEvent: EventFD
    /// A huge page as it is put together: of whoever puts pages, and of the thread.
    private let (assembly, zeroes): (ScratchMemory?, ScratchMemory?)
    /// One at a time puts pages.
    private let putting = Mutex(())
    private let faults = Atomic<UInt64>(0), given = Atomic<UInt64>(0)

    /// Begins: from now on who touches the memory waits.
    ///
    /// - Parameters:
    ///   - target: the memory, in which there is nothing.
    ///   - missing: the pages that will come.
    ///   - ended: is told once that all is there, or, before anybody is let go, that nobody will wait for pages any more.
    /// - Throws: where the host refuses.
    init(
        _ target: DemandPager.Target, missing: PageList, ended: @escaping @Sendable (Over) -> Void
    ) throws(MigrationError) {
        self.target = target
        state = Mutex(State(missing: missing, ended: ended))
        do throws(HostError) {
            overEvent = try EventFD()
            faulted = try UserFault()
            let isHuge = target.pageSize != HostRange.pageSize
            assembly = isHuge ? try ScratchMemory(count: PagesHead.chunkSize) : nil
            zeroes = isHuge ? try ScratchMemory(count: PagesHead.chunkSize) : nil
            // Closing the descriptor ends what is registered where a later one is refused.
            for region in target.regions { try faulted.register(region.host, isShared: target.isShared) }
            let server = try Thread("pager") { [self] in
                Turns.short.take()
                serve()
            }
            thread.withLock { $0 = server }
        } catch {
            throw MigrationError(.machine, "the memory cannot follow the machine (memory_mode Postcopy): \(error)")
        }
        if missing.count == 0 { release(.complete) }
    }

    private var isHuge: Bool { target.pageSize != HostRange.pageSize }

    /// Bytes that are still at the source.
    var missingBytes: UInt64 { state.withLock { $0.missing.size } }

    /// How it is over; nil while it is not.
    package var over: Over? { state.withLock { $0.over } }

    /// The pages that are still at the source, as they go over the line.
    var standing: [UInt8] {
        Standing(pageSize: target.pageSize, missing: state.withLock { $0.missing }).bytes(target.regions)
    }

    /// Asks for pages in this way from now on, for those first that somebody waits for already; nil for no way.
    func attach(_ ask: (@Sendable ([UInt8]) -> Void)?) {
        let wanted = state.withLock { state in
            state.ask = ask
            return state.wanted
        }
        guard let ask else { return }
        for (place, pages) in wanted { ask(Self.entry(place, pages)) }
    }

    private static func entry(_ place: ChunkPlace, _ pages: PageSet) -> [UInt8] {
        var bytes: [UInt8] = []
        PageList.append(place.address, pages, to: &bytes)
        return bytes
    }

    /// Lets all who wait go on.
    func release(_ reason: Over) {
        let ended = state.withLock { state in
            defer { if state.over == nil { (state.over, state.ask, state.ended) = (reason, nil, nil) } }
            return state.ended
        }
        guard let ended else { return }
        // What is not there reads as zeroes from then on, which nobody must take for the guest's.
        if reason == .stopped { ended(reason) }
        for region in target.regions { faulted.unregister(region.host) }
        if reason == .complete { ended(reason) }
        overEvent.signal()
    }

    // MARK: Who touches a page

    private func serve() {
        var entries = [PollEntry(faulted.raw, forReading: true), PollEntry(overEvent.raw, forReading: true)]
        while true {
            PollEntry.wait(&entries)
            if entries[1].isReadable { return }
            do throws(Errno) {
                while let address = try faulted.next() { try answer(address) }
            } catch {
                // What the kernel refuses while the registration ends is no failure. Else who waits goes on waiting, and
                // touches the page again when it is woken.
                if over != nil { return }
                HostClock.sleep(milliseconds: 10)
            }
        }
    }

    private func answer(_ address: UInt) throws(Errno) {
        // Ordering: a number for people.
        faults.wrappingAdd(1, ordering: .relaxed)
        var page = 0
        guard let place = ChunkPlace(host: address, in: target.regions, page: &page) else { return }
        var one = PageSet()
        one[page / 64] = 1 << UInt64(page % 64)
        switch state.withLock({ Self.want(place, isHuge ? place.pages : one, &$0) }) {
        case .here: try giveZeroes(place, page)
        case .asked: break
        case .ask(let ask, let wanted): ask(Self.entry(place, wanted))
        }
    }

    /// What is to be done for who waits for a page.
    private enum Answer {
        /// The source has nothing of it, or it was there and somebody has taken it away since.
        case here
        /// It comes, or will be asked for when there is a way to the source.
        case asked
        case ask(@Sendable ([UInt8]) -> Void, PageSet)
    }

    private static func want(_ place: ChunkPlace, _ pages: PageSet, _ state: inout State) -> Answer {
        let wanted = state.missing[place.region, place.chunk] & pages
        guard !wanted.isEmpty else { return .here }
        if let index = state.wanted.firstIndex(where: { $0.place.address == place.address }) {
            if state.wanted[index].pages & wanted == wanted { return .asked }
            state.wanted[index].pages |= wanted
        } else {
            state.wanted.append((place, wanted))
        }
        return state.ask.map { .ask($0, wanted) } ?? .asked
    }

    private func giveZeroes(_ place: ChunkPlace, _ page: Int) throws(Errno) {
        if let zeroes {
            try faulted.fill(place.host, from: zeroes.range.part(0..<place.host.count), pageSize: target.pageSize)
        } else {
            let start = page * HostRange.pageSize
            try faulted.fillWithZeroes(place.host.part(start..<start + HostRange.pageSize))
        }
    }

    // MARK: What comes

    /// Puts pages where they belong. What is there already stays as it is.
    ///
    /// - Parameters:
    ///   - data: the bytes of the present pages, packed.
    ///   - dataBytes: how many they are.
    /// - Throws: where they lie outside of the memory, are not as many as the head says or a part of a huge page, or the
    ///   host has no memory for them.
    func put(_ head: PagesHead, _ data: HostRange, dataBytes: Int) throws(MigrationError) {
        let place = try ChunkPlace(head.address, holding: head.present | head.zero, in: target.regions)
        try head.check(dataBytes: dataBytes)
        let outcome = putting.withLock { _ in put(head, at: place, data) }
        switch outcome {
        case .success: break
        case .failure(let error): throw error
        }
    }

    private func put(_ head: PagesHead, at place: ChunkPlace, _ data: HostRange) -> Result<Void, MigrationError> {
        let (missing, isOver) = state.withLock { ($0.missing[place.region, place.chunk], $0.over != nil) }
        let come = (head.present | head.zero) & missing
        // Twice, or never named: the guest may have written it since, and what it has counts.
        guard !isOver, !come.isEmpty else { return .success(()) }
        guard !isHuge || come == missing else {
            return .failure(.violation("a part of a huge page came"))
        }
        do throws(Errno) {
            if let assembly {
                try fillHuge(head, at: place, data, assembly.range)
            } else {
                try fill(head, come, at: place, data)
            }
        } catch {
            if over != nil { return .success(()) }
            return .failure(MigrationError(.machine, "pages that came cannot be given to the guest: \(error)"))
        }
        given.wrappingAdd(UInt64(come.pageCount * HostRange.pageSize), ordering: .relaxed)
        let isAll = state.withLock { state in
            state.missing.remove(come, region: place.region, chunk: place.chunk)
            if let index = state.wanted.firstIndex(where: { $0.place.address == place.address }) {
                state.wanted[index].pages &= ~come
                if state.wanted[index].pages.isEmpty { state.wanted.remove(at: index) }
            }
            return state.missing.count == 0
        }
        if isAll { release(.complete) }
        return .success(())
    }

    private func fill(
        _ head: PagesHead, _ come: PageSet, at place: ChunkPlace, _ data: HostRange
    ) throws(Errno) {
        // Where each run's bytes are depends on the pages before it, those included that are not wanted.
        var start = 0
        for run in head.present.runs {
            for part in (come & PageSet.range(run)).runs {
                let from = start + (part.lowerBound - run.lowerBound) * HostRange.pageSize
                let count = part.count * HostRange.pageSize
                let to = part.lowerBound * HostRange.pageSize
                try faulted.fill(
                    place.host.part(to..<to + count), from: data.part(from..<from + count), pageSize: target.pageSize)
            }
            start += run.count * HostRange.pageSize
        }
        for run in (come & head.zero).runs {
            try faulted.fillWithZeroes(place.host.pages(run))
        }
    }

    private func fillHuge(
        _ head: PagesHead, at place: ChunkPlace, _ data: HostRange, _ room: HostRange
    ) throws(Errno) {
        room.clear()
        room.put(data, at: head.present)
        try faulted.fill(place.host, from: room.part(0..<place.host.count), pageSize: target.pageSize)
    }

    // MARK: As the guest's paging

    package var reading: MemoryPaging.Reading {
        var reading = MemoryPaging.Reading()
        reading.faults = faults.load(ordering: .relaxed)
        reading.pagedBytes = given.load(ordering: .relaxed)
        return reading
    }

    package var failure: SnapshotError? { nil }

    package func finish() throws(SnapshotError) {
        guard over == nil else { return }
        throw SnapshotError(
            .host(.busy),
            "\(missingBytes >> 10) KiB of the guest's memory are still at the host that it came from "
                + "(memory_mode Postcopy); GET vm.migration tells when they are here")
    }

    package func release() { stop() }
    package func guestRuns() {}

    /// Gives up what is not there yet, and waits for the thread. Who waits for a page goes on at once, and finds zeroes.
    package func stop() {
        release(.stopped)
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }
}

extension PageSet {
    /// The pages of a range within a chunk.
    static func range(_ range: Range<Int>) -> PageSet {
        PageSet(lowest: range.upperBound) & ~PageSet(lowest: range.lowerBound)
    }
}
