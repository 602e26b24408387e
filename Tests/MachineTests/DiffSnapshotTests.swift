import Foundation
import Host
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// Snapshots that have what was written since the last one.
@Suite(.serialized) struct DiffSnapshotTests {
    private func take(_ vm: RunningVM, _ scratch: ScratchDirectory, _ name: String, _ kind: SnapshotRequest.Kind?)
        throws
    {
        try vm.command(.snapshot(SnapshotRequest(path: scratch.path(name), kind: kind)))
    }

    /// Lets the guest run until its disk has done some more requests.
    private func run(_ vm: RunningVM) throws {
        try vm.command(.resume)
        func requests() -> Int64 {
            guard case .object(let devices)? = vm.controller.status.counters, case .object(let disk)? = devices["data"],
                case .number(let number)? = disk["read_ops"]
            else { return 0 }
            return number.integer(Int64.self) ?? 0
        }
        let before = requests()
        #expect(Deadline.seconds(20).wait { requests() > before + 20 })
        try vm.command(.pause)
    }

    /// Where KVM emulates what this guest does, it may let it go on with a full ring, and no diff is taken then
    /// (`DirtyLogTests.aFullRingIsEmptied`).
    private static let rings: [(Bool, DirtyLogKind)] = HostProcessor.runsGuests ? [(true, .ring)] : []

