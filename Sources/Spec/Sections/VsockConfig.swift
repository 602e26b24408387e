/// `vsock`: sockets between programs of the guest and programs of the host, which meet them at Unix sockets.
package struct VsockConfig: Sendable, Equatable {
    /// The guest's context id.
    package var cid: UInt32
    /// The Unix socket at which programs of the host connect to the guest. A guest's connection to a port of the host
    /// goes to this path with `_PORT` appended.
    package var socket: String
    /// The name of the device in the API; nil until one is assigned.
    package var id: String?

    package init(cid: UInt32, socket: String) { (self.cid, self.socket) = (cid, socket) }
}

extension VsockConfig {
    init(_ reader: SectionReader) {
        let cid = reader.requiredInteger("cid", Limits.guestCID)
        let socket = reader.string("socket", "a path")
        if reader.value("socket") == nil { reader.missing("socket", "the path of a Unix socket") }
        self.init(cid: cid, socket: socket ?? "/")
        id = reader.string("id")
        reader.finish(["cid", "socket", "id"], unsupported: Harmless.pciPlacement)
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("id", id.map { .string($0) }), ("pci_segment", .integer(0)), ("cid", .integer(cid)),
            ("socket", .string(socket)), ("iommu", .bool(false)),
        ])
    }

    func validate(_ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.range("cid", cid, Limits.guestCID)
        checks.filePath("socket", socket, limit: Limits.socketPathLength)
        checks.id(id)
    }

    /// Reads and validates the section in JSON, as `vm.add-vsock` takes it.
    /// - Throws: `SpecError` with everything that is wrong.
    package static func parse(
        _ bytes: [UInt8], mode: ReadingMode = .lenient
    ) throws(SpecError) -> Parsed<VsockConfig> {
        let report = Report(mode: mode)
        let value = try JSONValue.parse(bytes)
        let vsock = SectionReader(value, SpecPath(), report).map { VsockConfig($0) }
        try report.check()
        vsock?.validate(SpecPath(), report)
        try report.check()
        return Parsed(
            config: vsock ?? VsockConfig(cid: Limits.guestCID.lowerBound, socket: "/"), warnings: report.warnings)
    }
}
