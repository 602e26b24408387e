import ArgumentParser

/// Flags of `cloud-hypervisor` that this version refuses by name, those of its optional parts among them.
struct UnsupportedFlags: ParsableArguments {
    @Option(help: .hidden) var balloon: String?
    @Option(parsing: .upToNextOption, help: .hidden) var fs: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var genericVhostUser: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var pmem: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var device: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var userDevice: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var vdpa: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var numa: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var memoryZone: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var pciSegment: [String] = []
    @Option(parsing: .upToNextOption, help: .hidden) var rateLimitGroup: [String] = []
    @Option(help: .hidden) var platform: String?
    @Option(help: .hidden) var tpm: String?
    @Option(help: .hidden) var ivshmem: String?
    @Flag(help: .hidden) var pvmemcontrol = false
    @Flag(help: .hidden) var watchdog = false
    @Flag(help: .hidden) var pvpanic = false
    @OptionGroup(visibility: .hidden) var payload: UnsupportedPayloadFlags
    @OptionGroup(visibility: .hidden) var process: UnsupportedProcessFlags

    /// Throws for the first of them that is given.
    func refuse() throws(UsageError) {
        let given: [(String, Bool)] = [
            ("balloon", balloon != nil), ("fs", !fs.isEmpty),
            ("generic-vhost-user", !genericVhostUser.isEmpty), ("pmem", !pmem.isEmpty), ("device", !device.isEmpty),
            ("user-device", !userDevice.isEmpty), ("vdpa", !vdpa.isEmpty), ("numa", !numa.isEmpty),
            ("memory-zone", !memoryZone.isEmpty), ("pci-segment", !pciSegment.isEmpty),
            ("rate-limit-group", !rateLimitGroup.isEmpty), ("platform", platform != nil), ("tpm", tpm != nil),
            ("ivshmem", ivshmem != nil), ("pvmemcontrol", pvmemcontrol), ("watchdog", watchdog), ("pvpanic", pvpanic),
        ]
        for (name, isGiven) in given + payload.given + process.given where isGiven {
            throw UsageError("--\(name): is not supported by this version of swiftlet; leave it out")
        }
    }
}

/// Those of them that say what boots and how the guest is told of it.
struct UnsupportedPayloadFlags: ParsableArguments {
    @Option(help: .hidden) var igvm: String?
    @Option(help: .hidden) var hostData: String?
    @Option(help: .hidden) var fwCfgConfig: String?
    /// It may stand alone.
    @Option(defaultAsFlag: "", help: .hidden) var rtc: String?

    /// Their names, and whether they are given.
    var given: [(String, Bool)] {
        [
            ("igvm", igvm != nil), ("host-data", hostData != nil), ("fw-cfg-config", fwCfgConfig != nil),
            ("rtc", rtc != nil),
        ]
    }
}

/// Those of them that are about the process, not about the VM.
struct UnsupportedProcessFlags: ParsableArguments {
    @Option(help: .hidden) var gdb: String?
    @Option(help: .hidden) var logFormat: String?
    @Option(help: .hidden) var dbusServiceName: String?
    @Option(help: .hidden) var dbusObjectPath: String?
    @Flag(help: .hidden) var dbusSystemBus = false
    @Flag(help: .hidden) var landlock = false
    @Option(parsing: .upToNextOption, help: .hidden) var landlockRules: [String] = []

    /// Their names, and whether they are given.
    var given: [(String, Bool)] {
        [
            ("gdb", gdb != nil), ("log-format", logFormat != nil), ("dbus-service-name", dbusServiceName != nil),
            ("dbus-object-path", dbusObjectPath != nil), ("dbus-system-bus", dbusSystemBus), ("landlock", landlock),
            ("landlock-rules", !landlockRules.isEmpty),
        ]
    }
}
