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
    func requiredFileURL(_ key: String) -> String {
        let text = requiredText(key, "a URL like file:///tmp/core")
        guard !text.isEmpty else { return "" }
        guard text.hasPrefix("file:///") else {
            report.issue(.invalid, path.key(key), "got \(quoted(text)), expected a URL like file:///tmp/core")
            return ""
        }
        let path = String(text.dropFirst("file://".count))
        Checks(self.path, report).filePath(key, path)
        return path
    }
}
