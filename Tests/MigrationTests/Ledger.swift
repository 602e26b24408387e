import Host
import Snapshot
import Synchronization

@testable import Migration

/// Who runs a machine, who holds its disk, and what was wrong with that at any time.
final class Ledger: Sendable {
    private struct State {
        var sourceRuns = true, destinationRuns = false
        /// Whose lock the disk has.
        var disk: String? = "source"
        var problems: [String] = []
    }
    private let state = Mutex(State())

    func source(runs: Bool) { note { $0.sourceRuns = runs } }
    func destination(runs: Bool) { note { $0.destinationRuns = runs } }

    private func note(_ change: (inout State) -> Void) {
        state.withLock { state in
            change(&state)
            if state.sourceRuns, state.destinationRuns { state.problems.append("both run") }
            if state.sourceRuns, state.disk != "source" { state.problems.append("the source runs without its disk") }
            if state.destinationRuns, state.disk != "destination" {
                state.problems.append("the destination runs without its disk")
            }
        }
    }

    /// Takes the disk's lock; false where somebody else has it.
    func lock(_ name: String) -> Bool {
        state.withLock { state in
            guard state.disk == nil || state.disk == name else { return false }
            state.disk = name
            return true
        }
    }

    func unlock(_ name: String) { state.withLock { if $0.disk == name { $0.disk = nil } } }

    var problems: [String] { state.withLock { $0.problems } }
    var sourceRuns: Bool { state.withLock { $0.sourceRuns } }
    var destinationRuns: Bool { state.withLock { $0.destinationRuns } }
    var disk: String? { state.withLock { $0.disk } }
}

/// Counts the steps that an endpoint is asked for, and fails at one of them.
final class Steps: Sendable {
    private let count = Mutex(0)
    private let failing: Int?

    init(failing: Int? = nil) { self.failing = failing }

    var taken: Int { count.withLock { $0 } }

    func take(_ name: String) throws(MigrationError) {
        let number = count.withLock { count in
            count += 1
            return count
        }
        if number == failing { throw MigrationError(.machine, "\(name) fails as it is to") }
    }
}

/// Memory of a machine that is none: two regions, of which the second does not end with a whole chunk.
final class FakeMemory: Sendable {
    static let layout: [(address: UInt64, size: Int)] = [(0, 2 << 20), (1 << 32, (2 << 20) + 20 * 4096)]
    let scratch: [ScratchMemory]
    let regions: [MemoryRegion]

    init() throws {
        let scratch = try Self.layout.map { try ScratchMemory(count: $0.size) }
        self.scratch = scratch
        regions = zip(Self.layout, scratch).map {
            MemoryRegion(guestAddress: $0.address, host: $1.range, owner: $1)
        }
    }

    var pageCounts: [Int] { Self.layout.map { $0.size / 4096 } }

    /// Fills a page with a byte.
    func fill(_ region: Int, _ page: Int, _ value: UInt8) {
        scratch[region].fill([UInt8](repeating: value, count: 4096), at: page * 4096)
    }

    var bytes: [[UInt8]] { scratch.map { $0.bytes(0..<$0.range.count) } }
}

/// A machine that writes some pages between each two looks at them, and while they are read. As KVM does, it notes no
/// write to a page that was found written already and has not been read since.
final class FakeSource: MigrationSource {
    let memory: FakeMemory
    let ledger: Ledger
    let steps: Steps
    private struct State {
        var written: [[UInt64]] = []
        /// Whose writes are not noted.
        var found: [[UInt64]] = []
        var isLogging = false
        var seed: UInt64 = 42
        var rounds: Int
    }
    private let guest: Mutex<State>
    let hello: Hello
    let ended = Mutex(false)
    /// Whether it was asked for its state in packed form; nil before it was asked at all.
    let packs = Mutex<Bool?>(nil)
    private let readingTime: Int
    private let disks: FakeDisks?
    var mirror: (any MirrorSource)? { disks }

    /// - Parameters:
    ///   - busyRounds: after how many looks the guest stops writing.
    ///   - disks: those that come along.
    ///   - isEmpty: whether its memory holds zeroes alone.
    ///   - readingTime: ms before pages may be read.
    init(
        _ ledger: Ledger, _ steps: Steps = Steps(), busyRounds: Int = 2, disks: FakeDisks? = nil, isEmpty: Bool = false,
        readingTime: Int = 0
    ) throws {
        (self.disks, self.readingTime) = (disks, readingTime)
        let memory = try FakeMemory()
        if !isEmpty {
            for page in stride(from: 0, to: 500, by: 3) { memory.fill(0, page, UInt8(page % 251 + 1)) }
            for page in [0, 511, 512, 530, 531] { memory.fill(1, page, 7) }
        }
        self.memory = memory
        (self.ledger, self.steps) = (ledger, steps)
        guest = Mutex(State(rounds: busyRounds))
        var hello = Hello(
            token: Hello.newToken(), writer: "test", config: "{}", needs: SnapshotNeeds(), states: ["fake": 1])
        hello.memory = FakeMemory.layout.map { Hello.Region(address: $0.address, size: UInt64($0.size)) }
        hello.disks = disks?.list
        self.hello = hello
    }

