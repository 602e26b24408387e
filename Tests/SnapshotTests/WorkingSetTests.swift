import Foundation
import Host
import Synchronization
import TestSupport
import Testing

@testable import Snapshot

/// What a guest touched, in its file and out of it.
@Suite struct WorkingSetTests {
    private let scratch: ScratchDirectory
    private let ram: FakeRAM
    /// 2 MiB and more: page 2 and pages far behind it have data.
    private static let pages: [(UInt64, Int)] = [(0, 1027), (1 << 32, 20)]

    init() throws {
        scratch = try ScratchDirectory("working-set")
        ram = try FakeRAM(Self.pages)
        ram.fillUsual()
        try writeFull(scratch.path("full"), ram)
    }

    private func chain(_ name: String = "full") throws -> SnapshotChain {
        try SnapshotChain(opening: scratch.path(name))
    }

    /// Pages of the first region's first chunks and of the second one's, out of order.
    private func sample(_ chain: SnapshotChain) -> WorkingSet {
        var set = WorkingSet()
        var pages = PageSet()
        for page in [0, 1, 2, 100, 511] { pages[page / 64] |= 1 << UInt64(page % 64) }
        set.append(PageSet(lowest: 3), of: chain.top.geometry.chunk(3))
        set.append(pages, of: chain.top.geometry.chunk(0))
        set.append(PageSet(lowest: 2), of: chain.top.geometry.chunk(1))
        return set
    }

    @Test func aSetIsReadAsItWasWritten() throws {
        let chain = try chain()
        let set = sample(chain)
        // Pages 511 and 512 are neighbours, in two chunks.
        #expect(set.runs.map(\.page) == [1536, 0, 100, 511] && set.runs.map(\.count) == [3, 3, 1, 3])
        #expect(set.pieces.map(\.chunk) == [3, 0, 1] && set.pieces.map(\.pages.pageCount) == [3, 5, 2])
        let bytes = set.encoded(for: chain.manifest)
        #expect(try WorkingSet(bytes, chain.manifest, file: "f") == set)
        #expect(try chain.workingSet() == nil)
        try Directory.replaceFile(chain.workingSetPath, with: bytes)
        #expect(try chain.workingSet() == set)
    }

