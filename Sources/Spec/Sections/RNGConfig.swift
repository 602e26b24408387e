/// `rng`: the guest's source of random numbers, which every VM has.
package struct RNGConfig: Sendable, Equatable {
    /// The host's file that the bytes come from.
    package var source = "/dev/urandom"
    /// The name of the device in the API; nil until one is assigned.
    package var id: String?

    /// The host's own generator.
    package init() {}
}

extension RNGConfig {
    init(_ reader: SectionReader) {
        self.init()
        source = reader.string("src", "a path") ?? source
        id = reader.string("id")
        reader.finish(["src", "id"], unsupported: Harmless.pciPlacement)
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([("id", id.map { .string($0) }), ("pci_segment", .integer(0)), ("src", .string(source))])
    }

    func validate(_ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.filePath("src", source)
        checks.id(id, fixed: DeviceNames.rng)
    }
}
