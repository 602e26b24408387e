/// The resources of the host that a restored VM gets in place of those that its snapshot names, so that clones run side by
/// side: the configuration's own sections with the fields that change, devices in lists by their ids.
///
///     {"disks": [{"id": "data", "path": "/srv/clone7.raw"}], "net": [{"id": "lan", "tap": "tap7"}],
///      "serial": {"mode": "File", "file": "/var/log/clone7"}}
package struct RestoreOverrides: Sendable, Equatable {
    let sections: JSONObject
    private let place: String

    /// The fields that may change of sections that are lists.
    private static let lists: [(key: String, what: String, fields: [String])] = [
        ("disks", "disk", ["path"]), ("net", "network interface", ["tap", "mac", "host_mac", "ip", "mask"]),
    ]

    /// The fields that may change of other sections.
    private static let objects: [(key: String, fields: [String])] = [
        ("vsock", ["socket"]), ("rng", ["src"]), ("payload", ["kernel", "firmware", "initramfs"]),
        ("serial", ["mode", "file", "socket"]), ("console", ["mode", "file", "socket"]),
        ("debug_console", ["mode", "file"]),
    ]

    /// Reads the object of a request. A field that cannot change is an error, never ignored.
    init(_ reader: SectionReader) {
        sections = reader.object
        place = reader.path.text(.json)
        for (key, what, fields) in Self.lists {
            var seen: Set<String> = []
            for item in reader.sections(key) {
                let id = item.requiredText("id", "the id of a \(what) of the snapshot")
                if !id.isEmpty, !seen.insert(id).inserted {
                    item.report.issue(.invalid, item.path.key("id"), "\(quoted(id)) is named twice; name it once")
                }
                for field in fields { _ = item.string(field) }
                item.finish(["id"] + fields, isExact: true)
            }
        }
        for (key, fields) in Self.objects {
            guard let section = reader.section(key) else { continue }
            for field in fields { _ = section.string(field) }
            section.finish(fields, isExact: true)
        }
        reader.finish(Self.lists.map(\.key) + Self.objects.map(\.key), isExact: true)
    }

    /// The same from the command line: `disks.ID.path=/new`, `serial.file=/log`.
    ///
    /// - Throws: `SpecError` naming the option that is none.
    package static func object(_ options: [String], name: String) throws(SpecError) -> JSONObject {
        var sections = JSONObject()
        for option in options {
            func refuse(_ words: String) -> SpecError {
                SpecError(SpecIssue(.invalid, "\(name) \(option)", words))
            }
            guard let equals = option.firstIndex(of: "=") else {
                throw refuse(
                    "expected SECTION.FIELD=VALUE, for example serial.file=/tmp/log, or disks.ID.path=/tmp/disk")
            }
            let key = option[..<equals]
            let value = JSONValue.string(String(option[option.index(after: equals)...]))
            guard let first = key.firstIndex(of: "."), let last = key.lastIndex(of: ".") else {
                throw refuse("expected SECTION.FIELD=VALUE; there is no field")
            }
            let section = String(key[..<first])
            let field = String(key[key.index(after: last)...])
            guard lists.contains(where: { $0.key == section }) else {
                guard first == last else {
                    throw refuse("expected \(section).FIELD=VALUE: there is one \(section), which needs no id")
                }
                var object = JSONObject()
                if case .object(let known)? = sections[section] { object = known }
                object[field] = value
                sections[section] = .object(object)
                continue
            }
            guard first != last else { throw refuse("expected \(section).ID.FIELD=VALUE; there is no id") }
            let id = String(key[key.index(after: first)..<last])
            var items: [JSONValue] = []
            if case .array(let known)? = sections[section] { items = known }
            let index = items.firstIndex { $0.member("id") == .string(id) } ?? items.count
            if index == items.count { items.append(.members([("id", .string(id))])) }
            if case .object(var item) = items[index] {
                item[field] = value
                items[index] = .object(item)
            }
            sections[section] = .array(items)
        }
        return sections
    }

    /// What these say of the tap of a network interface: the place of the first such field, for errors; nil where they
    /// leave its tap alone.
    package func placeOfTap(ofInterface id: String) -> String? {
        guard case .array(let changes)? = sections["net"] else { return nil }
        for (index, change) in changes.enumerated() where change.member("id") == .string(id) {
            let field = ["tap", "host_mac", "ip", "mask"].first { change.member($0).map { $0 != .null } ?? false }
            if let field { return "\(place).net[\(index)].\(field)" }
        }
        return nil
    }

    /// A configuration with these resources.
    ///
    /// - Throws: `SpecError` where it has no such device.
    func apply(to config: JSONObject) throws(SpecError) -> JSONObject {
        var config = config
        for (key, what, fields) in Self.lists {
            guard case .array(let changes)? = sections[key] else { continue }
            var devices: [JSONValue] = []
            if case .array(let known)? = config[key] { devices = known }
            for (index, change) in changes.enumerated() {
                guard let id = change.member("id"),
                    let found = devices.firstIndex(where: { $0.member("id") == id }),
                    case .object(let device) = devices[found]
                else {
                    let known = devices.compactMap { $0.member("id")?.excerpt }
                    let words = known.isEmpty ? "it has none" : "it has " + known.joined(separator: ", ")
                    throw SpecError(
                        SpecIssue(
                            .invalid, "\(place).\(key)[\(index)].id",
                            "\(change.member("id")?.excerpt ?? "") is no \(what) of the snapshot; \(words)"))
                }
                devices[found] = .object(Self.merged(device, change, fields))
            }
            config[key] = .array(devices)
        }
        for (key, fields) in Self.objects {
            guard let change = sections[key], case .object = change else { continue }
            // A section that may be left out has its defaults.
            let isOptional = key != "vsock" && key != "payload"
            guard case .object(var section)? = config[key] ?? (isOptional ? .object(JSONObject()) : nil) else {
                throw SpecError(
                    SpecIssue(.invalid, "\(place).\(key)", "the snapshot's VM has none, so nothing of it can change"))
            }
            if let mode = change.member("mode"), mode != .null {
                let isOff = JSONValue.string(ConsoleMode.off.rawValue)
                let isWithout = section["mode"].map { $0 == isOff } ?? (key == "debug_console")
                guard (mode == isOff) == isWithout else {
                    throw SpecError(
                        SpecIssue(
                            .invalid, "\(place).\(key).mode",
                            "a snapshot has its devices: the mode cannot become or cease to be Off; Null drops the output"
                        ))
                }
                (section["file"], section["socket"]) = (nil, nil)
            }
            config[key] = .object(Self.merged(section, change, fields))
        }
        return config
    }

    private static func merged(_ device: JSONObject, _ change: JSONValue, _ fields: [String]) -> JSONObject {
        var device = device
        for field in fields {
            if let value = change.member(field), value != .null { device[field] = value }
        }
        return device
    }
}

extension JSONValue {
    /// A member of an object; nil where it is none or has none.
    fileprivate func member(_ key: String) -> JSONValue? {
        if case .object(let object) = self { object[key] } else { nil }
    }
}

extension VMConfig {
    /// Reads a snapshot's configuration.
    ///
    /// - Parameter overrides: what changes of it.
    package static func parse(_ bytes: [UInt8], _ overrides: RestoreOverrides) throws(SpecError) -> ParsedConfig {
        let value = try JSONValue.parse(bytes)
        guard case .object(let config) = value else { return try read(value, Report(mode: .lenient)) }
        return try read(.object(try overrides.apply(to: config)), Report(mode: .lenient))
    }
}
