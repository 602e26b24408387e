/// What of a disk is another where a VM moves to.
package struct MovedDisk: Sendable, Equatable {
    /// The disk's.
    package var id: String
    /// Where its image is there; nil for the same path.
    package var path: String?
    /// What the guest was told of the sizes of its blocks, in bytes; nil for what the configuration says.
    package var logicalBlockSize: UInt32?, physicalBlockSize: UInt32?

    package init(id: String, path: String? = nil) { (self.id, self.path) = (id, path) }
}

extension VMConfig {
    /// Reads the configuration of a VM that comes from elsewhere.
    ///
    /// - Parameter moved: what changes of its disks.
    /// - Throws: `SpecError` where it cannot be so, or has no such disk.
    package static func parse(_ bytes: [UInt8], moved: [MovedDisk]) throws(SpecError) -> ParsedConfig {
        let report = Report(mode: .lenient)
        let value = try JSONValue.parse(bytes)
        guard case .object(var config) = value, !moved.isEmpty else { return try read(value, report) }
        var disks: [JSONValue] = []
        if case .array(let known)? = config["disks"] { disks = known }
        for change in moved {
            let found = disks.firstIndex { disk in
                if case .object(let object) = disk { object["id"] == .string(change.id) } else { false }
            }
            guard let found, case .object(var disk) = disks[found] else {
                throw SpecError(
                    SpecIssue(.invalid, "$.disks", "\(quoted(change.id)) is no disk of the VM that comes"))
            }
            if let path = change.path { disk["path"] = .string(path) }
            if let size = change.logicalBlockSize { disk["logical_block_size"] = .integer(size) }
            if let size = change.physicalBlockSize { disk["physical_block_size"] = .integer(size) }
            disks[found] = .object(disk)
        }
        config["disks"] = .array(disks)
        return try read(.object(config), report)
    }
}