    var regions: [MemoryRegion] { memory.regions }
    var memoryDescriptor: Int32? { nil }

    func describe() throws(MigrationError) -> Hello {
        try steps.take("describe")
        return hello
    }

    func beginLogging() throws(MigrationError) {
        try steps.take("beginLogging")
        guest.withLock { state in
            state.isLogging = true
            state.written = memory.pageCounts.map { [UInt64](repeating: 0, count: ($0 + 63) / 64) }
            state.found = RoundSender.everything(regions)
        }
        write()
    }

    /// The guest writes: some pages get other bytes, one becomes zeroes.
    private func write() {
        guest.withLock { state in
            guard state.isLogging, state.rounds > 0 else { return }
            state.rounds -= 1
            write(40, &state)
        }
    }

    private func write(_ turns: Int, _ state: inout State) {
        for turn in 0..<turns {
            state.seed = state.seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let region = Int(state.seed >> 33) % 2
            let page = Int(state.seed >> 40) % memory.pageCounts[region]
            memory.fill(region, page, turn == 0 ? 0 : UInt8(truncatingIfNeeded: state.seed >> 50))
            state.written[region][page / 64] |= 1 << UInt64(page % 64) & ~state.found[region][page / 64]
        }
    }

    func beginReading(_ region: Int, _ pages: Range<Int>) throws(MigrationError) {
        if readingTime > 0 { HostClock.sleep(milliseconds: readingTime) }
        guest.withLock { state in
            guard state.isLogging else { return }
            for page in pages { state.found[region][page / 64] &= ~(1 << UInt64(page % 64)) }
            if state.rounds > 0, ledger.sourceRuns { write(10, &state) }
        }
    }

    func takeWritten() throws(MigrationError) -> [[UInt64]] {
        try steps.take("takeWritten")
        let taken = guest.withLock { state in
            let taken = state.written
            Bitmaps.unite(&state.found, taken)
            state.written = taken.map { [UInt64](repeating: 0, count: $0.count) }
            return taken
        }
        if ledger.sourceRuns { write() }
        return taken
    }

    func endLogging() { guest.withLock { $0.isLogging = false } }
    func throttle(_ percent: Int) {}

    func pause() throws(MigrationError) {
        try steps.take("pause")
        disks?.stop()
        ledger.source(runs: false)
    }

    func outline() throws(MigrationError) -> [UInt8]? {
        try steps.take("outline")
        return Array("the outline".utf8)
    }

    func beginState(packed: Bool) { packs.withLock { $0 = packed } }

    func state() throws(MigrationError) -> [UInt8] {
        try steps.take("state")
        return Array("the state".utf8)
    }

    func release() throws(MigrationError) {
        try steps.take("release")
        ledger.unlock("source")
    }

    func takeBack() throws(MigrationError) {
        guard ledger.lock("source") else { throw MigrationError(.machine, "the disk is the destination's") }
    }

    func resume() throws(MigrationError) { ledger.source(runs: true) }
    func end() { ended.withLock { $0 = true } }
}

/// Where such a machine arrives.
final class FakeSink: MigrationSink {
    let ledger: Ledger
    let steps: Steps
    let memory: FakeMemory
    let reasons: [String]
    /// Where the images of disks go that come along.
    let directory: String?
    private struct State {
        var state: [UInt8]?, outline: [UInt8]?
        var isBuilt = false
        var disks: ArrivingDisks?
    }
    private let held = Mutex(State())

    init(_ ledger: Ledger, _ steps: Steps = Steps(), reasons: [String] = [], directory: String? = nil) throws {
        (self.ledger, self.steps, self.reasons, self.directory) = (ledger, steps, reasons, directory)
        memory = try FakeMemory()
    }

    var disks: ArrivingDisks? { held.withLock { $0.disks } }

    func reasonsAgainst(_ hello: Hello) -> [String] { reasons }

    func prepare(_ hello: Hello, memory given: consuming ReceivedMemory?) throws(MigrationError) -> [MemoryRegion] {
        try steps.take("prepare")
        if let directory, let list = hello.disks {
            let disks = try ArrivingDisks(list, at: list.map { "\(directory)/\($0.id)" })
            held.withLock { $0.disks = disks }
        }
        return memory.regions
    }

    func standBy(_ outline: [UInt8]) { held.withLock { $0.outline = outline } }

    func load(_ state: [UInt8]) throws(MigrationError) {
        try steps.take("load")
        held.withLock { $0.state = state }
    }

    func build() throws(MigrationError) {
        try disks?.install()
        try steps.take("build")
        guard ledger.lock("destination") else { throw MigrationError(.machine, "the disk is the source's") }
        held.withLock { $0.isBuilt = true }
    }

    func start() throws(MigrationError) {
        disks?.keep()
        ledger.destination(runs: true)
    }

    func discard() {
        disks?.discard()
        held.withLock { $0 = State() }
        ledger.unlock("destination")
    }

    var state: [UInt8]? { held.withLock { $0.state } }
    var outline: [UInt8]? { held.withLock { $0.outline } }
}
