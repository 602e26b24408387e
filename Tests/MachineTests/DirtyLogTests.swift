import Host
import KVM
import Memory
import Snapshot
import Spec
import Synchronization
import TestSupport
import Testing

@testable import Machine

/// KVM's dirty log under a guest that writes.
@Suite(.serialized, .timeLimit(.minutes(15))) struct DirtyLogTests {
    /// A guest that does what it is asked at 2 MiB: adds 1 to a word in each of some pages, `order` times in all.
    private static let writer = TinyKernel([
        0x8B, 0x1D, 0x00, 0x00, 0x20, 0x00,  // wait: mov ebx, [0x200000], the number of the order
        0x3B, 0x1D, 0x04, 0x00, 0x20, 0x00,  // cmp ebx, [0x200004], that of the last one
        0x74, 0xF2,  // je wait
        0x8B, 0x3D, 0x08, 0x00, 0x20, 0x00,  // mov edi, [0x200008], the first page's address
        0x8B, 0x0D, 0x0C, 0x00, 0x20, 0x00,  // mov ecx, [0x20000C], how many pages
        0x8B, 0x35, 0x10, 0x00, 0x20, 0x00,  // mov esi, [0x200010], bytes from one to the next
        0xFF, 0x07,  // next: inc dword [edi]
        0x01, 0xF7,  // add edi, esi
        0x49,  // dec ecx
        0x75, 0xF9,  // jnz next
        0x89, 0x1D, 0x04, 0x00, 0x20, 0x00,  // mov [0x200004], ebx
        0xEB, 0xD1,  // jmp wait
    ])
    /// Ways in which KVM notes what is written: bitmaps with features, or the vCPUs' rings.
    enum Way: Sendable, CaseIterable {
        case cleared, apart, full, rings

        var features: DirtyLogFeatures {
            switch self {
            case .cleared, .rings: []
            case .apart: .manualProtection
            case .full: [.manualProtection, .initiallySet]
            }
        }
    }
    /// The page of the orders, which the guest writes each time.
    private static let orders = 0x200

    private struct Writer {
        let vm: RunningVM
        let instance: MachineInstance
        var order: UInt32 = 0

        init(_ scratch: ScratchDirectory, _ way: Way = .cleared) throws {
            var config = Guests.config(mebibytes: 160)
            config.memory.dirtyLog = way == .rings ? .ring : .bitmap
            config.serial = ConsoleConfig(mode: .off)
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", DirtyLogTests.writer.elf)
            vm = try RunningVM()
            try vm.create(config)
            try vm.command(.boot)
            instance = try #require(vm.controller.status.read { $0.instance })
        }

        /// The log that is to be looked at.
        func log(_ way: Way) -> DirtyLog {
            if way == .rings { return instance.dirtyLog }
            return DirtyLog(instance.machine, instance.memory, features: way.features)
        }

        mutating func begin(_ first: Int, _ count: Int, stride: Int = 1) throws {
            order += 1
            let memory = instance.memory
            try memory.write(UInt32(first * 4096), at: 0x20_0008)
            try memory.write(UInt32(count), at: 0x20_000C)
            try memory.write(UInt32(stride * 4096), at: 0x20_0010)
            try memory.write(order, at: 0x20_0000)
        }

        var isDone: Bool { (try? instance.memory.read(UInt32.self, at: 0x20_0004)) == order }

        /// Has the guest write pages, the second `stride` pages behind the first.
        mutating func write(_ first: Int, _ count: Int, stride: Int = 1) throws {
            try begin(first, count, stride: stride)
            let writer = self
            #expect(Deadline.seconds(30).wait { writer.isDone })
        }
    }

    private func look(_ log: DirtyLog) throws -> [Int] { pagesOf(try log.take()) }

    /// None of the pages is missing. KVM counts one that is read as written when it maps it anew, like that of the code.
    private func expect(_ seen: Set<Int>, toHave pages: [Int]) {
        let hasAll = seen.isSuperset(of: pages)
        #expect(hasAll && seen.count < pages.count + 4, "\(seen.count) pages, \(pages.count) were written")
    }

    private func pagesOf(_ logs: [[UInt64]]) -> [Int] {
        var pages: [Int] = []
        for (word, bits) in logs[0].enumerated() where bits != 0 {
            pages += (0..<64).filter { bits >> UInt64($0) & 1 == 1 }.map { word * 64 + $0 }
        }
        return pages
    }

    /// A look has what was written and not found before, or cleared since; to clear one page clears those of its piece.
    @Test(arguments: Way.allCases) func aLookHasWhatIsNew(_ way: Way) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("dirty-log")
            var guest = try Writer(scratch, way)
            try guest.write(0x1000, 2, stride: 0x5000)
            let log = guest.log(way)
            #expect(log.hasRings == (way == .rings))
            let isManual = !way.features.isEmpty && guest.instance.machine.dirtyLogFeatures.contains(.manualProtection)
            try log.begin(allFound: false)
            #expect(try look(log) == [])
            try guest.write(0x1000, 3)
            #expect(try look(log) == [Self.orders, 0x1000, 0x1001, 0x1002])
            try guest.write(0x1001, 3)
            #expect(try look(log) == (isManual ? [0x1003] : [Self.orders, 0x1001, 0x1002, 0x1003]))
            try log.clear()
            #expect(try look(log) == [])
            try guest.write(0x1002, 2, stride: 0x5000)
            #expect(try look(log) == [Self.orders, 0x1002, 0x6002])
            try log.clear(0, 0x1000..<0x1200)
            try guest.write(0x1002, 2, stride: 0x5000)
            #expect(try look(log) == (isManual ? [Self.orders, 0x1002] : [Self.orders, 0x1002, 0x6002]))
            try log.clear(0, 0x6000..<0x6200)
            try guest.write(0x1002, 2, stride: 0x5000)
            #expect(try look(log) == (isManual ? [0x6002] : [Self.orders, 0x1002, 0x6002]))
            try log.end()
            #expect(guest.vm.end() == .quit)
        }
    }

    /// A log that begins with all pages found has none of them before they are cleared.
    @Test func aLogMayBeginFull() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("dirty-log")
            var guest = try Writer(scratch)
            try guest.write(0x1000, 2, stride: 0x5000)
            let log = guest.instance.dirtyLog
            guard guest.instance.machine.dirtyLogFeatures.contains(.initiallySet) else { return }
            // Again and again, in turn with one that begins empty: each has its own way to protect huge pages.
            for _ in 0..<3 {
                try log.begin(allFound: true)
                try guest.write(0x1000, 2, stride: 0x5000)
                #expect(try look(log) == [])
                try log.clear(0, 0x1000..<0x1200)
                #expect(try look(log) == [])
                try guest.write(0x1000, 2, stride: 0x5000)
                #expect(try look(log) == [Self.orders, 0x1000])
                try log.clear()
                try guest.write(0x1000, 2, stride: 0x5000)
                #expect(try look(log) == [Self.orders, 0x1000, 0x6000])
                try log.end()
                try log.begin(allFound: false)
                try guest.write(0x1000, 2, stride: 0x5000)
                #expect(try look(log) == [Self.orders, 0x1000, 0x6000])
                try log.end()
            }
            #expect(guest.vm.end() == .quit)
        }
    }

    /// What is written while nobody wants to know is in no look, and fills no ring; what is left in one is forgotten with the
    /// log.
    @Test func aRingIsFilledForALookAlone() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("dirty-log")
            var guest = try Writer(scratch, .rings)
            let log = guest.instance.dirtyLog
            for _ in 0..<2 {
                try guest.write(0x1000, 2 * DirtyRings.entries)
                try log.begin(allFound: true)
                try guest.write(0x2000, 3)
                expect(Set(try look(log)), toHave: [Self.orders, 0x2000, 0x2001, 0x2002])
                #expect(try look(log) == [])
                try guest.write(0x2000, 100)
                try log.end()
            }
            #expect(guest.instance.runners[0].exits[.dirtyRingFull] == 0)
            #expect(guest.instance.needs.kvm.contains("KVM_CAP_DIRTY_LOG_RING"))
            #expect(guest.vm.end() == .quit)
        }
    }

    /// A vCPU that writes more pages than its ring has entries empties it and goes on, and nothing of that is lost. A KVM that
    /// emulates what the guest does may let it go on too far: whoever looks is told then, and the guest does not notice.
    @Test func aFullRingIsEmptied() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("dirty-log")
            var guest = try Writer(scratch, .rings)
            let log = guest.instance.dirtyLog
            let exits = guest.instance.runners[0].exits
            let (first, pages) = (0x1000, 2 * DirtyRings.entries)
            let all = [Self.orders] + Array(first..<first + pages)
            do throws(KVMError) {
                for _ in 0..<3 {
                    try log.begin(allFound: false)
                    let before = exits[.dirtyRingFull]
                    do { try guest.write(first, pages) } catch { Issue.record("\(error)") }
                    #expect(exits[.dirtyRingFull] > before)
                    expect(Set(pagesOf(try log.take())), toHave: all)
                    // The same while somebody looks all the time.
                    do { try guest.begin(first, pages) } catch { Issue.record("\(error)") }
                    var seen: Set<Int> = []
                    let enough = Deadline.seconds(30)
                    while !guest.isDone, !enough.hasPassed { seen.formUnion(pagesOf(try log.take())) }
                    #expect(guest.isDone)
                    seen.formUnion(pagesOf(try log.take()))
                    expect(seen, toHave: all)
                    try log.end()
                }
            } catch {
                #expect(error == .lostWrites && !HostProcessor.runsGuests)
                #expect(throws: KVMError.lostWrites) { try log.take() }
                #expect(throws: KVMError.lostWrites) { try log.begin(allFound: false) }
                try log.end()
                try guest.write(first, pages)
            }
            #expect(guest.vm.end() == .quit)
        }
    }

    /// Memory that is copied in rounds from under a guest that writes all the time is what the guest has in the end: each
    /// page is cleared, then read.
    @Test(arguments: Way.allCases) func noWriteIsLost(_ way: Way) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("dirty-log")
            var guest = try Writer(scratch, way)
            // Two orders at most lie between two looks: no ring gets full of that, whatever KVM makes of it.
            let pages = way == .rings ? DirtyRings.entries / 4 : 0x8000
            try guest.write(0x1000, pages)
            let memory = guest.instance.memory
            let log = guest.log(way)
            let bytes = Int(memory.size)
            let copy = try ScratchMemory(count: bytes)
            func read(_ pages: [Int], clearing: Bool) throws {
                for page in pages {
                    if clearing { try log.clear(0, page..<page + 1) }
                    copy.fill(try memory.bytes(at: UInt64(page * 4096), count: 4096), at: page * 4096)
                }
            }
            try log.begin(allFound: true)
            try guest.begin(0x1000, pages)
            try read(Array(0..<bytes / 4096), clearing: true)
            var rounds = 0
            let enough = Deadline.seconds(30)
            while rounds < 20, !enough.hasPassed {
                if guest.isDone { try guest.begin(0x1000 + rounds, pages * 7 / 8) }
                try read(look(log), clearing: true)
                rounds += 1
            }
            try guest.vm.command(.pause)
            // An order is written from outside, which no log has.
            try read(look(log) + [Self.orders], clearing: false)
            var wrong: [Int] = []
            for page in 0..<bytes / 4096 {
                let now = try memory.bytes(at: UInt64(page * 4096), count: 4096)
                if now != copy.bytes(page * 4096..<(page + 1) * 4096) { wrong.append(page) }
            }
            #expect(wrong.isEmpty, "\(rounds) rounds")
            try log.end()
            #expect(guest.vm.end() == .quit)
        }
    }
}
