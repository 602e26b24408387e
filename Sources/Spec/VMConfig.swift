/// A VM's configuration: Cloud Hypervisor's `VmConfig`, as far as this version implements it.
package struct VMConfig: Sendable, Equatable {
    /// The virtual processors.
    package var cpus = CPUsConfig()
    /// The RAM.
    package var memory = MemoryConfig()
    /// What boots; nil runs the built-in self-test.
    package var payload: PayloadConfig?
    /// The disks, in the order in which the guest sees them.
    package var disks: [DiskConfig] = []
    /// The network interfaces, in the order in which the guest sees them.
    package var net: [NetConfig] = []
    /// The source of random numbers.
    package var rng = RNGConfig()
    /// The 16550 serial port.
    package var serial = ConsoleConfig(mode: .null)
    /// The virtio console.
    package var console = ConsoleConfig(mode: .tty)
    /// The debug port.
    package var debugConsole = DebugConsoleConfig()
    /// The sockets between guest and host; nil without the device.
    package var vsock: VsockConfig?

    /// One vCPU, 512 MiB, no payload, the console on the terminal.
    package init() {}

    /// Reads and validates a configuration in JSON.
    /// - Throws: `SpecError` with everything that is wrong; a syntax error alone.
    package static func parse(_ bytes: [UInt8], mode: ReadingMode = .strict) throws(SpecError) -> ParsedConfig {
        let report = Report(mode: mode)
        return try read(try JSONValue.parse(bytes), report)
    }

    /// Reads a configuration that was made from JSON or from flags, then validates it.
    static func read(_ value: JSONValue, _ report: Report) throws(SpecError) -> ParsedConfig {
        let reader = SectionReader(value, SpecPath(), report)
        let config = reader.map(VMConfig.init) ?? VMConfig()
        // Rules between fields make no sense while a default stands in for a field that was not understood.
        try report.check()
        config.validate(report)
        try report.check()
        return ParsedConfig(config: config, warnings: report.warnings)
    }

    /// Fills in the ids that the user did not give: `__rng` and `__console`, and `_disk0`, `_net1`, … from the counter
    /// that all devices share.
    package mutating func assignIDs(_ names: inout DeviceNames) {
        names.reserve(ids)
        for index in disks.indices where disks[index].id == nil { disks[index].id = names.next("_disk") }
        for index in net.indices where net[index].id == nil { net[index].id = names.next("_net") }
        if let vsock, vsock.id == nil { self.vsock?.id = names.next("_vsock") }
        rng.id = rng.id ?? DeviceNames.rng
        if console.mode != .off { console.id = console.id ?? DeviceNames.console }
        names.reserve(ids)
    }

    /// The ids that are set.
    package var ids: [String] { named(below: SpecPath()).map(\.id) }

    /// Where the device of an id stands, as a JSON path; nil where no device has it.
    package func place(ofID id: String) -> String? {
        named(below: SpecPath()).first { $0.id == id }?.path.text(.json)
    }

    /// The devices that have an id.
    func named(below root: SpecPath) -> [(path: SpecPath, id: String)] {
        let disks = disks.enumerated().map { (root.key("disks").index($0.offset), $0.element.id) }
        let net = net.enumerated().map { (root.key("net").index($0.offset), $0.element.id) }
        let single = [(root.key("rng"), rng.id), (root.key("console"), console.id), (root.key("vsock"), vsock?.id)]
        return (disks + net + single).compactMap { path, id in id.map { (path, $0) } }
    }
}

/// Gives out names for devices that came without an id.
package struct DeviceNames: Sendable, Equatable {
    /// The random number generator's id.
    package static let rng = "__rng"
    /// The virtio console's id.
    package static let console = "__console"
    /// The serial port's id.
    package static let serial = "__serial"

    private var counter: UInt64 = 0
    private var taken: Set<String> = []

    /// A counter at zero.
    package init() {}

    /// Keeps names from being given out.
    package mutating func reserve(_ names: [String]) { taken.formUnion(names) }

    /// The next free name with a prefix: `_disk0`, `_net1`, ….
    package mutating func next(_ prefix: String) -> String {
        while true {
            let name = "\(prefix)\(counter)"
            counter &+= 1
            if taken.insert(name).inserted { return name }
        }
    }
}

