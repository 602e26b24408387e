/// `vm.fork`, an extension of the API.
package struct ForkRequest: Sendable, Equatable {
    /// A VM that is to be made of the running one, in a process of its own.
    package struct Child: Sendable, Equatable {
        /// Where it serves the API.
        package var socket: String
        /// Where its log goes; nil for this process's standard error.
        package var logFile: String?
        /// What of the host it gets in place of what the running VM has.
        package var overrides: RestoreOverrides?
        /// How its disks are made of the running VM's; nil uses the images at its disks' paths.
        package var disks: ImageCopying?
    }

    /// The VMs that are to be made.
    package var children: [Child] = []
    /// The directory that the memory which they share is in while they start; nil for one in memory.
    package var directory: String?
    /// Whether the VM itself goes on; it stands still otherwise.
    package var resume = false

    /// The most children of one call.
    package static let limit = 1000

    /// Reads a request in JSON.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> Parsed<ForkRequest> {
        try RequestReading.parse(bytes) { reader in
            var request = ForkRequest()
            request.resume = reader.bool("resume", default: false)
            if reader.value("directory_url") != nil {
                request.directory = reader.requiredFileURL("directory_url", example: "file:///dev/shm")
            }
            var sockets: Set<String> = []
            for item in reader.sections("children") {
                let child = Child(item)
                if !sockets.insert(child.socket).inserted {
                    item.report.issue(
                        .invalid, item.path.key("api_socket"),
                        "\(quoted(child.socket)) is the socket of another child; give each its own")
                }
                request.children.append(child)
            }
            // Of what is no list something was said already.
            let isList = if case .array? = reader.value("children") ?? .array([]) { true } else { false }
            if isList, !(1...limit).contains(request.children.count) {
                reader.report.issue(
                    .invalid, reader.path.key("children"),
                    "got \(request.children.count), expected a list of 1 to \(limit) VMs to be made")
            }
            reader.finish(["children", "directory_url", "resume"], isExact: true)
            return request
        }
    }
}

extension ForkRequest.Child {
    fileprivate init(_ reader: SectionReader) {
        socket = reader.requiredText("api_socket", "the path of a Unix socket")
        let checks = Checks(reader.path, reader.report)
        if !socket.isEmpty { checks.filePath("api_socket", socket, limit: Limits.socketPathLength) }
        logFile = reader.string("log_file", "a path")
        checks.filePath("log_file", logFile)
        overrides = reader.section("overrides").map { RestoreOverrides($0) }
        disks = reader.choice("disks")
        reader.finish(["api_socket", "log_file", "overrides", "disks"], isExact: true)
    }
}

extension RestoreOverrides {
    /// What changes, as a request has it.
    package var json: JSONValue { .object(sections) }
}
