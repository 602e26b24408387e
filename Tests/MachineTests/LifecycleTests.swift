import Foundation
import Host
import Spec
import TestSupport
import Testing

@testable import Machine

/// The VM's life by commands, with the self-test guest.
@Suite(.serialized) struct LifecycleTests {
    /// A guest that echoes what its serial port hears, and the way to that port.
    private func withEcho(
        vcpus: UInt32 = 2, _ body: (RunningVM, ScratchDirectory, () throws -> Conversation) throws -> Void
    ) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("life")
            var config = Guests.config(vcpus: vcpus)
            config.serial = ConsoleConfig(socket: scratch.path("serial"))
            let vm = try RunningVM("mode=echo seconds=50")
            try vm.create(config)
            try body(vm, scratch) { try Conversation.connect(socket: scratch.path("serial"), by: .seconds(5)) }
            #expect(vm.end() == .quit)
        }
    }

    /// Whether the guest, in its nth life, echoes a text. Before it is up, its serial port drops what it hears.
    private func hears(_ line: Conversation, _ text: String, life: Int = 1) throws -> Bool {
        let isUp = Deadline.seconds(10).wait { line.output.components(separatedBy: "echo: until q").count > life }
        guard isUp else { return false }
        let before = line.output.utf8.count
        try line.write(text)
        return Deadline.seconds(10).wait {
            String(decoding: line.output.utf8.dropFirst(before), as: UTF8.self).contains(text)
        }
    }

    @Test func theWholeLife() throws {
        try withEcho { vm, _, connect in
            #expect(vm.controller.status.state == .created)
            let line = try connect()
            try vm.command(.boot)
            #expect(vm.controller.status.state == .running)
            #expect(try hears(line, "one"))
            try vm.command(.reboot)
            #expect(try hears(line, "two", life: 2))
            try vm.command(.shutdown)
            #expect(vm.controller.status.state == .created)
            try vm.command(.boot)
            #expect(try hears(line, "three", life: 3), "\(line.output)")
            try vm.command(.delete)
            #expect(vm.controller.status.state == nil)
            let expected = [
                "booting", "booted", "rebooting", "rebooted", "shutdown", "booting", "booted", "shutdown", "deleted",
            ]
            #expect(vm.events.all == expected.map { "vm.\($0)" })
        }
    }

    @Test func aPausedGuestStandsStill() throws {
        try withEcho { vm, _, connect in
            let line = try connect()
            try vm.command(.boot)
            #expect(try hears(line, "before"))
            try vm.command(.pause)
            #expect(vm.controller.status.state == .paused)
            let seen = line.output
            try line.write("while")
            sleepThread(.milliseconds(300))
            #expect(line.output == seen)
            try vm.command(.resume)
            #expect(vm.controller.status.state == .running)
            #expect(Deadline.seconds(10).wait { line.output.hasSuffix("while") })
            #expect(try hears(line, "after"))
        }
    }

    /// A guest that asks its devices and timers all the time, stopped at many places.
    @Test func pausesAnywhere() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("pause")
            var config = Guests.config(vcpus: 2)
            config.serial = ConsoleConfig(file: scratch.path("serial"))
            let disk = try scratch.write(
                "disk", Array("SWIFTLET-SELFTEST".utf8) + [UInt8](repeating: 0, count: (1 << 20) - 17))
            config.disks = [DiskConfig(path: disk)]
            config.disks[0].imageType = .raw
            let vm = try RunningVM()
            try vm.create(config)
            try vm.command(.boot)
            var pauses = 0
            while vm.controller.status.state == .running {
                guard case .success = try vm.attempt(.pause) else { break }
                pauses += 1
                try vm.command(.resume)
                // Longer and longer: on a busy machine a vCPU thread may get no processor within a millisecond.
                sleepThread(.milliseconds(1 + pauses / 50))
            }
            #expect(pauses > 20)
            #expect(vm.end() == .quit)
            let text = String(decoding: try scratch.read("serial"), as: UTF8.self)
            #expect(text.contains("selftest: PASS"), "\(text)")
        }
    }

    @Test func refusesWhatTheStateForbids() throws {
        try withEcho { vm, _, _ in
            #expect(try vm.refusal(.create(ParsedConfig(config: VMConfig()))).kind == .failed)
            #expect(try vm.refusal(.pause).chain == ["The VM could not be paused", "VM is not booted"])
            #expect(try vm.refusal(.reboot).kind == .notFound)
            #expect(try vm.refusal(.shutdown).kind == .failed)
            try vm.command(.boot)
            #expect(try vm.refusal(.boot).chain == ["The VM could not boot", "VM is already booted"])
            #expect(try vm.refusal(.resume).chain == ["The VM could not resume", "VM is not paused"])
            try vm.command(.pause)
            #expect(try vm.refusal(.pause).chain.last == "VM is already paused")
            try vm.command(.delete)
            try vm.command(.delete)
            #expect(try vm.refusal(.boot).kind == .notFound)
            #expect(try vm.refusal(.powerButton).kind == .notFound)
        }
    }

    /// A boot that fails leaves a VM that can be booted once the cause is gone.
    @Test func bootsAfterAFailure() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("boot")
            var config = Guests.config()
            config.disks = [DiskConfig(path: scratch.path("disk"))]
            let vm = try RunningVM("mode=hang")
            try vm.create(config)
            let error = try vm.refusal(.boot)
            #expect(error.kind == .invalid && error.chain.last?.hasPrefix("$.disks[0].path") == true, "\(error)")
            #expect(vm.controller.status.state == .created)
            // Nothing has begun that would have to end.
            #expect(vm.events.all.isEmpty, "\(vm.events.all)")
            try scratch.sparse("disk", bytes: 1 << 20)
            try vm.command(.boot)
            #expect(vm.controller.status.state == .running)
            #expect(vm.events.all == ["vm.booting", "vm.booted"])
            #expect(vm.end() == .quit)
        }
    }

    @Test func changesTheDevicesBeforeBoot() throws {
        try withEcho { vm, scratch, _ in
            let path = try scratch.sparse("disk", bytes: 1 << 20)
            try vm.command(.addDisk(Parsed(config: DiskConfig(path: path))))
            let info = try #require(vm.controller.status.info)
            let id = try #require(info.config.disks.first?.id)
            #expect(try vm.refusal(.addDisk(Parsed(config: DiskConfig(path: path)))).kind == .conflict)
            var twin = DiskConfig(path: "/other")
            twin.id = id
            let refusal = try vm.refusal(.addDisk(Parsed(config: twin)))
            #expect(refusal.kind == .conflict && refusal.chain.last?.hasPrefix("$.id: ") == true, "\(refusal)")
            try vm.command(.removeDevice(id: id))
            #expect(try vm.refusal(.removeDevice(id: id)).kind == .notFound)
            #expect(vm.controller.status.info?.config.disks.isEmpty == true)
        }
    }

    /// The guest's last word comes while the VM stands still, and ends it all the same when it goes on.
    @Test func aPausedGuestCanBeDeleted() throws {
        try withEcho(vcpus: 4) { vm, _, _ in
            try vm.command(.boot)
            try vm.command(.pause)
            try vm.command(.shutdown)
            #expect(vm.controller.status.state == .created)
        }
    }
}
