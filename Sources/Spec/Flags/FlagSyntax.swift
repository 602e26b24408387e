/// The keys of one option-list flag, and the fields of the JSON format that they set.
struct FlagSyntax: Sendable {
    /// How a key's text becomes a value.
    enum Kind: Sendable {
        case text
        case integer
        case toggle
        /// Bytes with an optional K, M or G.
        case size
        /// `threads:cores:dies:packages`
        case topology
        /// `[vcpu@[host CPUs], …]`; the names of the two fields.
        case tuples(String, String)
        /// `[name@[numbers], …]`; the names of the two fields.
        case namedIntegers(String, String)
        case integers
        case texts
        /// Lower-case words for the format's names.
        case words([String: String])
        /// A port in hexadecimal with 0x.
        case port
        /// No value: the key alone chooses a console's mode.
        case mode(String)
        /// A value that also chooses a console's mode.
        case modePath(String)
        /// A number that asks for something this version does not implement, unless it is 0.
        case zero
    }

    struct Key: Sendable {
        let name: String
        let field: String
        let kind: Kind
        /// Whether this version does something with it; what it only knows in order to refuse it is not offered.
        var isOffered = true

        /// The same key, known in order to be refused.
        var refused: Key {
            var key = self
            key.isOffered = false
            return key
        }

        init(_ name: String, _ kind: Kind, field: String? = nil) {
            self.name = name
            self.field = field ?? name
            self.kind = kind
        }
    }

    let flag: String
    let section: String
    let keys: [Key]

    static let all = [cpus, memory, disk, net, rng, console, serial, debugConsole, vsock]

    static let cpus = FlagSyntax(
        flag: "--cpus", section: "cpus",
        keys: [
            Key("boot", .integer, field: "boot_vcpus"), Key("max", .integer, field: "max_vcpus"),
            Key("topology", .topology), Key("kvm_hyperv", .toggle).refused, Key("max_phys_bits", .integer),
            Key("affinity", .tuples("vcpu", "host_cpus")), Key("features", .texts).refused,
            Key("nested", .toggle).refused,
            Key("core_scheduling", .words(["vm": "Vm", "vcpu": "Vcpu", "off": "Off"])).refused,
            Key("profile", .words(["host": "Host"])).refused,
        ])

    static let memory = FlagSyntax(
        flag: "--memory", section: "memory",
        keys: [
            Key("size", .size), Key("file", .text).refused, Key("mergeable", .toggle),
            Key("hotplug_method", .words(["acpi": "Acpi", "virtio-mem": "VirtioMem"])).refused,
            Key("hotplug_size", .size).refused,
            Key("hotplugged_size", .size).refused, Key("shared", .toggle), Key("hugepages", .toggle),
            Key("hugepage_size", .size), Key("prefault", .toggle), Key("reserve", .toggle).refused, Key("thp", .toggle),
            Key("dirty_log", .words(["bitmap": "Bitmap", "ring": "Ring"])),
        ])

    static let disk = FlagSyntax(
        flag: "--disk", section: "disks",
        keys: [
            Key("path", .text), Key("readonly", .toggle), Key("direct", .toggle), Key("queue_size", .integer),
            Key("num_queues", .integer), Key("vhost_user", .toggle).refused,
            Key("socket", .text, field: "vhost_socket").refused,
            Key("_disable_io_uring", .toggle, field: "disable_io_uring"),
            Key("_disable_aio", .toggle, field: "disable_aio"), Key("serial", .text),
            Key("rate_limit_group", .text).refused,
            Key("queue_affinity", .tuples("queue_index", "host_cpus")).refused, Key("backing_files", .toggle).refused,
            Key("sparse", .toggle),
            Key(
                "image_type",
                .words([
                    "raw": "Raw", "qcow2": "Qcow2", "vhd": "FixedVhd", "vhdx": "Vhdx", "vmdk": "FlatVmdk",
                ])),
            Key("lock_granularity", .words(["byte-range": "ByteRange", "full": "Full"])),
            Key("logical_block_size", .size), Key("physical_block_size", .size),
        ] + limits + placement)

    static let net = FlagSyntax(
        flag: "--net", section: "net",
        keys: [
            Key("tap", .text), Key("ip", .text), Key("mask", .text), Key("mac", .text), Key("host_mac", .text),
            Key("offload_tso", .toggle), Key("offload_ufo", .toggle), Key("offload_csum", .toggle),
            Key("mtu", .integer), Key("queue_size", .integer), Key("num_queues", .integer),
            Key("vhost_user", .toggle).refused, Key("socket", .text, field: "vhost_socket").refused,
            Key("vhost_mode", .words(["client": "Client", "server": "Server"])).refused,
            Key("fd", .integers, field: "fds").refused,
        ] + limits + placement)

    static let rng = FlagSyntax(flag: "--rng", section: "rng", keys: [Key("src", .text)] + placement)

    static let console = FlagSyntax(
        flag: "--console", section: "console",
        keys: modes + [Key("socket", .modePath("Socket"))] + placement)

    static let serial = FlagSyntax(
        flag: "--serial", section: "serial", keys: modes + [Key("socket", .modePath("Socket"))])

    static let debugConsole = FlagSyntax(
        flag: "--debug-console", section: "debug_console", keys: modes + [Key("iobase", .port)])

    static let vsock = FlagSyntax(
        flag: "--vsock", section: "vsock", keys: [Key("cid", .integer), Key("socket", .text)] + placement)

    private static let modes = [
        Key("off", .mode("Off")), Key("pty", .mode("Pty")), Key("tty", .mode("Tty")), Key("null", .mode("Null")),
        Key("file", .modePath("File")),
    ]

    private static let placement = [
        Key("id", .text), Key("iommu", .toggle).refused, Key("pci_segment", .integer).refused,
        Key("pci_device_id", .integer).refused,
    ]

    private static let limits = [
        "bw_size", "bw_one_time_burst", "bw_refill_time", "ops_size", "ops_one_time_burst", "ops_refill_time",
    ].map { Key($0, .zero).refused }
}
