/// The bodies of requests about moving a VM.

/// `vm.send-migration` and `vm.migration.check`
package struct SendMigrationRequest: Sendable, Equatable {
    /// What becomes of a migration whose time is up.
    package enum TimeoutStrategy: String, CaseIterable, Sendable {
        /// It is called off.
        case cancel = "Cancel"
        /// The guest is stopped and moved, however long that takes.
        case ignore = "Ignore"
    }

    /// When memory goes over.
    enum MemoryMode: String, CaseIterable { case precopy = "Precopy", postcopy = "Postcopy" }
    /// What pages are compressed by on their way.
    package enum Compression: String, CaseIterable, Sendable { case none = "None", zstd = "Zstd" }
    /// How disks go over.
    package enum Disks: String, CaseIterable, Sendable { case shared, mirror }

    /// Where the destination listens.
    package var destination: String
    /// Whether the memory is handed over as a descriptor.
    package var isLocal = false
    /// ms that the guest may stand still.
    package var downtime: UInt64 = 300
    /// Seconds until `timeoutStrategy` decides.
    package var timeout: UInt64 = 3600
    package var timeoutStrategy = TimeoutStrategy.cancel
    /// Streams that share the memory.
    package var connections = 1
    /// Whether vCPUs may be held back.
    package var autoConverge = true
    /// The most bytes a second; nil for what the line takes.
    package var bandwidth: UInt64?
    /// What pages are compressed by.
    package var compression = Compression.none
    /// Whether the memory follows the guest.
    package var isPostcopy = false
    /// Seconds in which a postcopy migration's lost connection has to be there again.
    package var reconnect: UInt64 = 60
    /// The directory of the certificates and the key that the streams are encrypted with; nil for plain ones.
    package var tlsDirectory: String?

    /// Whether the destination has the disks already, or their images come along.
    package var disks = Disks.shared

    package init(destination: String) { self.destination = destination }

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<SendMigrationRequest> {
        try RequestReading.parse(bytes) { SendMigrationRequest($0) }
    }

    private init(_ reader: SectionReader) {
        destination = reader.requiredText("destination_url", "unix:/PATH or tcp:HOST:PORT")
        isLocal = reader.bool("local", default: false)
        downtime = reader.integer("downtime_ms", 1...UInt64(3_600_000)) ?? 300
        timeout = reader.integer("timeout_s", 1...UInt64(31_536_000)) ?? 3600
        timeoutStrategy = reader.choice("timeout_strategy", default: .cancel)
        connections = reader.integer("connections", 1...128) ?? 1
        autoConverge = reader.bool("auto_converge", default: true)
        bandwidth = reader.integer("bandwidth", (1 << 20)...UInt64(1 << 50))
        tlsDirectory = reader.tlsDirectory(for: destination)
        let mode: MemoryMode? = reader.choice("memory_mode")
        isPostcopy = mode == .postcopy
        let seconds: UInt64? = reader.integer("reconnect_s", 1...UInt64(86_400))
        reconnect = seconds ?? 60
        disks = reader.choice("disks", default: .shared)
        if disks == .mirror, reader.string("memory_mode") == MemoryMode.postcopy.rawValue {
            reader.refuse("disks", "mirror copies the disks before the guest moves; use memory_mode Precopy")
        }
        if isLocal, disks == .mirror {
            reader.refuse("disks", "mirror copies the images, and local copies nothing; leave one of them out")
        }
        compression = reader.choice("compression", default: .none)
        if isLocal, compression != .none {
            reader.refuse("compression", "local copies nothing that could be compressed; leave one of them out")
        }
        if isPostcopy, isLocal {
            reader.refuse("memory_mode", "local hands the memory over as a whole; leave one of them out")
        }
        if isPostcopy, connections > 1 {
            reader.refuse("connections", "Postcopy takes one connection; leave one of them out")
        }
        if !isPostcopy, seconds != nil {
            reader.refuse(
                "reconnect_s", "says how long memory_mode Postcopy may be without its connection; leave it out")
        }
        if isLocal, connections > 1 {
            reader.refuse("connections", "local hands the memory over as a whole; leave one of them out")
        }
        reader.finish([
            "destination_url", "local", "downtime_ms", "timeout_s", "timeout_strategy", "connections", "tls_dir",
            "memory_mode", "reconnect_s", "auto_converge", "bandwidth", "disks", "compression",
        ])
    }
}