    /// Each bit that flips, each byte that is missing, and what was never written are refused, and named.
    @Test func aDamagedOneIsRefused() throws {
        let manifest = try chain().manifest
        let bytes = sample(try chain()).encoded(for: manifest)
        for bit in 0..<bytes.count * 8 {
            var broken = bytes
            broken[bit / 8] ^= 1 << UInt8(bit % 8)
            let error = #expect(throws: SnapshotError.self, "bit \(bit)") {
                try WorkingSet(broken, manifest, file: "f")
            }
            #expect(error?.file == "f")
        }
        for count in 0..<bytes.count {
            #expect(throws: SnapshotError.self, "\(count)") {
                try WorkingSet(Array(bytes.prefix(count)), manifest, file: "f")
            }
        }
        #expect(throws: SnapshotError.self) { try WorkingSet(bytes + [0], manifest, file: "f") }
        #expect(throws: SnapshotError.self) { try WorkingSet(bytes + bytes, manifest, file: "f") }
    }

    /// A checksum that is right does not make what it is of right.
    @Test func whatCannotBeIsRefused() throws {
        let manifest = try chain().manifest
        let bytes = sample(try chain()).encoded(for: manifest)
        func refusal(_ values: [(Int, UInt32)]) throws -> SnapshotError? {
            var broken = bytes
            func set(_ offset: Int, _ value: UInt32) {
                for index in 0..<4 { broken[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
            }
            for (offset, value) in values { set(offset, value) }
            set(12, 0)
            set(12, Checksum.crc32c(broken))
            return #expect(throws: SnapshotError.self, "\(values)") { try WorkingSet(broken, manifest, file: "f") }
        }
        #expect(try refusal([(8, 2)])?.kind == .format(found: 2, newest: 1))
        #expect(try refusal([(16, 7)])?.field == "id")
        #expect(try refusal([(32, 5)])?.field == "runs")
        #expect(try refusal([(36, 1)])?.field == "runs")
        // No pages, pages behind the first region's end, in the gap, behind all, more than there are.
        let wrong: [(UInt32, UInt32)] = [
            (0, 0), (1020, 8), (1030, 1), (1556, 1), (.max, 1), (.max, .max), (0, .max),
        ]
        for (page, count) in wrong {
            #expect(try refusal([(40, page), (44, count)])?.field == "runs[0]", "\(page), \(count)")
        }
        // All pages, and then some of them again.
        #expect(try refusal([(40, 0), (44, 1027), (48, 0), (52, 1027)])?.field == "runs[1]")
    }

    private final class Heard: Sendable {
        let lines = Mutex<[(PagingNote, String)]>([])
        func tell(_ note: PagingNote, _ words: String) { lines.withLock { $0.append((note, words)) } }
        var warnings: [String] { lines.withLock { $0.filter { $0.0 == .warning }.map(\.1) } }
        var all: [String] { lines.withLock { $0.map(\.1) } }
    }

    /// A guest's touches, and those alone, are what its file has; the next one has them read into the page cache.
    @Test func whatWasTouchedIsReadAheadTheNextTime() throws {
        // Larger than what the kernel brings along: each touched page is alone in its 2 MiB.
        let large = try FakeRAM([(0, 4096)])
        for page in 0..<4096 { large.set(0, page, seed: UInt8(truncatingIfNeeded: page * 7 + 1)) }
        try writeFull(scratch.path("large"), large)
        let file = scratch.path("large/memory.bin")
        let touched = [3000, 40, 1700]
        let heard = Heard()
        func record() throws -> Bool {
            let target = try FakeRAM([(0, 4096)])
            let paging = try MemoryPaging(
                mapping: try chain("large"), into: target.regions, prefetch: true, heard.tell)
            defer { paging.stop() }
            paging.guestRuns()
            for page in touched {
                #expect(target.parts[0].memory.bytes(page * 4096..<page * 4096 + 1) != [0])
                // Looks come at 4, 12, 28 ms and so on.
                let before = paging.reading.touchedPages
                let isIn = Deadline.seconds(10).wait { paging.reading.touchedPages > before }
                if !isIn { return false }
            }
            return true
        }
        // Who looks gives way to all others, and looks for 10 s: on a machine that has no time for it, it sees less.
        var isSeen = false
        for _ in 0..<6 where !isSeen {
            FileDescriptor.remove(scratch.path("large/working-set"))
            isSeen = try record()
        }
        #expect(isSeen)
        let set = try #require(try chain("large").workingSet())
        let order = touched.map { page in set.runs.firstIndex { page >= $0.page && page < $0.page + $0.count } }
        #expect(
            order.allSatisfy { $0 != nil } && order.compactMap(\.self) == order.compactMap(\.self).sorted(), "\(set)")
        // What was just written lies in large pages of the page cache, of a chunk at most.
        #expect(set.pageCount <= 3 * 512, "\(set)")

        try PageCache.drop(file)
        try #require(try PageCache.pages(file).allSatisfy { !$0 })
        let target = try FakeRAM([(0, 4096)])
        let paging = try MemoryPaging(mapping: try chain("large"), into: target.regions, prefetch: true, heard.tell)
        #expect(
            try Deadline.seconds(20).wait {
                let cached = try PageCache.pages(file)
                return set.runs.allSatisfy { run in cached[Int(run.page)..<Int(run.page + run.count)].allSatisfy(\.self)
                }
            })
        #expect(paging.reading.prefetchedBytes == UInt64(set.pageCount * 4096))
        #expect(try PageCache.pages(file).count(where: \.self) == set.pageCount)
        paging.stop()
        #expect(Deadline.seconds(5).wait { heard.all.contains { $0.contains("was read ahead") } })
        // A guest that did not run leaves the file as it was.
        #expect(try chain("large").workingSet() == set && heard.warnings.isEmpty, "\(heard.all)")

        try PageCache.drop(file)
        let without = try FakeRAM([(0, 4096)])
        let off = try MemoryPaging(mapping: try chain("large"), into: without.regions, prefetch: false, heard.tell)
        off.guestRuns()
        #expect(without.parts[0].memory.bytes(0..<1) == [1])
        off.stop()
        #expect(off.reading == MemoryPaging.Reading())
        #expect(try chain("large").workingSet() == set)
    }

    /// The diffs' pages are read from the diffs.
    @Test func readsAheadFromTheLayerThatHasThePage() throws {
        ram.set(0, 600, seed: 5)
        try writeDiff(scratch.path("diff"), ram, [(0, 600)], to: scratch.path("full"))
        let chain = try chain("diff")
        var set = WorkingSet()
        set.append(chain.top.geometry.chunk(1).allPages, of: chain.top.geometry.chunk(1))
        for name in ["full", "diff"] { try PageCache.drop(scratch.path("\(name)/memory.bin")) }
        let prefetcher = try Prefetcher(set, of: chain) { _, _ in }
        #expect(
            try Deadline.seconds(20).wait {
                try PageCache.pages(scratch.path("diff/memory.bin"))[600]
                    && PageCache.pages(scratch.path("full/memory.bin"))[512]
            })
        prefetcher.stop()
        // Pages 512 and 600 have data in this chunk; pages 600 of the full snapshot is hidden.
        #expect(prefetcher.bytes == 2 * 4096)
        #expect(try !PageCache.pages(scratch.path("full/memory.bin"))[600])
    }

    /// A file that is damaged, and a directory that takes none, cost a line in the log.
    @Test func whatIsWrongWithItIsNoneOfTheGuestsMatter() throws {
        let path = scratch.path("full/working-set")
        try Data([1, 2, 3]).write(to: URL(filePath: path))
        #expect(try chain().verify().snapshots == 1)
        func run(_ name: String = "full") throws -> Heard {
            let heard = Heard()
            let target = try FakeRAM(Self.pages)
            let paging = try MemoryPaging(mapping: try chain(name), into: target.regions, prefetch: true, heard.tell)
            paging.guestRuns()
            #expect(target.all == ram.all)
            paging.stop()
            return heard
        }
        // Over a link the directory is the same one.
        try FileManager.default.createSymbolicLink(atPath: scratch.path("link"), withDestinationPath: "full")
        let damaged = try run("link").warnings
        #expect(damaged.count == 1 && damaged[0].contains("link/working-set: magic: "), "\(damaged)")
        // That run has left a sound one. Merging leaves it where it is.
        #expect(try chain().workingSet()?.pageCount == 11)
        _ = try chain().merge(into: scratch.path("merged"))
        #expect(try chain("merged").workingSet() == nil)
        // Nothing can be renamed over a directory.
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        let refused = try run().warnings
        #expect(refused.count == 2 && refused.allSatisfy { $0.contains("working-set") }, "\(refused)")
        #expect(try !names(scratch).contains("full/working-set.new"))
        #expect(try Directory.entries(scratch.path("full")).count == 6)
    }

    /// Of the VMs that run from one snapshot one records.
    @Test func oneRecordsAtATime() throws {
        let (first, second) = (try FakeRAM(Self.pages), try FakeRAM(Self.pages))
        let one = try MemoryPaging(mapping: try chain(), into: first.regions, prefetch: true) { _, _ in }
        let other = try MemoryPaging(mapping: try chain(), into: second.regions, prefetch: true) { _, _ in }
        one.guestRuns()
        #expect(first.parts[0].memory.bytes(page..<page + 1) == [1])
        #expect(Deadline.seconds(10).wait { one.reading.touchedPages > 0 })
        other.guestRuns()
        #expect(second.all == ram.all)
        other.stop()
        #expect(try other.reading.touchedPages == 0 && chain().workingSet() == nil)
        one.stop()
        #expect(try chain().workingSet() != nil)
    }
}
