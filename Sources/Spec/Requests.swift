/// The bodies of requests that are no sections of a configuration.

/// `vm.remove-device`
package struct RemoveDeviceRequest: Sendable, Equatable {
    /// The device's id.
    package let id: String

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<RemoveDeviceRequest> {
        try RequestReading.parse(bytes) { reader in
            let id = reader.requiredText("id", "the id of a device")
            reader.finish(["id"])
            return RemoveDeviceRequest(id: id)
        }
    }
}

/// `vm.resize-disk`
package struct ResizeDiskRequest: Sendable, Equatable {
    /// The disk's id.
    package let id: String
    /// Its new size in bytes.
    package let size: UInt64

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<ResizeDiskRequest> {
        try RequestReading.parse(bytes) { reader in
            let id = reader.requiredText("id", "the id of a disk")
            let size = reader.requiredInteger("desired_size", UInt64(512)...UInt64(Int64.max))
            reader.finish(["id", "desired_size"])
            return ResizeDiskRequest(id: id, size: size)
        }
    }
}

/// `vm.coredump`
package struct CoredumpRequest: Sendable, Equatable {
    /// The file to write.
    package let path: String

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<CoredumpRequest> {
        try RequestReading.parse(bytes) { reader in
            let path = reader.requiredFileURL("destination_url")
            reader.finish(["destination_url"])
            return CoredumpRequest(path: path)
        }
    }
}

/// What the readings of requests share.
enum RequestReading {
    static func parse<Request>(
        _ bytes: [UInt8], _ read: (SectionReader) -> Request
    ) throws(SpecError) -> Parsed<Request> {
        let report = Report(mode: .lenient)
        let request = SectionReader(try JSONValue.parse(bytes), SpecPath(), report).map(read)
        try report.check()
        guard let request else { throw SpecError(SpecIssue(.wrongType, "$", "expected an object")) }
        return Parsed(config: request, warnings: report.warnings)
    }
}

extension SectionReader {
    func requiredText(_ key: String, _ what: String) -> String {
        guard let text = string(key, what) else {
            if value(key) == nil { missing(key, what) }
            return ""
        }
        if text.isEmpty { report.issue(.invalid, path.key(key), "empty; give \(what)") }
        return text
    }

    /// The path of a URL like `file:///tmp/core`.
    func requiredFileURL(_ key: String, example: String = "file:///tmp/core") -> String {
        let text = requiredText(key, "a URL like \(example)")
        guard !text.isEmpty else { return "" }
        guard text.hasPrefix("file:///") else {
            report.issue(.invalid, path.key(key), "got \(quoted(text)), expected a URL like \(example)")
            return ""
        }
        let path = String(text.dropFirst("file://".count))
        Checks(self.path, report).filePath(key, path)
        return path
    }
}

/// How a disk's image is copied into a snapshot, or out of one.
package enum ImageCopying: String, CaseIterable, Sendable {
    /// The copy shares the image's blocks until either is written: at once, on a file system that can (btrfs, XFS).
    case reflink
    /// Its bytes, but for zeroes.
    case copy
}

/// `vm.snapshot`
package struct SnapshotRequest: Sendable, Equatable {
    /// How much of the memory a snapshot has.
    package enum Kind: String, CaseIterable, Sendable {
        /// All of it; what is written from then on is noted for a diff.
        case full = "Full"
        /// What was written since the last snapshot with a kind.
        case diff = "Diff"
    }

    /// The directory that the snapshot is to be.
    package let path: String
    /// How much of the memory it has; nil for all of it, with no diff to follow.
    package let kind: Kind?
    /// How the images of the disks come along; nil leaves them where they are.
    package let disks: ImageCopying?

    package init(path: String, kind: Kind? = nil, disks: ImageCopying? = nil) {
        (self.path, self.kind, self.disks) = (path, kind, disks)
    }

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<SnapshotRequest> {
        try RequestReading.parse(bytes) { reader in
            let path = reader.requiredFileURL("destination_url", example: "file:///tmp/snapshot")
            let kind: Kind? = reader.choice("type")
            let disks: ImageCopying? = reader.choice("disks")
            reader.finish(["destination_url", "type", "disks"])
            return SnapshotRequest(path: path, kind: kind, disks: disks)
        }
    }
}

/// How a VM is restored, in the words of the command line.
package struct RestoreOptions: Sendable, Equatable {
    /// What of the host changes: `disks.ID.path=/new`, `serial.file=/log`.
    package var overrides: [String] = []
    /// How the images of the disks get out of the snapshot; nil for not at all.
    package var disks: String?
    /// Whether memory is read when the guest touches it.
    package var isOnDemand = false

    package init() {}

    /// Whether nothing is asked for.
    package var isEmpty: Bool { self == RestoreOptions() }
}