/// `vm.receive-migration`
package struct ReceiveMigrationRequest: Sendable, Equatable {
    /// Where to listen.
    package var receiver: String
    /// The interfaces that get descriptors, in the order of the descriptors.
    package var net: [RestoreRequest.NetDescriptors] = []
    /// The disks whose images are at other paths here, or are to be made there.
    package var disks: [MovedDisk] = []
    /// The directory of the certificates and the key that the streams are encrypted with; nil for plain ones.
    package var tlsDirectory: String?

    package init(receiver: String) { self.receiver = receiver }

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<ReceiveMigrationRequest> {
        try RequestReading.parse(bytes) { reader in
            var request = ReceiveMigrationRequest(
                receiver: reader.requiredText("receiver_url", "unix:/PATH or tcp:HOST:PORT"))
            request.net = RestoreRequest.NetDescriptors.list(reader)
            request.tlsDirectory = reader.tlsDirectory(for: request.receiver)
            // As the source says; clients of Cloud Hypervisor say it at both ends.
            let _: SendMigrationRequest.MemoryMode? = reader.choice("memory_mode")
            for disk in reader.sections("disks") {
                let id = disk.requiredText("id", "the id of a disk")
                if !id.isEmpty, request.disks.contains(where: { $0.id == id }) {
                    disk.report.issue(.invalid, disk.path.key("id"), "\(quoted(id)) is named twice; name it once")
                }
                request.disks.append(
                    MovedDisk(id: id, path: disk.requiredText("path", "where the disk's image is here")))
                disk.finish(["id", "path"], isExact: true)
            }
            reader.finish(["receiver_url", "net_fds", "disks", "tls_dir", "memory_mode"])
            return request
        }
    }
}

/// `vm.migration.resolve`: a person's word on a machine of which nobody knows where it is.
package struct ResolveMigrationRequest: Sendable, Equatable {
    /// What is to become of it here.
    package enum Action: String, CaseIterable, Sendable {
        /// It goes on here: the destination does not have it.
        case runHere = "run-here"
        /// It is dropped here: the destination has it.
        case discard
        /// The destination of a postcopy migration is sought again.
        case reconnect
    }

    /// The migration's token, as `vm.migration` tells it.
    package let token: String
    package let action: Action

    package init(token: String, action: Action) { (self.token, self.action) = (token, action) }

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<ResolveMigrationRequest> {
        try RequestReading.parse(bytes) { reader in
            let token = reader.requiredText("token", "the migration's token, which GET vm.migration tells")
            let action: Action? = reader.choice("action")
            if action == nil, reader.value("action") == nil {
                reader.missing("action", "run-here, discard or reconnect")
            }
            reader.finish(["token", "action"])
            return ResolveMigrationRequest(token: token, action: action ?? .runHere)
        }
    }
}

extension SectionReader {
    fileprivate func refuse(_ key: String, _ words: String) { report.issue(.unsupported, path.key(key), words) }

    /// `tls_dir`, which is for TCP alone.
    fileprivate func tlsDirectory(for url: String) -> String? {
        guard let directory = string("tls_dir", "the path of a directory with certificates and a key") else {
            return nil
        }
        var problem: String?
        if url.hasPrefix("unix:") {
            problem = "TLS is for tcp:HOST:PORT; a Unix socket does not leave the host: leave it out"
        } else if directory.isEmpty || directory.utf8.contains(0) {
            problem = "is no path; give a directory with certificates and a key"
        }
        if let problem { report.issue(.invalid, path.key("tls_dir"), problem) }
        return directory
    }
}
