import Host
import Snapshot

/// The source of a machine whose memory follows it.
extension MigrationSender {
    /// Finds out, while the guest runs, which pages hold something, stops it, and tells the destination.
    func offerPages() throws(MigrationError) {
        let regions = source.regions
        let total = RoundSender.size(RoundSender.everything(regions))
        progress.update { $0.totalBytes = total }
        if !isPaused { try source.beginLogging() }
        onRound(1)
        var words = try pagesInUse(regions)
        try stopGuest()
        if !isPaused { Bitmaps.unite(&words, try source.takeWritten()) }
        let pages = PageList(words)
        progress.update { $0.remainingBytes = pages.size }
        server = PageServer(pages, pageSize: pageSize, regions, options, (progress, stop))
        try channels[0].send(.map, pages.bytes(regions), within: patience.handover, heeding: heeded)
    }

    private func pagesInUse(_ regions: [MemoryRegion]) throws(MigrationError) -> [[UInt64]] {
        var found = PageList(empty: regions)
        var last = HostClock.monotonic
        for region in regions.indices {
            let chunks = (regions[region].host.count + PagesHead.chunkSize - 1) / PagesHead.chunkSize
            for chunk in 0..<chunks {
                if let asked = stop.asked { throw asked }
                if patience.isBreathDue(since: last) {
                    try channels[0].send(.breath, within: patience.frame, heeding: heeded)
                    last = HostClock.monotonic
                }
                let place = ChunkPlace(region: region, chunk: chunk, of: regions)
                let first = chunk * PagesHead.chunkSize / HostRange.pageSize
                if !isPaused {
                    try source.beginReading(region, first..<first + place.host.count / HostRange.pageSize)
                }
                found[region, chunk] = place.host.nonzeroPages(of: place.pages)
            }
        }
        return found.words
    }

    /// Seeks the destination again, as a person has said, and gives it what it lacks.
    package func goOnServing() -> SenderOutcome {
        serve(after: MigrationError(.connection, "the destination was out of reach"))
    }

    /// Gives the destination all the pages that it lacks, however often the connection is lost meanwhile.
    ///
    /// - Parameter error: why there is no connection to begin with; nil where there is.
    func serve(after error: MigrationError? = nil) -> SenderOutcome {
        var trouble = error
        while true {
            if trouble == nil {
                do throws(MigrationError) {
                    try server?.serve(channels[0])
                    return moved()
                } catch { trouble = error }
            }
            guard let lost = trouble else { continue }
            close()
            channels = []
            try? step(.failed)
            progress.update { $0.problem = lost.description }
            do throws(MigrationError) {
                guard try rejoin(lost) else { return moved() }
                try step(.rejoined)
                progress.update { $0.problem = nil }
                trouble = nil
            } catch {
                close()
                try? step(.timeUp)
                progress.update { $0.problem = error.description }
                return machine.state == .stranded ? .stranded(error) : .unresolved(error)
            }
        }
    }

    /// The destination needs nothing more.
    private func moved() -> SenderOutcome {
        try? channels.first?.send(.farewell, within: patience.farewell)
        try? step(.complete)
        progress.update { report in
            report.problem = nil
            report.remainingBytes = 0
        }
        close()
        source.end()
        return .moved
    }

    /// Seeks the destination where it was.
    ///
    /// - Returns: whether it lacks pages.
    /// - Throws: when it was not found in time, or the process ends.
    private func rejoin(_ lost: MigrationError) throws(MigrationError) -> Bool {
        let deadline = HostClock.monotonic &+ options.reconnect &* 1_000_000
        var last = lost
        while HostClock.monotonic < deadline {
            guard !stop.ending.isPending else { throw MigrationError(.cancelled, "the VMM is ending") }
            do throws(MigrationError) {
                return try call()
            } catch {
                last = error
                close()
                channels = []
            }
            HostClock.sleep(milliseconds: 100)
        }
        throw MigrationError(
            .connection, ["\(options.address) was not reached for \(options.reconnect) ms: \(lost)"] + last.reasons)
    }

    private func call() throws(MigrationError) -> Bool {
        try connect(heeding: stop.ending)
        let channel = channels[0]
        try channel.send(
            .rejoin, JSONBytes.encode(Rejoin(token: token)), within: patience.silence, heeding: stop.ending)
        let answer = try channel.receive(within: patience.silence, heeding: stop.ending)
        switch answer.kind {
        case .standing:
            let standing = try Standing(answer.payload, source.regions)
            if options.compresses { try channel.packPages() }
            pageSize = standing.pageSize
            server = PageServer(standing.missing, pageSize: pageSize, source.regions, options, (progress, stop))
            progress.update { $0.remainingBytes = standing.missing.size }
            return true
        case .complete: return false
        // Whoever listens there may be another one: it says nothing of the machine.
        case .refusal: throw MigrationError(.refused, JSONBytes.reasons(answer.payload))
        default: throw .violation("a \(answer.kind) came as the answer to a call")
        }
    }
}