    /// At each moment a chain of diffs has the memory that a full snapshot of the same moment has, whoever wrote it: the
    /// guest, its disk, or KVM.
    @Test(arguments: [(false, DirtyLogKind.bitmap), (true, .bitmap)] + rings)
    func aChainHasWhatAFullOneHas(measuring: Bool, log: DirtyLogKind) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("diffs")
            let vm = try RunningVM("mode=disk-load seconds=60")
            var config = Guests.config()
            config.memory.dirtyLog = log
            var disk = DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))
            (disk.id, disk.imageType) = ("data", .raw)
            config.disks = [disk]
            try vm.create(config)
            try vm.command(.boot)
            try vm.command(.pause)
            try run(vm)
            try take(vm, scratch, "base", .full)
            for round in 1...4 {
                // The meter shares KVM's log with the snapshots.
                if measuring { try vm.command(.measureDirtying(true)) }
                try run(vm)
                if measuring { try vm.command(.measureDirtying(round % 2 == 0)) }
                try take(vm, scratch, "full\(round)", nil)
                try take(vm, scratch, "diff\(round)", .diff)
                let diff = try SnapshotChain(opening: scratch.path("diff\(round)"))
                let full = try SnapshotChain(opening: scratch.path("full\(round)"))
                #expect(diff.layers.count == round + 1)
                let difference = try diff.compare(with: full)
                #expect(difference.memory.isEmpty && difference.config.isEmpty, "round \(round): \(difference)")
                #expect(diff.manifest.memory.dataBytes < full.manifest.memory.dataBytes, "round \(round)")
                #expect(diff.manifest.memory.dataBytes > 0)
            }
            #expect(vm.end() == .quit)

            // The image as it was is known, and what has become of it.
            let image = try #require(
                try SnapshotDirectory(opening: scratch.path("diff4")).manifest.disks?.first { $0.id == "data" })
            #expect(image.size == 1 << 20 && image.change == nil)
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSinceNow: 60)], ofItemAtPath: image.path)
            #expect(image.change?.hasPrefix("it was written ") == true, "\(image.change ?? "")")
        }
    }

    /// A VM that was restored goes on with the chain that it is from, however it got its memory, again and again.
    @Test(arguments: [(RestoreRequest.MemoryMode.copy, false), (.copy, true), (.onDemand, false)])
    func aChainGoesOnOverRestores(_ mode: RestoreRequest.MemoryMode, shared: Bool) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("diffs")
            var config = Guests.config()
            config.memory.shared = shared
            var disk = DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))
            (disk.id, disk.imageType) = ("data", .raw)
            config.disks = [disk]
            let vm = try RunningVM("mode=disk-load seconds=60")
            try vm.create(config)
            try vm.command(.boot)
            try vm.command(.pause)
            try run(vm)
            // A snapshot without a type is no parent for the VM that runs on, and one for those that are restored from it.
            try take(vm, scratch, "0", nil)
            #expect(vm.end() == .quit)
            for round in 1...3 {
                let next = try RunningVM("mode=disk-load seconds=60")
                var request = RestoreRequest(path: scratch.path("\(round - 1)"))
                request.memoryMode = mode
                try next.command(.restore(request, ReceivedDescriptors()))
                try run(next)
                try take(next, scratch, "full\(round)", nil)
                try take(next, scratch, "\(round)x", .diff)
                try run(next)
                // From the first diff on, writes are noted.
                try take(next, scratch, "\(round)", .diff)
                #expect(next.end() == .quit)
                let diff = try SnapshotChain(opening: scratch.path("\(round)x"))
                #expect(diff.layers.count == 2 * round)
                let full = try SnapshotChain(opening: scratch.path("full\(round)"))
                let difference = try diff.compare(with: full)
                #expect(difference.memory.isEmpty && difference.config.isEmpty, "round \(round): \(difference)")
                #expect(diff.manifest.memory.dataBytes < full.manifest.memory.dataBytes / 2, "round \(round)")
                #expect(diff.manifest.memory.dataBytes > 0)
            }
        }
    }

    @Test func aDiffNeedsItsParent() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("diffs")
            let vm = try RunningVM("mode=hang")
            try vm.create(Guests.config())
            try vm.command(.boot)
            try vm.command(.pause)
            // One without a type is nobody's parent.
            try take(vm, scratch, "plain", nil)
            func refusal(as name: String = "diff") throws -> String {
                let error = try vm.refusal(.snapshot(SnapshotRequest(path: scratch.path(name), kind: .diff)))
                #expect(!FileManager.default.fileExists(atPath: scratch.path(name)))
                return error.chain.last ?? ""
            }
            #expect(try refusal().contains("there is none; take one with the type Full first"))
            try take(vm, scratch, "base", .full)
            try FileManager.default.moveItem(atPath: scratch.path("base"), toPath: scratch.path("moved"))
            #expect(try refusal().hasPrefix("\(scratch.path("base")): there is no such directory"))
            try FileManager.default.moveItem(atPath: scratch.path("plain"), toPath: scratch.path("base"))
            #expect(try refusal().contains("bring that one back"))
            try FileManager.default.removeItem(atPath: scratch.path("base"))
            try FileManager.default.moveItem(atPath: scratch.path("moved"), toPath: scratch.path("base"))
            try take(vm, scratch, "diff", .diff)
            // A diff that fails loses nothing of what was written.
            #expect(
                try vm.refusal(.snapshot(SnapshotRequest(path: scratch.path("diff"), kind: .diff))).kind == .conflict)
            try take(vm, scratch, "next", .diff)
            #expect(try SnapshotChain(opening: scratch.path("next")).layers.count == 3)
            // All that a diff builds upon has to be there, not only the last one.
            try FileManager.default.moveItem(atPath: scratch.path("base"), toPath: scratch.path("moved"))
            #expect(try refusal(as: "late").contains("the parent is gone"))
            try FileManager.default.moveItem(atPath: scratch.path("moved"), toPath: scratch.path("base"))
            try take(vm, scratch, "late", .diff)
            // The next life has other memory.
            try vm.command(.resume)
            try vm.command(.reboot)
            try vm.command(.pause)
            let rebooted = try vm.refusal(.snapshot(SnapshotRequest(path: scratch.path("y"), kind: .diff)))
            #expect(rebooted.chain.last?.contains("type Full first") == true, "\(rebooted)")
            #expect(vm.end() == .quit)
        }
    }
}
