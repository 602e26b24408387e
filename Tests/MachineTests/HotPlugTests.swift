import Foundation
import Host
import Spec
import TestSupport
import Testing

@testable import Machine

/// Devices that come to a running guest and leave it, by commands.
@Suite(.serialized) struct HotPlugTests {
    /// A VM whose guest ejects what is asked of it, or one that hears nothing.
    private func withVM(ejecting: Bool, _ body: (RunningVM, ScratchDirectory) throws -> Void) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("hotplug")
            var config = Guests.config()
            if ejecting {
                config.payload = PayloadConfig()
                config.payload?.kernel = try scratch.write("kernel", TinyKernel.ejector.elf)
            }
            let vm = try RunningVM("mode=hang")
            try vm.create(config)
            try vm.command(.boot)
            try body(vm, scratch)
            #expect(vm.end() == .quit)
        }
    }

    private func disk(_ path: String, _ id: String? = nil) -> VMCommand {
        var disk = DiskConfig(path: path)
        disk.id = id
        disk.imageType = .raw
        return .addDisk(Parsed(config: disk))
    }

    private func pending(_ vm: RunningVM) -> [String] { vm.controller.status.info?.pendingRemovals ?? [] }
    private func devices(_ vm: RunningVM) -> [String] {
        vm.controller.status.info?.devices.map { "\($0.id) \($0.bdf)" } ?? []
    }

    /// Whether this process has the file open no more.
    private func isFree(_ path: String) -> Bool {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return !files.contains {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == path
        }
    }

    @Test func aDiskComesAndGoesManyTimes() throws {
        try withVM(ejecting: true) { vm, scratch in
            let path = try scratch.sparse("disk", bytes: 1 << 20)
            let debug = try #require(vm.controller.status.read(\.instance)?.debugPort)
            for round in 1...20 {
                #expect(try vm.command(disk(path, "d")) == .device(id: "d", bdf: "0000:00:02.0"))
                #expect(devices(vm) == ["__rng 0000:00:01.0", "d 0000:00:02.0"])
                #expect(!isFree(path))
                try vm.command(.removeDevice(id: "d"))
                #expect(Deadline.seconds(10).wait { devices(vm) == ["__rng 0000:00:01.0"] }, "round \(round)")
                #expect(isFree(path), "round \(round)")
                // The slot was empty as soon as the guest had let go.
                #expect(Deadline.seconds(10).wait { debug.observed.code == 0xFF }, "\(debug.observed)")
            }
            #expect(vm.events.all.filter { $0 == "vm.device-removed" }.count == 20)
            #expect(vm.controller.status.info?.config.disks.isEmpty == true && pending(vm).isEmpty)
        }
    }

    @Test func aGuestThatDoesNotHearHoldsItsDevices() throws {
        try withVM(ejecting: false) { vm, scratch in
            let (first, second) = (try scratch.sparse("a", bytes: 1 << 20), try scratch.sparse("b", bytes: 1 << 20))
            #expect(try vm.command(disk(first)) == .device(id: "_disk0", bdf: "0000:00:02.0"))
            #expect(try vm.command(disk(second)) == .device(id: "_disk1", bdf: "0000:00:03.0"))
            try vm.command(.removeDevice(id: "_disk0"))
            try vm.command(.removeDevice(id: "_disk0"))
            #expect(pending(vm) == ["_disk0"] && devices(vm).count == 3)
            #expect(vm.controller.status.info?.config.disks.map(\.id) == ["_disk1"])
            let unread = try #require(vm.controller.status.read(\.instance)?.hotPlug.unread)
            #expect(unread == (0b1100, 0b0100))
            // The next life has it no more, and the other one in its slot.
            try vm.command(.reboot)
            #expect(devices(vm) == ["__rng 0000:00:01.0", "_disk1 0000:00:03.0"])
            #expect(pending(vm).isEmpty && isFree(first) && !isFree(second))
            #expect(vm.controller.status.info?.config.disks.map(\.id) == ["_disk1"])
            #expect(vm.events.all.contains("vm.device-removed"))
            // The slot that became free is the first that is given again.
            #expect(try vm.command(disk(first, "again")) == .device(id: "again", bdf: "0000:00:02.0"))
        }
    }

    /// A guest's driver serves one vsock device, and has it until it lets go.
    @Test func theVsockDeviceThatLeavesIsStillThere() throws {
        try withVM(ejecting: false) { vm, scratch in
            func vsock(_ name: String) -> VMCommand {
                .addVsock(Parsed(config: VsockConfig(cid: 5, socket: scratch.path(name)), warnings: []))
            }
            #expect(try vm.command(vsock("a")) == .device(id: "_vsock0", bdf: "0000:00:02.0"))
            try vm.command(.removeDevice(id: "_vsock0"))
            let error = try vm.refusal(vsock("b"))
            #expect(error.kind == .conflict && error.chain.last?.contains("device-removed") == true, "\(error)")
            try vm.command(.reboot)
            #expect(try vm.command(vsock("b")) == .device(id: "_vsock1", bdf: "0000:00:02.0"))
        }
    }

    /// What another device has, of whatever kind, is told at the request's own place.
    @Test func idsAndTapsHaveOneUser() throws {
        try withVM(ejecting: false) { vm, scratch in
            try vm.command(disk(try scratch.sparse("disk", bytes: 1 << 20), "x"))
            var vsock = VsockConfig(cid: 5, socket: scratch.path("v"))
            vsock.id = "x"
            let taken = try vm.refusal(.addVsock(Parsed(config: vsock, warnings: [])))
            #expect(taken.kind == .conflict, "\(taken)")
            #expect(taken.chain.last == "$.id: \"x\" is already the id of $.disks[0]; choose another")
            var net = NetConfig()
            net.tap = "swlmplug1"
            try vm.command(.addNet(Parsed(config: net), ReceivedDescriptors()))
            // The card that leaves is no more in the configuration, and has its tap still.
            try vm.command(.removeDevice(id: "_net0"))
            let error = try vm.refusal(.addNet(Parsed(config: net), ReceivedDescriptors()))
            #expect(error.kind == .conflict, "\(error)")
            #expect(
                error.chain.last?.hasPrefix("$.tap: \"swlmplug1\" is the tap of the network card \"_net0\"") == true,
                "\(error)")
        }
    }

    /// Two cards with one tap would take each other's packets.
    @Test func aTapThatCameAsDescriptorsHasOneUser() throws {
        try withVM(ejecting: false) { vm, _ in
            func queue(_ name: String) throws -> ReceivedDescriptors {
                let tap = try TapQueue(name: name, multiQueue: true)
                return ReceivedDescriptors(owning: [try tap.file.duplicate().release()])
            }
            func add(_ queues: ReceivedDescriptors, tap: String? = nil) -> VMCommand {
                var net = NetConfig()
                net.tap = tap
                return .addNet(Parsed(config: net), queues)
            }
            try vm.command(add(queue("swlmfds0")))
            let error = try vm.refusal(add(queue("swlmfds0")))
            #expect(error.kind == .conflict, "\(error)")
            #expect(
                error.chain.last
                    == "$.fds: the descriptors are of swlmfds0, which is the tap of the network card \"_net0\"; "
                    + "send another tap's")
            #expect(try vm.refusal(add(ReceivedDescriptors(), tap: "swlmfds0")).kind == .conflict)
            // Another one is welcome, by descriptor and by name, and then has its user.
            try vm.command(add(queue("swlmfds1")))
            try vm.command(add(ReceivedDescriptors(), tap: "swlmfds2"))
            #expect(try vm.refusal(add(ReceivedDescriptors(), tap: "swlmfds2")).kind == .conflict)
        }
        for index in 0...2 { #expect(NetworkInterface.goes("swlmfds\(index)")) }
    }

    /// Log lines in a disk's image would ruin it.
    @Test func theProcessFilesAreNoDisks() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("hotplug")
            let log = try scratch.sparse("log", bytes: 1 << 20)
            let vm = try RunningVM("mode=hang", files: [ProcessFile(option: "--log-file", path: log)])
            var config = Guests.config()
            config.disks = [DiskConfig(path: log)]
            #expect(
                try vm.refusal(.create(ParsedConfig(config: config))).chain.last?.contains("is the file of --log-file")
                    == true)
            config.disks = []
            try vm.create(config)
            try vm.command(.boot)
            let error = try vm.refusal(disk(log))
            #expect(
                error.kind == .conflict && error.chain.last?.contains("is the file of --log-file") == true, "\(error)")
            #expect(vm.end() == .quit)
        }
    }

    @Test func aDeviceThatCannotComeLeavesNothing() throws {
        try withVM(ejecting: false) { vm, scratch in
            let path = try scratch.sparse("disk", bytes: 1 << 20)
            let missing = try vm.refusal(disk(scratch.path("none")))
            #expect(missing.kind == .invalid && missing.chain.last?.hasPrefix("$.path: ") == true, "\(missing)")
            try vm.command(disk(path, "d"))
            #expect(try vm.refusal(disk(path, "d")).kind == .conflict)
            #expect(try vm.refusal(disk(path)).kind == .conflict)
            #expect(try vm.refusal(.removeDevice(id: "none")).kind == .notFound)
            #expect(try vm.refusal(.removeDevice(id: "__rng")).kind == .notFound)
            #expect(devices(vm) == ["__rng 0000:00:01.0", "d 0000:00:02.0"])
            try vm.command(.removeDevice(id: "d"))
            try vm.command(.reboot)
            #expect(devices(vm) == ["__rng 0000:00:01.0"])
        }
    }

    @Test func allSlotsCanBeTaken() throws {
        try withVM(ejecting: true) { vm, scratch in
            for index in 1...30 {
                let path = try scratch.sparse("disk\(index)", bytes: 1 << 16)
                guard case .device = try vm.command(disk(path)) else { throw RunningVM.Unexpected(reply: .done) }
            }
            let full = try vm.refusal(disk(try scratch.sparse("more", bytes: 1 << 16)))
            #expect(full.kind == .invalid && full.chain.last?.contains("no slot of the PCI bus is free") == true)
            for index in 0..<30 { try vm.command(.removeDevice(id: "_disk\(index)")) }
            #expect(Deadline.seconds(20).wait { devices(vm) == ["__rng 0000:00:01.0"] }, "\(devices(vm))")
        }
    }

    @Test func devicesComeAndGoWhileTheGuestStandsStill() throws {
        try withVM(ejecting: true) { vm, scratch in
            let path = try scratch.sparse("disk", bytes: 1 << 20)
            try vm.command(.pause)
            try vm.command(disk(path, "d"))
            try vm.command(.removeDevice(id: "d"))
            sleepThread(.milliseconds(50))
            #expect(pending(vm) == ["d"])
            try vm.command(.resume)
            #expect(Deadline.seconds(10).wait { devices(vm) == ["__rng 0000:00:01.0"] })
        }
    }

    @Test func disksChangeTheirSize() throws {
        try withVM(ejecting: false) { vm, scratch in
            let path = try scratch.sparse("disk", bytes: 1 << 20)
            try vm.command(disk(path, "d"))
            func events() -> [String] { vm.events.all.filter { $0.hasPrefix("vm.resiz") } }
            try vm.command(.resizeDisk(id: "d", size: 3 << 20))
            #expect(try scratch.read("disk").count == 3 << 20)
            #expect(events() == ["vm.resizing", "vm.resized"])
            let odd = try vm.refusal(.resizeDisk(id: "d", size: 1000))
            #expect(
                odd.kind == .invalid && odd.chain.last?.contains("name a multiple of its blocks of 512 bytes") == true)
            #expect(try vm.refusal(.resizeDisk(id: "e", size: 1 << 20)).kind == .notFound)
            #expect(try vm.refusal(.resizeDisk(id: "__rng", size: 1 << 20)).kind == .notFound)
            // What is refused has not begun.
            #expect(events() == ["vm.resizing", "vm.resized"])
            try vm.command(.resizeDisk(id: "d", size: 512))
            #expect(try scratch.read("disk").count == 512)
        }
    }

    /// A card over a client's tap queue stays over the guest's boots, and gives the queue back when it goes.
    @Test func aCardOverAReceivedTapQueue() throws {
        try withVM(ejecting: true) { vm, _ in
            let name = "swlmplug0"
            func queue() throws -> ReceivedDescriptors {
                ReceivedDescriptors(owning: [try TapQueue(name: name, multiQueue: false).file.duplicate().release()])
            }
            var net = NetConfig()
            net.id = "card"
            net.queueCount = 4
            let error = try vm.refusal(.addNet(Parsed(config: net), queue()))
            #expect(error.kind == .invalid && error.chain.last?.contains("set num_queues to 2") == true, "\(error)")
            #expect(NetworkInterface.goes(name))
            net.queueCount = 2
            #expect(
                try vm.command(.addNet(Parsed(config: net), queue())) == .device(id: "card", bdf: "0000:00:02.0"))
            try vm.command(.reboot)
            #expect(devices(vm) == ["__rng 0000:00:01.0", "card 0000:00:02.0"])
            try vm.command(.shutdown)
            #expect(NetworkInterface.exists(name))
            try vm.command(.boot)
            try vm.command(.removeDevice(id: "card"))
            #expect(Deadline.seconds(10).wait { devices(vm).count == 1 }, "\(devices(vm))")
            #expect(NetworkInterface.goes(name))
        }
    }
}