extension VMConfig {
    init(_ reader: SectionReader) {
        self.init()
        cpus = reader.section("cpus").map(CPUsConfig.init) ?? cpus
        memory = reader.section("memory").map(MemoryConfig.init) ?? memory
        payload = reader.section("payload").map(PayloadConfig.init)
        // Clients that build their requests from templates send an empty payload for none.
        if payload == PayloadConfig() { payload = nil }
        disks = reader.sections("disks").map(DiskConfig.init)
        net = reader.sections("net").map(NetConfig.init)
        rng = reader.section("rng").map(RNGConfig.init) ?? rng
        serial = reader.section("serial").map { ConsoleConfig($0, onPCI: false) } ?? serial
        console = reader.section("console").map { ConsoleConfig($0, onPCI: true) } ?? console
        debugConsole = reader.section("debug_console").map(DebugConsoleConfig.init) ?? debugConsole
        vsock = reader.section("vsock").map { VsockConfig($0) }
        // The terminal has one user. One that is named comes before the console's default; the console stays in the
        // machine without output, as the guest finds it there under Cloud Hypervisor.
        if reader.value("console") == nil, serial.mode == .tty || debugConsole.mode == .tty { console.mode = .null }
        reader.finish(
            ["cpus", "memory", "payload", "disks", "net", "rng", "serial", "console", "debug_console", "vsock"],
            unsupported: Self.unsupported)
    }

    /// The sections of Cloud Hypervisor's format that this version does not implement.
    private static let unsupported: [String: Harmless] = [
        "rate_limit_groups": .nothing, "balloon": .nothing, "generic_vhost_user": .nothing, "fs": .nothing,
        "pmem": .nothing, "devices": .nothing, "user_devices": .nothing, "vdpa": .nothing,
        "pvmemcontrol": .nothing, "pvpanic": .nothing, "iommu": .nothing, "numa": .nothing, "watchdog": .nothing,
        "rtc": .nothing, "gdb": .nothing, "tpm": .nothing, "landlock_enable": .nothing, "landlock_rules": .nothing,
        "ivshmem": .nothing,
        "pci_segments": .nothing,
        "platform": .members([
            "num_pci_segments": .number(1), "iommu_segments": .nothing, "iommu_address_width_bits": .number(64),
            "system_serial_number": .nothing, "serial_number": .nothing, "system_uuid": .nothing, "uuid": .nothing,
            "oem_strings": .nothing, "system_manufacturer": .nothing, "system_product_name": .nothing,
            "system_version": .nothing, "system_family": .nothing, "system_sku_number": .nothing,
            "chassis_asset_tag": .nothing, "tdx": .nothing, "sev_snp": .nothing, "iommufd": .nothing,
            "iommufd_fd": .nothing, "vfio_p2p_dma": .value(.bool(true)),
        ]),
    ]

    /// The configuration as Cloud Hypervisor's format has it, as `vm.info` shows it: unset options are left out,
    /// but for the payload, which clients expect.
    package var json: JSONValue {
        .members([
            ("cpus", cpus.json), ("memory", memory.json), ("payload", payload?.json ?? .object(JSONObject())),
            ("disks", disks.isEmpty ? nil : .array(disks.map(\.json))),
            ("net", net.isEmpty ? nil : .array(net.map(\.json))), ("rng", rng.json), ("serial", serial.serialJSON),
            ("console", console.json), ("debug_console", debugConsole.json), ("vsock", vsock?.json),
            ("pvpanic", .bool(false)),
            ("iommu", .bool(false)), ("watchdog", .bool(false)), ("landlock_enable", .bool(false)),
        ])
    }
}
