import Boot
import Host
import KVM
import Logging
import Memory
import SelfTestImage
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// Machines that are made before their state is there.
@Suite(.serialized) struct StandbyTests {
    /// What a machine is made of that stands by.
    private struct Standby {
        let lines: ConsoleBackends
        let backends: Backends
        let memory: GuestMemory
        let creation: VMCreation
        let instance: MachineInstance

        init(_ config: VMConfig, _ outline: MachineOutline) throws {
            var (config, names) = (config, DeviceNames())
            let plan = try MachinePlanner().plan(completing: &config, &names).placed(as: outline.machine)
            lines = try ConsoleBackends(
                plan, ConsoleBackends.Events(report: { _ in }, quit: {}), goesOn: true, isStandby: true)
            backends = try Backends(
                plan, selfTest: SelfTestGuest { SelfTestImage.elf() }, lines: lines, isRestored: true, isStandby: true)
            memory = try GuestMemory(plan.memory.ranges, plan.backing)
            creation = VMCreation(try KVMFile())
            creation.take(memory)
            var source = MachineSource(of: memory, in: creation)
            source.leaves = outline.leaves
            instance = try MachineInstance(backends, Self.events, from: source)
            try instance.startPaused()
        }

        static var events: InstanceEvents {
            InstanceEvents(
                request: { _ in }, failed: { Issue.record("vCPU \($0): \($1)") },
                report: { Issue.record("\($0): \($1)") },
                phase: { _, _ in },
                details: BootDetails(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        }
    }

    private func config(_ scratch: ScratchDirectory) throws -> VMConfig {
        var config = Guests.config(vcpus: 2)
        config.serial = ConsoleConfig(file: scratch.path("serial"))
        config.console = ConsoleConfig(socket: scratch.path("console"))
        config.disks = [DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))]
        config.vsock = VsockConfig(cid: 3, socket: scratch.path("vsock"))
        return config
    }

    /// It is made while the other one runs and has all that only one can have; then it is what that one was.
    @Test func itBecomesTheOneThatStopped() throws {
        let scratch = try ScratchDirectory("standby")
        try Guests.alone {
            let machine = try TestMachine(try config(scratch), "mode=hang")
            defer { machine.end() }
            try machine.instance.start()
            let bytes = try machine.instance.outline(machine.backends.plan, adopted: []).packed()
            let outline = try MachineOutline(bytes, processors: 2)
            #expect(outline.leaves == machine.instance.runners.map { $0.handle.cpuid } && outline.leaves.count == 2)
            #expect(throws: SnapshotError.self) { try MachineOutline(bytes, processors: 3) }
            let standby = try Standby(machine.config, outline)
            defer {
                #expect(standby.instance.stop())
                standby.lines.close()
            }
            #expect(standby.instance.runners.allSatisfy { $0.isParked })
            #expect(throws: (any Error).self) { try standby.backends.takeBack() }

            try machine.instance.pause()
            let saved = try machine.saved()
            for (range, bytes) in zip(standby.memory.ranges, saved.memory) {
                try standby.memory.write(bytes, at: range.address)
            }
            try machine.backends.letGo()
            try standby.backends.takeBack()
            try standby.instance.take(saved.document)
            let again = try standby.instance.saveState(standby.backends.plan)
            for name in try saved.document.devices where name != StateName.clock && !name.hasPrefix("__vcpu") {
                let (kind, version) = try again.kind(of: name)
                #expect(try (kind, version) == saved.document.kind(of: name), "\(name)")
            }
            for index in 0..<2 {
                let name = StateName.vcpu(index)
                let (one, other) = (
                    try saved.document.read(SavedVCPU.self, of: name), try again.read(SavedVCPU.self, of: name)
                )
                #expect(
                    one.registers == other.registers && one.cpuid == other.cpuid && one.msrs == other.msrs, "\(name)")
            }
            try standby.instance.resume()
            #expect(Deadline.seconds(10).wait { standby.instance.runners.allSatisfy { !$0.isParked } })
            try standby.backends.letGo()
        }
    }

    /// Where it is of no use another one is made, with the same memory and a VM of its own.
    @Test func itLeavesItsMemory() throws {
        let scratch = try ScratchDirectory("useless")
        try Guests.alone {
            let machine = try TestMachine(try config(scratch), "mode=hang")
            defer { machine.end() }
            try machine.instance.start()
            let outline = try MachineOutline(
                try machine.instance.outline(machine.backends.plan, adopted: []).packed(), processors: 2)
            let standby = try Standby(machine.config, outline)
            #expect(standby.creation.isUsed)
            standby.memory.arrival.begin()
            #expect(standby.instance.endThreads())
            #expect(standby.memory.arrival.isPending && !standby.memory.arrival.isLost)
            standby.memory.arrival.complete()
            standby.lines.close()

            try machine.instance.pause()
            let saved = try machine.saved()
            var source = MachineSource(document: try saved.document) { _ in }
            (source.memory, source.isSameMachine) = (standby.memory, true)
            let other = try MachineInstance(machine.backends, Standby.events, from: source)
            try other.startPaused()
            #expect(other.runners.allSatisfy { $0.isParked } && other.stop())
        }
    }
}
