import Boot
import CharBackend
import Memory
import Spec
import Testing

@testable import Machine

/// What is planned for a configuration: pure and exact.
@Suite struct PlannerTests {
    private let planner = MachinePlanner(hostAddressBits: 46) { [0x12, 0x34, 0x56, 1, 2, 3] }
    private let gibibyte: UInt64 = 1 << 30

    @Test func plansTheSmallestMachine() throws {
        var config = VMConfig()
        config.memory.size = 16 << 20
        let plan = try planner.plan(config)
        #expect(plan.memory.ranges == [MemoryRange(address: 0, size: 16 << 20)])
        #expect(plan.memory.end == 16 << 20)
        let entries: [[UInt64]] = plan.memory.entries.map { [$0.address, $0.size, UInt64($0.kind.rawValue)] }
        let expected: [[UInt64]] = [
            [0, 0xA0000, 1], [0xA0000, 0x60000, 2], [0x10_0000, 0xF0_0000, 1], [0xE800_0000, 0x10_0000, 2],
        ]
        #expect(entries == expected)
        #expect(plan.windows.memory32 == 0xC000_0000..<0xE800_0000)
        #expect(plan.windows.memory64 == 0x1_0000_0000..<0x3FFD_0000_0000)
        #expect(plan.processors.boot == 1 && plan.processors.maximum == 1 && plan.processors.apicIDs == [0])
        #expect(plan.devices.map(\.id) == ["__console", "__rng"])
        #expect(plan.devices.map { "\($0.address)" } == ["0000:00:01.0", "0000:00:02.0"])
        #expect(plan.devices.map(\.kind) == [.console(.tty), .entropy(source: "/dev/urandom")])
        #expect(plan.serial == .null && plan.debugConsole == nil && plan.payload == .selfTest && plan.isSelfTest)
        #expect(plan.backing == MemoryBacking())
    }

