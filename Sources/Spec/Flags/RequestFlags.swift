/// What the API's requests carry, as option lists: `path=a.raw,readonly=on` in place of `{"path":"a.raw","readonly":true}`.
package enum RequestFlags: Sendable, CaseIterable {
    case disk, net, vsock, fs, pmem, device, userDevice, vdpa
    case restore, sendMigration, receiveMigration

    /// The JSON object that says the same as an option list. What the fields have to be is left to who gets them.
    ///
    /// - Parameter name: what the list stands behind on the command line, for errors.
    /// - Throws: `SpecError` with everything that is wrong with the list.
    package func object(_ text: String, name: String) throws(SpecError) -> JSONObject {
        let syntax = self.syntax
        let report = Report(mode: .strict, style: .flags)
        var reader = FlagReader(syntax, SpecPath().key(syntax.section), report)
        let object = reader.read(text)
        // An issue's path is the flag, and the key where it is about one.
        let issues = report.issues.map { issue in
            let key = issue.path.firstIndex(of: ":").map { String(issue.path[$0...]) } ?? ""
            return SpecIssue(issue.kind, name + key, issue.message)
        }
        if let error = SpecError(issues) { throw error }
        return object
    }

    private var syntax: FlagSyntax {
        switch self {
        case .disk: .disk
        case .net: .net
        case .vsock: .vsock
        case .fs: Self.fsSyntax
        case .pmem: Self.pmemSyntax
        case .device: Self.deviceSyntax
        case .userDevice: Self.userDeviceSyntax
        case .vdpa: Self.vdpaSyntax
        case .restore: Self.restoreSyntax
        case .sendMigration: Self.sendSyntax
        case .receiveMigration: Self.receiveSyntax
        }
    }

    private typealias Key = FlagSyntax.Key

    private static let place = [Key("id", .text), Key("pci_segment", .integer), Key("pci_device_id", .integer)]

    private static let fsSyntax = FlagSyntax(
        flag: "--fs", section: "fs",
        keys: [Key("tag", .text), Key("socket", .text), Key("num_queues", .integer), Key("queue_size", .integer)]
            + place)

    private static let pmemSyntax = FlagSyntax(
        flag: "--pmem", section: "pmem",
        keys: [Key("file", .text), Key("size", .size), Key("iommu", .toggle), Key("discard_writes", .toggle)] + place)

    private static let deviceSyntax = FlagSyntax(
        flag: "--device", section: "devices",
        keys: [
            Key("path", .text), Key("fd", .integer), Key("iommu", .toggle),
            Key("x_nv_gpudirect_clique", .integer),
        ] + place)

    private static let userDeviceSyntax = FlagSyntax(
        flag: "--user-device", section: "user_devices", keys: [Key("socket", .text)] + place)

    private static let vdpaSyntax = FlagSyntax(
        flag: "--vdpa", section: "vdpa",
        keys: [Key("path", .text), Key("num_queues", .integer), Key("iommu", .toggle)] + place)

    private static let restoreSyntax = FlagSyntax(
        flag: "--restore", section: "restore",
        keys: [
            Key("source_url", .text), Key("prefault", .toggle), Key("resume", .toggle),
            Key("memory_restore_mode", .words(["copy": "Copy", "ondemand": "OnDemand"])), Key("prefetch", .toggle),
            Key("net_fds", .namedIntegers("id", "fds")),
            Key("disks", .words(["reflink": "reflink", "copy": "copy"])),
        ])

    private static let memoryMode = Key("memory_mode", .words(["precopy": "Precopy", "postcopy": "Postcopy"]))

    private static let sendSyntax = FlagSyntax(
        flag: "send-migration", section: "send-migration",
        keys: [
            Key("destination_url", .text), Key("local", .toggle), Key("downtime_ms", .integer),
            Key("timeout_s", .integer), Key("timeout_strategy", .words(["cancel": "Cancel", "ignore": "Ignore"])),
            Key("connections", .integer), Key("tls_dir", .text), memoryMode, Key("reconnect_s", .integer),
            Key("auto_converge", .toggle), Key("bandwidth", .size),
            Key("disks", .words(["shared": "shared", "mirror": "mirror"])),
            Key("compression", .words(["none": "None", "zstd": "Zstd"])),
        ])

    private static let receiveSyntax = FlagSyntax(
        flag: "receive-migration", section: "receive-migration",
        keys: [Key("receiver_url", .text), Key("tls_dir", .text), memoryMode])
}

/// Sizes as people write them.
package enum ByteSize {
    /// Bytes from a number with an optional K, M or G; nil where the text is none.
    package static func parse(_ text: String) -> UInt64? { OptionList.size(text) }

    /// Bytes as people read them: `512 MiB`, `1.5 GiB`.
    package static func text(_ bytes: UInt64) -> String {
        let units: [(UInt64, String)] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        for (size, name) in units where bytes >= size {
            let (whole, rest) = bytes.quotientAndRemainder(dividingBy: size)
            // Tenths of the unit, rounded down: never more than there is.
            let tenth = rest / (size / 10)
            return min(tenth, 9) == 0 ? "\(whole) \(name)" : "\(whole).\(min(tenth, 9)) \(name)"
        }
        return "\(bytes) B"
    }
}
