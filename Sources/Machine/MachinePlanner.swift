import Boot
import CharBackend
import KVM
import Memory
import PCI
import Spec
import VirtioBlock
import VirtioNet
import VirtioVsock

/// Turns a validated configuration into a plan. Pure: it opens nothing and needs neither KVM nor rights.
package struct MachinePlanner {
    /// The width of the host's physical addresses in bits, which bounds the guest's.
    let hostAddressBits: UInt32
    /// Makes a MAC address where the configuration names none.
    let makeMAC: () -> [UInt8]

    /// - Parameter hostAddressBits: nil asks this processor.
    package init(hostAddressBits: UInt32? = nil, makeMAC: @escaping () -> [UInt8] = MachinePlanner.randomMAC) {
        let asked = CPUIDEntry.host(0x8000_0008).eax & 0xFF
        self.hostAddressBits = hostAddressBits ?? (asked == 0 ? 36 : asked)
        self.makeMAC = makeMAC
    }

    /// A locally administered unicast address.
    package static func randomMAC() -> [UInt8] {
        MACAddress.random().bytes
    }

    /// Chooses the ids and addresses that a configuration leaves open, and plans its machine.
    func plan(
        completing config: inout VMConfig, _ names: inout DeviceNames
    ) throws(MachineError) -> MachinePlan {
        config.assignIDs(&names)
        config.assignMACs()
        return try plan(config)
    }

    /// Plans the machine of a configuration.
    package func plan(_ source: VMConfig) throws(MachineError) -> MachinePlan {
        var config = source
        var names = DeviceNames()
        config.assignIDs(&names)
        let map = try layOutMemory(config.memory)
        let bits = min(hostAddressBits, UInt32(config.cpus.maxPhysBits))
        guard map.end <= UInt64(1) << min(UInt64(bits), 52) else {
            throw .spec(
                "$.memory.size: \(config.memory.size) bytes end at 0x\(String(map.end, radix: 16)), beyond the \(bits) "
                    + "bits of physical addresses; make it smaller or raise $.cpus.max_phys_bits up to the host's "
                    + "\(hostAddressBits)")
        }
        let upper = MachineLayout.pciMemory64(ramEnd: map.end, physicalAddressBits: Int(bits))
        let windows = PCIRoot.Windows(memory32: MachineLayout.pciMemory32, memory64: upper ?? 0..<0)
        return MachinePlan(
            memory: map, backing: backing(config.memory), dirtyLog: config.memory.dirtyLog,
            processors: processors(config.cpus, bits),
            windows: windows, devices: try DevicePlacement.place(devices(config), windows),
            serial: mode(config.serial), debugConsole: debugConsole(config.debugConsole),
            payload: payload(config.payload))
    }

    private func layOutMemory(_ config: MemoryConfig) throws(MachineError) -> MemoryMap {
        do throws(BootError) { return try MemoryMap(size: config.size) } catch { throw .spec("\(error)") }
    }

    private func backing(_ config: MemoryConfig) -> MemoryBacking {
        var backing = MemoryBacking()
        backing.shared = config.shared
        backing.hugePageSize = config.hugepages ? config.hugepageSize ?? 2 << 20 : nil
        backing.prefault = config.prefault
        backing.mergeable = config.mergeable
        backing.transparentHugePages = config.thp
        return backing
    }

    private func processors(_ config: CPUsConfig, _ bits: UInt32) -> PlannedProcessors {
        let topology =
            config.topology.map {
                ProcessorTopology(
                    threads: UInt32($0.threadsPerCore), cores: UInt32($0.coresPerDie),
                    dies: UInt32($0.diesPerPackage), packages: UInt32($0.packages))
            } ?? ProcessorTopology(flat: config.maxVCPUs)
        var affinity: [Int: [Int]] = [:]
        var entries: [Int: Int] = [:]
        for (index, entry) in config.affinity.enumerated() {
            affinity[Int(entry.vcpu), default: []] += entry.hostCPUs.map { Int($0) }
            entries[Int(entry.vcpu)] = index
        }
        return PlannedProcessors(
            boot: Int(config.bootVCPUs), maximum: Int(config.maxVCPUs), topology: topology, affinity: affinity,
            affinityEntries: entries, physicalAddressBits: bits)
    }

    private func devices(_ config: VMConfig) -> [(id: String, kind: PlannedDevice.Kind)] {
        var devices: [(id: String, kind: PlannedDevice.Kind)] = []
        if let mode = mode(config.console) {
            devices.append((config.console.id ?? DeviceNames.console, .console(mode)))
        }
        for (index, disk) in config.disks.enumerated() {
            let id = disk.id ?? "_disk\(index)"
            devices.append((id, .block(diskOptions(disk, "$.disks[\(index)]"), blockSettings(disk, id: id))))
        }
        for (index, net) in config.net.enumerated() {
            devices.append((net.id ?? "_net\(index)", .net(netSettings(net, "$.net[\(index)]"))))
        }
        devices.append((config.rng.id ?? DeviceNames.rng, .entropy(source: config.rng.source)))
        if let vsock = config.vsock {
            devices.append((vsock.id ?? "_vsock0", .vsock(VsockSettings(cid: vsock.cid, socket: vsock.socket))))
        }
        return devices
    }

    func diskOptions(_ disk: DiskConfig, _ place: String) -> DiskOptions {
        var options = DiskOptions(path: disk.path, field: place)
        options.readOnly = disk.readonly
        options.direct = disk.direct
        options.declaredRaw = disk.imageType == .raw
        options.sparse = disk.sparse
        options.logicalBlockSize = disk.logicalBlockSize
        options.physicalBlockSize = disk.physicalBlockSize
        return options
    }

    func blockSettings(_ disk: DiskConfig, id: String) -> BlockSettings {
        var settings = BlockSettings()
        settings.queues = Int(disk.queueCount)
        settings.queueSize = disk.queueSize
        settings.serial = disk.serial ?? id
        return settings
    }

    func netSettings(_ net: NetConfig, _ place: String) -> NetSettings {
        var settings = NetSettings(field: place, mac: net.mac?.bytes ?? makeMAC())
        settings.tap = net.tap ?? ""
        settings.hostMAC = net.hostMAC?.bytes
        settings.mtu = net.mtu.map { Int($0) }
        settings.address = net.ip.map(Self.bytes)
        settings.mask = net.mask.map(Self.bytes)
        settings.pairs = Int(net.queueCount) / 2
        settings.queueSize = net.queueSize
        settings.offloadTSO = net.offloadTSO
        settings.offloadUFO = net.offloadUFO
        settings.offloadChecksum = net.offloadChecksum
        return settings
    }

    private static func bytes(_ address: IPv4Address) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: address.value >> UInt32(24 - 8 * $0)) }
    }

    private func mode(_ console: ConsoleConfig) -> CharMode? {
        Self.mode(console.mode, file: console.file, socket: console.socket)
    }

    private func debugConsole(_ config: DebugConsoleConfig) -> PlannedDebugConsole? {
        Self.mode(config.mode, file: config.file, socket: nil).map {
            PlannedDebugConsole(port: config.ioBase, mode: $0)
        }
    }

    private static func mode(_ mode: ConsoleMode, file: String?, socket: String?) -> CharMode? {
        switch mode {
        case .off: nil
        case .null: .null
        case .tty: .tty
        case .pty: .pty
        case .file: .file(file ?? "")
        case .socket: .socket(socket ?? "")
        }
    }

    private func payload(_ config: PayloadConfig?) -> PlannedPayload {
        guard let config, let path = config.kernel ?? config.firmware else { return .selfTest }
        return .kernel(
            path: path, field: config.kernel == nil ? "$.payload.firmware" : "$.payload.kernel",
            initramfs: config.initramfs, commandLine: config.cmdline ?? "")
    }
}