/// `vm.restore`
package struct RestoreRequest: Sendable, Equatable {
    /// How the guest gets its memory.
    package enum MemoryMode: String, CaseIterable, Sendable {
        /// All of it is read, and checked, before the guest goes on.
        case copy = "Copy"
        /// A page is read when the guest first touches it.
        case onDemand = "OnDemand"
    }

    /// A network interface whose queues come as descriptors.
    package struct NetDescriptors: Sendable, Equatable {
        /// The interface's id.
        package var id: String
        /// How many of the request's descriptors are its own.
        package var count: Int

        package init(id: String, count: Int) { (self.id, self.count) = (id, count) }

        /// Those of a request (`net_fds`).
        static func list(_ reader: SectionReader) -> [NetDescriptors] {
            reader.sections("net_fds").map { card in
                let id = card.requiredText("id", "the id of a network interface")
                // The numbers that their sender has them by say nothing here but how many there are.
                let listed = card.items("fds").count
                let count = card.integer("num_fds", 1...Int(Limits.netQueues.upperBound / 2)) ?? listed
                card.finish(["id", "num_fds", "fds"])
                return NetDescriptors(id: id, count: count)
            }
        }
    }

    /// The snapshot's directory.
    package var path: String
    /// Whether the host gives the guest all its memory at once.
    package var prefault = false
    /// Whether the guest goes on at once; it stands still otherwise.
    package var resume = false
    /// How it gets its memory.
    package var memoryMode = MemoryMode.copy
    /// Whether, on demand, the pages that the last guest from the snapshot touched are read ahead, and this one's noted.
    package var prefetch = true
    /// The interfaces that get descriptors, in the order of the descriptors.
    package var net: [NetDescriptors] = []
    /// What of the host the VM gets in place of what it had; nil for nothing.
    package var overrides: RestoreOverrides?
    /// How the images that are in the snapshot are put to the paths of its disks, where nothing is yet; nil uses the
    /// images that are there.
    package var disks: ImageCopying?
    /// Whether the snapshot is gone when the VM is there, so that no diff can build upon it. No client says that.
    package var isPassing = false

    package init(path: String) { self.path = path }

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<RestoreRequest> {
        try RequestReading.parse(bytes) { RestoreRequest($0) }
    }

    /// Reads the option list of `--restore`.
    ///
    /// - Parameter overrides: the options that say what of the host changes.
    package static func parse(flag text: String, overrides: [String] = []) throws(SpecError) -> RestoreRequest {
        var object = try RequestFlags.restore.object(text, name: "--restore")
        if !overrides.isEmpty {
            object["overrides"] = .object(try RestoreOverrides.object(overrides, name: "--override"))
        }
        return try parse(options: object)
    }

    /// Makes a request of a directory and the options that say what of the host changes.
    package static func parse(
        directory: String, _ options: RestoreOptions
    ) throws(SpecError) -> RestoreRequest {
        var object = JSONObject()
        // Only a URL's path has to be absolute.
        object["source_url"] = .string("file:///")
        if !options.overrides.isEmpty {
            object["overrides"] = .object(try RestoreOverrides.object(options.overrides, name: "--override"))
        }
        object["disks"] = options.disks.map { .string($0) }
        if options.isOnDemand { object["memory_restore_mode"] = .string(MemoryMode.onDemand.rawValue) }
        var request = try parse(options: object)
        request.path = directory
        return request
    }

    private static func parse(options object: JSONObject) throws(SpecError) -> RestoreRequest {
        let report = Report(mode: .strict)
        guard let reader = SectionReader(.object(object), SpecPath(), report) else {
            throw SpecError(SpecIssue(.wrongType, "--restore", "expected an option list"))
        }
        let request = RestoreRequest(reader)
        if !request.net.isEmpty {
            report.issue(
                .invalid, SpecPath().key("net_fds"),
                "descriptors come with the API's vm.restore; name taps in the snapshot's config.json otherwise")
        }
        do throws(SpecError) { try report.check() } catch {
            let issues = error.issues.map { SpecIssue($0.kind, "--restore " + $0.path.dropFirst(2), $0.message) }
            throw SpecError(issues) ?? error
        }
        return request
    }

    private init(_ reader: SectionReader) {
        path = reader.requiredFileURL("source_url", example: "file:///tmp/snapshot")
        prefault = reader.bool("prefault", default: false)
        resume = reader.bool("resume", default: false)
        memoryMode = reader.choice("memory_restore_mode", default: .copy)
        prefetch = reader.bool("prefetch", default: true)
        net = NetDescriptors.list(reader)
        overrides = reader.section("overrides").map { RestoreOverrides($0) }
        disks = reader.choice("disks")
        if prefault, memoryMode == .onDemand {
            reader.report.issue(
                .invalid, reader.path.key("prefault"),
                "all memory at once contradicts memory_restore_mode OnDemand; leave one of them out")
        }
        reader.finish([
            "source_url", "prefault", "resume", "memory_restore_mode", "prefetch", "net_fds", "overrides", "disks",
        ])
    }
}
