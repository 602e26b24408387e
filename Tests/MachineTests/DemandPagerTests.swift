import Foundation
import Host
import Memory
import Snapshot
import Synchronization
import TestSupport
import Testing

@testable import Machine

/// Memory that comes page by page, from a source that the test rules.
@Suite(.serialized, .timeLimit(.minutes(15))) struct DemandPagerTests {
    private static let chunk = 2 << 20

    /// Pages whose bytes tell where they are: every third one has some.
    private final class Source: PageSource {
        let delay: Int
        let broken: Int?
        let isStuck: Bool
        let reads = Mutex<[Int]>([])
        let isCancelled = Atomic<Bool>(false)

        init(delay: Int = 0, broken: Int? = nil, isStuck: Bool = false) {
            (self.delay, self.broken, self.isStuck) = (delay, broken, isStuck)
        }

        static func hasData(_ page: Int) -> Bool { page % 3 == 1 && page / 512 != 2 }

        static func byte(_ page: Int) -> UInt8 { hasData(page) ? UInt8(truncatingIfNeeded: page % 250 + 1) : 0 }

        func dataPages(ofChunk index: Int) -> PageSet {
            var set = PageSet()
            for page in 0..<512 where Self.hasData(index * 512 + page) { set[page / 64] |= 1 << UInt64(page % 64) }
            return set
        }

        func read(chunk index: Int, into target: HostRange, _ scratch: HostRange) throws(SnapshotError) {
            reads.withLock { $0.append(index) }
            while isStuck, !isCancelled.load(ordering: .acquiring) { sleepThread(.milliseconds(1)) }
            if isStuck { throw SnapshotError(.cancelled, "given up") }
            if delay > 0 { sleepThread(.milliseconds(delay)) }
            if index == broken { throw SnapshotError(.checksum, field: "chunk \(index)", "a bit is lost") }
            guard let bytes = try? ScratchMemory(count: target.count) else { return }
            let pages = target.count / 4096
            for page in 0..<pages where Self.hasData(index * 512 + page) {
                bytes.fill([UInt8](repeating: Self.byte(index * 512 + page), count: 4096), at: page * 4096)
                target.part(page * 4096..<page * 4096 + 4096).copy(
                    from: bytes.range.part(page * 4096..<page * 4096 + 4096))
            }
        }

        func cancel() { isCancelled.store(true, ordering: .releasing) }
    }

    private final class Marks: Sendable {
        let passed = Atomic<Int>(0), early = Atomic<Int>(0)
    }

    private final class Ends: Sendable {
        private let list = Mutex<[DemandPager.End]>([])
        func add(_ end: DemandPager.End) { list.withLock { $0.append(end) } }
        var all: [DemandPager.End] { list.withLock { $0 } }
    }

    /// Memory of two ranges: four chunks, and one and a bit.
    private func memory(shared: Bool = true, huge: Bool = false) throws -> GuestMemory {
        var backing = MemoryBacking()
        backing.shared = shared
        backing.hugePageSize = huge ? 2 << 20 : nil
        return try GuestMemory(
            [
                MemoryRange(address: 0, size: UInt64(4 * Self.chunk)),
                MemoryRange(address: 1 << 32, size: huge ? UInt64(2 * Self.chunk) : UInt64(Self.chunk + 5 * 4096)),
            ], backing)
    }

    private func target(_ memory: GuestMemory, shared: Bool = true, huge: Bool = false) -> DemandPager.Target {
        DemandPager.Target(
            memory.hostRanges.map { MemoryRegion(guestAddress: $0.address, host: $0.host, owner: memory) },
            isShared: shared, pageSize: huge ? 2 << 20 : 4096)
    }

    /// Whether all bytes of a page are what the source has.
    private func isRight(_ memory: GuestMemory, _ page: Int) throws -> Bool {
        let address = page < 2048 ? UInt64(page * 4096) : 1 << 32 + UInt64((page - 2048) * 4096)
        return try memory.bytes(at: address, count: 4096).allSatisfy { $0 == Source.byte(page) }
    }

    private func isRight(_ memory: GuestMemory) throws -> Bool {
        let pages = Int(memory.size / 4096)
        return try (0..<pages).allSatisfy { try isRight(memory, $0) }
    }

    @Test func givesWhatIsTouchedFirstAndThenTheRest() throws {
        try Guests.alone {
            let memory = try memory()
            let (source, ends) = (Source(delay: 50), Ends())
            let pager = try DemandPager(target(memory), from: source, first: [3, 99, -1]) { ends.add($0) }
            // A page of zeroes is nothing to wait for; one of a chunk that the background is not at yet is read at once.
            #expect(try isRight(memory, 2048))
            #expect(try isRight(memory, 2048 + 512 + 3))
            #expect(pager.reading.faults >= 2)
            #expect(source.reads.withLock { $0 }.contains(5) && ends.all.isEmpty)
            try pager.finish()
            #expect(Deadline.seconds(5).wait { ends.all == [.complete] })
            // The third chunk has nothing, and none is read twice.
            let reads = source.reads.withLock { $0 }
            #expect(reads.filter { $0 != 5 } == [3, 0, 1, 4] && reads.count == 5, "\(reads)")
            let pages = (0..<2048 + 517).count { Source.hasData($0) }
            #expect(pager.reading.bytes == UInt64(pages * 4096))
            #expect(try isRight(memory))
            pager.stop()
            #expect(pager.failure == nil && ends.all == [.complete])
        }
    }

    /// What is in a shared mapping already, as a page that was touched before, is the source's all the same.
    @Test(arguments: [true, false]) func manyThreadsSeeTheSameBytes(_ shared: Bool) throws {
        try Guests.alone {
            let memory = try memory(shared: shared)
            if shared { try memory.write([UInt8](repeating: 9, count: 100_000), at: 4096) }
            let pager = try DemandPager(target(memory, shared: shared), from: Source(delay: 2)) { _ in }
            let wrong = Ends()
            let threads = try (0..<4).map { number in
                try Thread("toucher\(number)") {
                    for step in 0..<2565 {
                        let page = (step * 977 + number * 641) % 2565
                        if (try? isRight(memory, page)) != true { wrong.add(.complete) }
                    }
                }
            }
            for thread in threads { thread.join() }
            #expect(wrong.all.isEmpty)
            try pager.finish()
            #expect(try isRight(memory))
        }
    }

    /// The kernel waits for pages as the process does: in write(2), and in readv(2) into a page that is not there.
    @Test func theKernelWaitsToo() throws {
        try Guests.alone {
            let memory = try memory()
            let scratch = try ScratchDirectory("pager")
            let pager = try DemandPager(target(memory), from: Source(delay: 20)) { _ in }
            let host = try #require(memory.hostRanges.last?.host)
            let file = try FileDescriptor.createNew(scratch.path("file"))
            try file.writeAll(host.part(Self.chunk..<Self.chunk + 5 * 4096), at: 0)
            let bytes = try scratch.read("file")
            #expect((0..<5).allSatisfy { bytes[$0 * 4096] == Source.byte(2048 + 512 + $0) })
            let reading = try FileDescriptor.openForReading(scratch.path("file"))
            #expect(try reading.readAll(into: host.part(7 * 4096 + 100..<7 * 4096 + 200), at: 4096) == 100)
            let page = try memory.bytes(at: 1 << 32 + 7 * 4096, count: 4096)
            #expect(page[100..<200].allSatisfy { $0 == bytes[4096] } && page[200] == Source.byte(2048 + 7))
            pager.stop()
        }
    }

    /// Nobody who waits goes on before whoever has to stop the guest was told, and everybody does then.
    @Test func aSourceThatFailsIsTold() throws {
        try Guests.alone {
            let memory = try memory()
            let ends = Ends()
            let marks = Marks()
            let pager = try DemandPager(target(memory), from: Source(delay: 30, broken: 1)) { end in
                sleepThread(.milliseconds(100))
                marks.early.store(marks.passed.load(ordering: .acquiring), ordering: .releasing)
                ends.add(end)
            }
            let thread = try Thread("toucher") {
                _ = try? memory.bytes(at: UInt64(Self.chunk + 2 * 4096), count: 1)
                marks.passed.store(1, ordering: .releasing)
            }
            let error = #expect(throws: SnapshotError.self) { try pager.finish() }
            #expect(error?.kind == .checksum)
            thread.join()
            #expect(marks.passed.load(ordering: .acquiring) == 1 && marks.early.load(ordering: .acquiring) == 0)
            #expect(pager.failure == error && ends.all.count == 1)
            pager.stop()
            #expect(ends.all.count == 1)
        }
    }

    /// A source that answers nobody keeps nobody.
    @Test func stopsWhileSomebodyWaits() throws {
        try Guests.alone {
            let memory = try memory()
            let ends = Ends()
            let (source, marks) = (Source(isStuck: true), Marks())
            let pager = try DemandPager(target(memory), from: source) { ends.add($0) }
            let threads = try (0..<3).map { number in
                try Thread("toucher\(number)") {
                    _ = try? memory.bytes(at: UInt64([1, 514, 1537][number] * 4096), count: 1)
                    marks.passed.wrappingAdd(1, ordering: .relaxed)
                }
            }
            #expect(Deadline.seconds(10).wait { pager.reading.faults >= 1 })
            sleepThread(.milliseconds(50))
            #expect(marks.passed.load(ordering: .relaxed) == 0)
            let begin = HostClock.monotonic
            pager.stop()
            for thread in threads { thread.join() }
            #expect(HostClock.monotonic - begin < 5_000_000_000)
            #expect(source.isCancelled.load(ordering: .acquiring) && ends.all.isEmpty && pager.failure == nil)
        }
    }

    @Test(
        .enabled(if: HugePages.areAvailable, "this user may not reserve huge pages (/proc/sys/vm/nr_hugepages)"),
        arguments: [true, false])
    func hugePagesComeWhole(_ shared: Bool) throws {
        try Guests.alone {
            let pages = try #require(HugePages(8))
            defer { _ = pages }
            let memory = try memory(shared: shared, huge: true)
            let source = Source(delay: 10)
            let pager = try DemandPager(target(memory, shared: shared, huge: true), from: source) { _ in }
            #expect(try isRight(memory, 2048 + 512 + 1))
            // A chunk of zeroes is a huge page of them.
            #expect(try isRight(memory, 1024 + 1))
            try pager.finish()
            #expect(try isRight(memory))
            #expect(source.reads.withLock { $0.sorted() } == [0, 1, 3, 4, 5])
        }
    }
}