    @Test func putsMemoryAcrossTheHole() throws {
        var config = VMConfig()
        config.memory.size = 3 * gibibyte
        #expect(try planner.plan(config).memory.ranges == [MemoryRange(address: 0, size: 3 * gibibyte)])
        config.memory.size = 3 * gibibyte + 4096
        #expect(
            try planner.plan(config).memory.ranges == [
                MemoryRange(address: 0, size: 3 * gibibyte), MemoryRange(address: 4 * gibibyte, size: 4096),
            ])
        config.memory.size = 6 * gibibyte
        let plan = try planner.plan(config)
        #expect(plan.memory.end == 7 * gibibyte)
        #expect(plan.windows.memory64.lowerBound == 7 * gibibyte)
        #expect(plan.devices[0].registers == 7 * gibibyte)
    }

    @Test func givesDevicesSlotsAndRegistersInOrder() throws {
        var config = VMConfig()
        config.console = ConsoleConfig(mode: .off)
        config.disks = [DiskConfig(path: "/a"), DiskConfig(path: "/b")]
        config.disks[1].id = "data"
        config.disks[1].readonly = true
        config.disks[1].imageType = .raw
        config.disks[1].logicalBlockSize = 4096
        config.disks[0].serial = "S1"
        config.net = [NetConfig()]
        config.net[0].tap = "t0"
        let plan = try planner.plan(config)
        #expect(plan.devices.map(\.id) == ["_disk0", "data", "_net1", "__rng"])
        let base = plan.windows.memory64.lowerBound
        let step = plan.devices[1].registers - base
        #expect(step > 0 && step.nonzeroBitCount == 1 && base % step == 0)
        #expect(plan.devices.map(\.registers) == (0..<4).map { base + $0 * step })
        guard case .block(let options, let settings) = plan.devices[1].kind else {
            Issue.record("\(plan.devices[1])")
            return
        }
        #expect(options.path == "/b" && options.readOnly && options.declaredRaw && options.field == "$.disks[1]")
        #expect(settings.serial == "data" && settings.queues == 1 && options.logicalBlockSize == 4096)
        guard case .block(_, let first) = plan.devices[0].kind, case .net(let net) = plan.devices[2].kind else {
            Issue.record("\(plan.devices)")
            return
        }
        #expect(first.serial == "S1")
        #expect(net.mac == [0x12, 0x34, 0x56, 1, 2, 3] && net.tap == "t0" && net.pairs == 1 && net.field == "$.net[0]")
    }

    @Test func numbersProcessorsByTheirTopology() throws {
        var config = VMConfig()
        config.cpus = CPUsConfig(boot: 2, max: 12)
        config.cpus.topology = CPUTopology(threadsPerCore: 2, coresPerDie: 3, diesPerPackage: 1, packages: 2)
        config.cpus.affinity = [CPUAffinity(vcpu: 0, hostCPUs: [3]), CPUAffinity(vcpu: 1, hostCPUs: [0, 1])]
        let processors = try planner.plan(config).processors
        #expect(processors.apicIDs == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13])
        #expect(processors.boot == 2 && processors.maximum == 12 && processors.affinity == [0: [3], 1: [0, 1]])
        #expect(processors.affinityEntries == [0: 0, 1: 1])
    }

    @Test func refusesMemoryThatTheHostCouldNeverHold() throws {
        var config = VMConfig()
        config.memory.size = 6 * gibibyte
        var plan = try planner.plan(config)
        #expect(throws: Never.self) { try FieldErrors.checkMemory(plan, host: (4 * gibibyte, 2 * gibibyte)) }
        let error = #expect(throws: MachineError.self) {
            try FieldErrors.checkMemory(plan, host: (4 * gibibyte, gibibyte))
        }
        #expect(
            error?.description
                == "$.memory.size: 6144 MiB are more than this host could ever hold, 4096 MiB of RAM and 1024 MiB of swap; "
                + "lower it, or add swap space")
        guard case .host = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        // Sums that overflow are no reason to refuse.
        #expect(throws: Never.self) { try FieldErrors.checkMemory(plan, host: (.max, .max)) }
        config.memory.hugepages = true
        plan = try planner.plan(config)
        #expect(throws: Never.self) { try FieldErrors.checkMemory(plan, host: (gibibyte, 0)) }
    }

    @Test func usesThe32BitWindowWhereThereIsNoOther() throws {
        var config = VMConfig()
        config.cpus.maxPhysBits = 32
        config.memory.size = 64 << 20
        let plan = try planner.plan(config)
        #expect(plan.windows.memory64.isEmpty)
        #expect(plan.devices[0].registers == 0xC000_0000)
        config.memory.size = 4 * gibibyte
        #expect(throws: MachineError.self) { try planner.plan(config) }
    }

    @Test func refusesMoreDevicesThanSlots() throws {
        var config = VMConfig()
        config.disks = (0..<29).map { DiskConfig(path: "/\($0)") }
        #expect(try planner.plan(config).devices.count == 31)
        config.disks.append(DiskConfig(path: "/x"))
        let error = #expect(throws: MachineError.self) { try planner.plan(config) }
        #expect(error?.description.hasPrefix("$: 32 devices do not fit on the PCI bus") == true)
    }

    @Test func plansPayloadsAndConsoles() throws {
        var config = VMConfig()
        config.payload = PayloadConfig(kernel: "/k", cmdline: "quiet", initramfs: "/i")
        config.serial = ConsoleConfig(socket: "/s")
        config.debugConsole.mode = .file
        config.debugConsole.file = "/d"
        let plan = try planner.plan(config)
        #expect(
            plan.payload
                == .kernel(path: "/k", field: "$.payload.kernel", initramfs: "/i", commandLine: "quiet"))
        #expect(plan.serial == .socket("/s"))
        #expect(plan.debugConsole == PlannedDebugConsole(port: 0xE9, mode: .file("/d")))
        var firmware = PayloadConfig()
        firmware.firmware = "/f"
        config.payload = firmware
        #expect(
            try planner.plan(config).payload
                == .kernel(path: "/f", field: "$.payload.firmware", initramfs: nil, commandLine: ""))
    }

    @Test func addsAndRemovesDevicesOfAPlan() throws {
        var config = VMConfig()
        config.disks = [DiskConfig(path: "/a"), DiskConfig(path: "/b")]
        let plan = try planner.plan(config)
        #expect(plan.devices.map(\.id) == ["__console", "_disk0", "_disk1", "__rng"])
        let without = plan.removing("_disk0")
        #expect(without.devices.map { "\($0.id) \($0.address.device)" } == ["__console 1", "_disk1 3", "__rng 4"])
        #expect(plan.removing("none") == plan)

        // The lowest free slot, and the registers that belong to it.
        var disk = DiskConfig(path: "/c")
        disk.id = "c"
        let (more, added) = try planner.plan(without, adding: disk)
        #expect(added.id == "c" && added.address.device == 2 && added.registers == plan.devices[1].registers)
        #expect(more.devices.map(\.id) == ["__console", "c", "_disk1", "__rng"])
        guard case .block(let options, let settings) = added.kind else {
            Issue.record("\(added)")
            return
        }
        #expect(options.path == "/c" && options.field == "$" && settings.serial == "c")
        #expect(throws: MachineError.self) { _ = try planner.plan(more, adding: disk) }

        var net = NetConfig()
        net.id = "n"
        let (both, card) = try planner.plan(more, adding: net)
        #expect(card.address.device == 5 && both.devices.last == card)
        #expect(both.removing("c").removing("n") == without)
    }

    @Test func aFullBusTakesNoMore() throws {
        var plan = try planner.plan(VMConfig())
        for index in plan.devices.count..<31 {
            plan = try plan.adding("d\(index)", .entropy(source: "/dev/urandom")).plan
        }
        #expect(plan.devices.map(\.address.device) == Array(1...31))
        #expect(throws: MachineError.self) { _ = try plan.adding("more", .entropy(source: "/dev/urandom")) }
        #expect(try plan.removing("d7").adding("more", .entropy(source: "/dev/urandom")).device.address.device == 8)
    }
}
