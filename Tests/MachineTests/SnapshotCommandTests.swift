import Foundation
import Host
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// Snapshots and restores by commands.
@Suite(.serialized) struct SnapshotCommandTests {
    private func config(_ scratch: ScratchDirectory, ejecting: Bool = true) throws -> VMConfig {
        var config = Guests.config()
        if ejecting {
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", TinyKernel.ejector.elf)
        }
        return config
    }

    private func devices(_ vm: RunningVM) -> [String] {
        vm.controller.status.info?.devices.map { "\($0.id) \($0.bdf)" } ?? []
    }

    private func add(_ vm: RunningVM, _ scratch: ScratchDirectory, _ id: String) throws {
        let path = scratch.path(id)
        if !FileManager.default.fileExists(atPath: path) { try scratch.sparse(id, bytes: 1 << 20) }
        var disk = DiskConfig(path: path)
        disk.id = id
        disk.imageType = .raw
        try vm.command(.addDisk(Parsed(config: disk)))
    }

    private func resize(_ path: String, _ bytes: UInt64) throws {
        let file = try FileHandle(forWritingTo: URL(filePath: path))
        try file.truncate(atOffset: bytes)
        try file.close()
    }

    private func request(_ path: String, resume: Bool = false) -> VMCommand {
        var request = RestoreRequest(path: path)
        request.resume = resume
        return .restore(request, ReceivedDescriptors())
    }

    /// Devices that came and went before the snapshot are where they were after it, and come and go as before.
    @Test func hotPluggedDevicesKeepTheirPlaces() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("plugged")
            let path = scratch.path("snapshot")
            let first = try RunningVM()
            try first.create(config(scratch))
            try first.command(.boot)
            for id in ["a", "b", "c"] { try add(first, scratch, id) }
            try first.command(.removeDevice(id: "a"))
            let places = ["__rng 0000:00:01.0", "b 0000:00:03.0", "c 0000:00:04.0"]
            #expect(Deadline.seconds(10).wait { devices(first) == places })
            try first.command(.pause)
            try first.command(.snapshot(SnapshotRequest(path: path)))
            #expect(first.events.all.suffix(2) == ["vm.snapshotting", "vm.snapshotted"])
            #expect(first.end() == .quit)

            let second = try RunningVM()
            try second.command(request(path))
            #expect(second.events.all == ["vm.restoring", "vm.restored"])
            #expect(second.controller.status.state == .paused && devices(second) == places)
            try second.command(.resume)
            try second.command(.removeDevice(id: "b"))
            #expect(Deadline.seconds(10).wait { devices(second) == ["__rng 0000:00:01.0", "c 0000:00:04.0"] })
            try add(second, scratch, "d")
            #expect(devices(second) == ["__rng 0000:00:01.0", "d 0000:00:02.0", "c 0000:00:04.0"])
            // The next life has them in the same places.
            try second.command(.reboot)
            #expect(devices(second) == ["__rng 0000:00:01.0", "d 0000:00:02.0", "c 0000:00:04.0"])
            #expect(second.end() == .quit)
        }
    }

    /// An interface whose queues came as descriptors gets new ones with the request, and nothing else.
    @Test func queuesFromOutsideComeAgain() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("queues")
            let path = scratch.path("snapshot")
            func queue() throws -> ReceivedDescriptors {
                let tap = try TapQueue(name: "swlmsnap0", multiQueue: false)
                return ReceivedDescriptors(owning: [try tap.file.duplicate().release()])
            }
            let vm = try RunningVM("mode=hang")
            try vm.create(config(scratch, ejecting: false))
            var net = NetConfig()
            net.id = "lan"
            try vm.command(.addNet(Parsed(config: net), queue()))
            try vm.command(.boot)
            try vm.command(.pause)
            try vm.command(.snapshot(SnapshotRequest(path: path)))
            #expect(vm.end() == .quit)

            let other = try RunningVM("mode=hang")
            let missing = try other.refusal(request(path))
            #expect(
                missing.kind == .invalid && missing.chain.last?.contains("the queues of lan came") == true, "\(missing)"
            )
            #expect(other.controller.status.state == nil)
            var wanted = RestoreRequest(path: path)
            wanted.net = [.init(id: "lan", count: 2)]
            let two = try other.refusal(.restore(wanted, queue()))
            #expect(two.chain.last == "$.net_fds: 2 descriptors are named and 1 came with the request", "\(two)")
            wanted.net = [.init(id: "wan", count: 1)]
            let unknown = try other.refusal(.restore(wanted, queue()))
            #expect(
                unknown.chain.last?.hasPrefix("$.net_fds[0].id: \"wan\" is no network interface") == true, "\(unknown)")
            wanted.net = [.init(id: "lan", count: 1)]
            try other.command(.restore(wanted, queue()))
            #expect(other.controller.status.state == .paused)
            try other.command(.resume)
            #expect(other.end() == .quit)
        }
    }

    @Test func refusesWhatIsNotTheRightMoment() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("moment")
            let path = scratch.path("snapshot")
            let vm = try RunningVM("mode=hang")
            #expect(try vm.refusal(.snapshot(SnapshotRequest(path: path))).kind == .notFound)
            try vm.create(config(scratch, ejecting: false))
            #expect(try vm.refusal(.snapshot(SnapshotRequest(path: path))).chain.last == "VM is not booted")
            #expect(try vm.refusal(request(path)).chain.last == "VM is already created")
            try vm.command(.boot)
            #expect(
                try vm.refusal(.snapshot(SnapshotRequest(path: path))).chain.last?.hasPrefix("VM is not paused") == true
            )
            // A guest that does not let a device go.
            try add(vm, scratch, "held")
            try vm.command(.removeDevice(id: "held"))
            try vm.command(.pause)
            let error = try vm.refusal(.snapshot(SnapshotRequest(path: path)))
            #expect(error.kind == .failed && error.chain.last?.contains("let held go") == true, "\(error)")
            #expect(!FileManager.default.fileExists(atPath: path))
            #expect(vm.end() == .quit)
        }
    }

    /// A disk that shrank, one that somebody else has, and a directory for another machine: all are refused with the
    /// place, and nothing is left of the VM.
    @Test func refusesWhatDoesNotFitAnyMore() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("fit")
            let path = scratch.path("snapshot")
            let vm = try RunningVM("mode=hang")
            try vm.create(config(scratch, ejecting: false))
            try add(vm, scratch, "disk")
            try vm.command(.boot)
            try vm.command(.pause)
            try vm.command(.snapshot(SnapshotRequest(path: path)))
            let other = try RunningVM("mode=hang")
            let locked = try other.refusal(request(path))
            #expect(locked.chain.last?.contains("is locked") == true, "\(locked)")
            #expect(other.controller.status.state == nil)
            try vm.command(.delete)
            try resize(scratch.path("disk"), 1 << 19)
            let shrunk = try other.refusal(request(path))
            #expect(shrunk.kind == .invalid, "\(shrunk)")
            #expect(
                shrunk.chain.last?.hasPrefix("\(path)/state.json: devices.__device_disk.state.size: ") == true,
                "\(shrunk)")
            #expect(other.controller.status.state == nil)
            try resize(scratch.path("disk"), 1 << 20)
            // A program that another test starts has this process's locks until it is executed.
            #expect(Deadline.seconds(20).wait { (try? other.command(request(path, resume: true))) != nil })
            #expect(other.controller.status.state == .running)
            #expect(other.end() == .quit && vm.end() == .quit)
        }
    }
}
