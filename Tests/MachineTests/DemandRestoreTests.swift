import Foundation
import Host
import Logging
import Memory
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// Guests on demand in memory that no file can be mapped into.
@Suite(.serialized, .timeLimit(.minutes(15))) struct DemandRestoreTests {
    /// A guest that gives each page from 3 to 48 MiB its address, says so, adds them up again and again, and says 2 where
    /// the sum is not what it was. Each round it counts at 2 MiB.
    private static let adder = TinyKernel([
        0xBF, 0x00, 0x00, 0x30, 0x00,  // mov edi, 0x300000
        0x89, 0x3F,  // next: mov [edi], edi
        0x81, 0xC7, 0x00, 0x10, 0x00, 0x00,  // add edi, 0x1000
        0x81, 0xFF, 0x00, 0x00, 0x00, 0x03,  // cmp edi, 0x3000000
        0x72, 0xF0,  // jb next
        0xB0, 0x01,  // mov al, 1
        0xE6, 0x80,  // out 0x80, al
        0xBF, 0x00, 0x00, 0x30, 0x00,  // again: mov edi, 0x300000
        0x39, 0x3F,  // look: cmp [edi], edi
        0x75, 0x16,  // jne wrong
        0x81, 0xC7, 0x00, 0x10, 0x00, 0x00,  // add edi, 0x1000
        0x81, 0xFF, 0x00, 0x00, 0x00, 0x03,  // cmp edi, 0x3000000
        0x72, 0xEE,  // jb look
        0xFF, 0x05, 0x00, 0x00, 0x20, 0x00,  // inc dword [0x200000]
        0xEB, 0xE1,  // jmp again
        0xB0, 0x02,  // wrong: mov al, 2
        0xE6, 0x80,  // out 0x80, al
        0xEB, 0xFE,  // jmp to itself
    ])

    /// A snapshot of it at work; the guest that it was taken of is gone.
    private func snapshot(_ scratch: ScratchDirectory, _ change: (inout VMConfig) -> Void) throws -> String {
        var config = Guests.config(mebibytes: 64)
        config.serial = ConsoleConfig(mode: .off)
        config.payload = PayloadConfig()
        config.payload?.kernel = try scratch.write("kernel", Self.adder.elf)
        change(&config)
        let vm = try RunningVM()
        try vm.create(config)
        try vm.command(.boot)
        #expect(Deadline.seconds(30).wait { code(vm) == 1 })
        try vm.command(.pause)
        let path = scratch.path("snapshot")
        try vm.command(.snapshot(SnapshotRequest(path: path)))
        #expect(vm.end() == .quit)
        return path
    }

    private func code(_ vm: RunningVM) -> UInt8? {
        vm.controller.status.read { $0.instance }?.debugPort.observed.code
    }

    private func rounds(_ vm: RunningVM) -> UInt32 {
        guard let instance = vm.controller.status.read({ $0.instance }) else { return 0 }
        return (try? instance.memory.read(UInt32.self, at: 0x20_0000)) ?? 0
    }

    private func request(_ path: String, resume: Bool = false) -> RestoreRequest {
        var request = RestoreRequest(path: path)
        (request.memoryMode, request.resume) = (.onDemand, resume)
        return request
    }

    /// The guest finds all its bytes, and a snapshot that is taken before it has touched them has them too.
    private func goesOn(_ scratch: ScratchDirectory, _ path: String) throws {
        let vm = try RunningVM()
        try vm.command(.restore(request(path), ReceivedDescriptors()))
        // Nothing may change what its memory comes from, by any name.
        try FileManager.default.linkItem(atPath: path + "/memory.bin", toPath: scratch.path("linked"))
        for file in [path + "/memory.bin", path + "/new", scratch.path("linked")] {
            let error = try vm.refusal(.addDisk(Parsed(config: DiskConfig(path: file))))
            #expect(error.kind == .conflict && "\(error)".contains("lies in the snapshot"), "\(error)")
        }
        try FileManager.default.removeItem(atPath: scratch.path("linked"))
        // At once: what is not there yet is waited for.
        try vm.command(.snapshot(SnapshotRequest(path: scratch.path("again"))))
        let difference = try SnapshotChain(opening: path).compare(with: SnapshotChain(opening: scratch.path("again")))
        // The generation id is new.
        #expect(difference.memoryBytes <= 4096 && difference.config.isEmpty, "\(difference)")
        try vm.command(.delete)

        try vm.command(.restore(request(path, resume: true), ReceivedDescriptors()))
        let before = rounds(vm)
        #expect(Deadline.seconds(30).wait { rounds(vm) > before + 2 || code(vm) == 2 })
        #expect(code(vm) == 1)
        let counters = "\(vm.controller.status.counters?.text() ?? "")"
        #expect(counters.contains(#""paged_bytes":4"#) || counters.contains(#""paged_bytes":5"#), "\(counters)")
        try vm.command(.pause)
        #expect(vm.controller.status.read { $0.instance }?.memory.arrival.isPending == false)
        try vm.command(.resume)
        try vm.command(.reboot)
        #expect(Deadline.seconds(30).wait { code(vm) == 1 })
        // Nothing of it comes from the snapshot any more.
        let error = try vm.refusal(.addDisk(Parsed(config: DiskConfig(path: path + "/new"))))
        #expect(!"\(error)".contains("lies in the snapshot"), "\(error)")
        // At any moment it can go.
        for round in 0..<4 {
            try vm.command(.delete)
            try vm.command(.restore(request(path, resume: true), ReceivedDescriptors()))
            sleepThread(.milliseconds(round * 5))
        }
        #expect(vm.end() == .quit)
        #expect(try Guests.nothingIsLeft())
    }

    @Test func sharedMemoryComesPageByPage() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("demand")
            try goesOn(scratch, try snapshot(scratch) { $0.memory.shared = true })
        }
    }

    @Test(
        .enabled(if: HugePages.areAvailable, "this user may not reserve huge pages (/proc/sys/vm/nr_hugepages)"),
        arguments: [true, false])
    func hugePagesComeOneByOne(_ shared: Bool) throws {
        try Guests.alone {
            let pages = try #require(HugePages(80))
            defer { _ = pages }
            let scratch = try ScratchDirectory("demand")
            let path = try snapshot(scratch) {
                ($0.memory.shared, $0.memory.hugepages, $0.memory.hugepageSize) = (shared, true, 2 << 20)
            }
            try goesOn(scratch, path)
        }
    }

    /// The devices' threads wait for pages as the guest does.
    @Test func aDiskGoesOn() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("demand")
            var config = Guests.config(vcpus: 2)
            config.memory.shared = true
            config.serial = ConsoleConfig(file: scratch.path("serial"))
            config.disks = [DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))]
            config.disks[0].imageType = .raw
            let vm = try RunningVM("mode=disk-load seconds=60")
            try vm.create(config)
            try vm.command(.boot)
            func said() -> Int { (try? scratch.read("serial"))?.count ?? 0 }
            #expect(Deadline.seconds(20).wait { said() > 200 })
            for round in 0..<3 {
                try vm.command(.pause)
                let path = scratch.path("snapshot\(round)")
                try vm.command(.snapshot(SnapshotRequest(path: path)))
                try vm.command(.delete)
                try vm.command(.restore(request(path, resume: true), ReceivedDescriptors()))
                let before = said()
                #expect(Deadline.seconds(20).wait { said() > before + 50 }, "round \(round)")
            }
            #expect(try !String(decoding: scratch.read("serial"), as: UTF8.self).contains("FAILED"))
            #expect(vm.end() == .quit)
        }
    }

    /// A bit that the disk has lost ends the guest before it sees the page, and the VM can be restored when it is mended.
    @Test(arguments: [false, true]) func aGuestWhoseMemoryIsLostEnds(_ resume: Bool) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("demand")
            let path = try snapshot(scratch) { $0.memory.shared = true }
            let file = try FileHandle(forUpdating: URL(filePath: path + "/memory.bin"))
            try file.seek(toOffset: 0x280_0000)
            let byte = try #require(try file.read(upToCount: 1))
            try file.seek(toOffset: 0x280_0000)
            try file.write(contentsOf: Data([byte[0] ^ 1]))
            let vm = try RunningVM()
            let result = try vm.attempt(.restore(request(path, resume: resume), ReceivedDescriptors()))
            // It is found out while the VM is made, or when it runs.
            if case .failure(let error) = result {
                #expect(error.chain.last?.contains("memory.bin: chunk 20") == true, "\(error)")
            }
            #expect(Deadline.seconds(20).wait { vm.controller.status.read { $0.instance == nil } })
            #expect(code(vm) == nil)
            try vm.command(.delete)
            try file.seek(toOffset: 0x280_0000)
            try file.write(contentsOf: byte)
            try vm.command(.restore(request(path, resume: true), ReceivedDescriptors()))
            #expect(Deadline.seconds(30).wait { rounds(vm) > 2 || code(vm) == 2 })
            #expect(code(vm) == 1)
            // A file that ends early is as bad.
            try vm.command(.delete)
            let resized = try vm.attempt(.restore(request(path), ReceivedDescriptors()))
            try file.truncate(atOffset: 0x100_0000)
            if case .success = resized { _ = try? vm.attempt(.resume) }
            #expect(vm.end() == .quit)
        }
    }

    /// A file that becomes shorter under a guest takes the guest along, and neither the process nor what is written then.
    @Test(arguments: [0, 1, 2]) func aFileThatBecomesShorterEndsTheGuest(_ toucher: Int) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("demand")
            let path = try snapshot(scratch) { _ in }
            let kept = scratch.path("kept")
            try FileManager.default.copyItem(atPath: path + "/memory.bin", toPath: kept)
            let vm = try RunningVM()
            var wanted = request(path)
            wanted.prefetch = false
            try vm.command(.restore(wanted, ReceivedDescriptors()))
            let file = try FileHandle(forUpdating: URL(filePath: path + "/memory.bin"))
            try file.truncate(atOffset: 0x100_0000)
            switch toucher {
            case 0: try vm.command(.resume)
            case 1:
                let error = try vm.refusal(.snapshot(SnapshotRequest(path: scratch.path("again"))))
                #expect("\(error)".contains("memory.bin") && "\(error)".contains("lost for the guest"), "\(error)")
                #expect(
                    try FileManager.default.contentsOfDirectory(atPath: scratch.path).sorted()
                        == ["kept", "kernel", "snapshot"].sorted())
            default:
                let error = try vm.refusal(.coredump(path: scratch.path("core")))
                #expect("\(error)".contains("lost for the guest"), "\(error)")
                #expect(!FileManager.default.fileExists(atPath: scratch.path("core")))
            }
            #expect(Deadline.seconds(20).wait { vm.controller.status.read { $0.instance == nil } })
            try vm.command(.delete)
            try FileManager.default.removeItem(atPath: path + "/memory.bin")
            try FileManager.default.moveItem(atPath: kept, toPath: path + "/memory.bin")
            try vm.command(.restore(request(path, resume: true), ReceivedDescriptors()))
            let before = rounds(vm)
            #expect(Deadline.seconds(30).wait { rounds(vm) > before + 2 || code(vm) == 2 })
            #expect(code(vm) == 1)
            #expect(vm.end() == .quit)
        }
    }

    @Test func hugePagesOfAGibibyteAreRefused() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("demand")
            let path = try snapshot(scratch) { $0.memory.shared = true }
            let vm = try RunningVM()
            var backing = MemoryBacking()
            backing.hugePageSize = 1 << 30
            let memory = try GuestMemory([MemoryRange(address: 0, size: 64 << 20)])
            let vmm = try VMM(
                VMM.Options(selfTest: SelfTestGuest(commandLine: "") { [] }),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let error = #expect(throws: VMError.self) {
                try vmm.page(try SnapshotChain(opening: path), into: memory, backing, request(path))
            }
            #expect(error?.chain.last?.contains("1024 MiB ($.memory.hugepage_size)") == true, "\(error as Any)")
            #expect(vm.end() == .quit)
        }
    }
}
