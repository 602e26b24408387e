import FoundationEssentials
import Host

/// What `state.json` holds: a section for each device, with the kind of its state and the version.
///
///     {"format":1,"devices":{"vcpu0":{"kind":"vcpu","version":1,"state":{…}},…}}
///
/// One side adds states and encodes them; the other reads each by its type and its device's name. A document that was
/// built can be read at once, without JSON between, as a copy of a running VM is made.
package struct StateDocument {
    /// The format that is written; older ones are read for ever.
    package static let format = 1
    /// The most bytes that are read.
    package static let limit = 256 << 20

    enum Section {
        case built(any SavedState)
        case decoded(KeyedDecodingContainer<SectionKey>)
    }

    /// Which sections were read.
    private final class Marks { var names: Set<String> = [] }

    private var sections: [String: Section] = [:]
    private let marks = Marks()
    /// The path of the file that it was read from, for errors.
    package let file: String?

    /// An empty document to add states to.
    package init() { file = nil }

    /// Reads a document.
    ///
    /// - Parameter file: the path that the bytes are from, for errors.
    /// - Throws: ``SnapshotError`` where the bytes are no such document or are from the future.
    package init(_ bytes: [UInt8], file: String) throws(SnapshotError) {
        try self.init(file) { try JSONDecoder().decode(Outer.self, from: Data(bytes)) }
    }

    /// Reads a document that came from another machine, which may have packed it.
    ///
    /// - Throws: as above.
    package init(moved bytes: [UInt8], _ name: String) throws(SnapshotError) {
        guard PackedParts.isPacked(bytes) else {
            try self.init(bytes, file: name)
            return
        }
        try self.init(name) { try PackedParts.unpack(bytes) }
    }

    private init(_ file: String, _ decode: () throws -> Outer) throws(SnapshotError) {
        self.file = file
        do {
            let document = try decode()
            let known = 1...Self.format
            guard known ~= document.format else {
                throw SnapshotError(
                    .format(found: document.format, newest: Self.format), file: file, field: "format",
                    "this is format \(document.format) and this version reads formats up to \(Self.format); "
                        + "use a version of swiftlet at least as new as the one that wrote it")
            }
            for key in document.devices.allKeys {
                sections[key.stringValue] = .decoded(
                    try document.devices.nestedContainer(keyedBy: SectionKey.self, forKey: key))
            }
        } catch {
            throw DecodingFault(error).snapshotError(in: file)
        }
    }

    /// The names of the devices, sorted.
    package var devices: [String] { sections.keys.sorted() }

    /// Whether there is a section for a device.
    package func contains(_ device: String) -> Bool { sections[device] != nil }

    /// Adds a device's state.
    ///
    /// - Throws: ``SnapshotError`` of kind `duplicateDevice` where the device has one.
    package mutating func add(_ state: some SavedState, as device: String) throws(SnapshotError) {
        guard sections[device] == nil else {
            throw SnapshotError(
                .duplicateDevice(device), file: file, field: "devices.\(device)",
                "two devices have this name; give each its own id")
        }
        sections[device] = .built(state)
    }

    /// What a device's section says it is.
    package func kind(of device: String) throws(SnapshotError) -> (kind: String, version: Int) {
        switch try section(device) {
        case .built(let state): return (type(of: state).kind, type(of: state).version)
        case .decoded(let container):
            do {
                return (
                    try container.decode(String.self, forKey: .kind), try container.decode(Int.self, forKey: .version)
                )
            } catch {
                throw DecodingFault(error).snapshotError(in: file, under: "devices.\(device)")
            }
        }
    }

    /// Reads a device's state, and marks it as read.
    ///
    /// - Throws: ``SnapshotError`` where there is no such device, it is of another kind, its version is none that the
    ///   type reads, or a field is not what it should be: with the file, the device and the field.
    package func read<T: SavedState>(_ type: T.Type = T.self, of device: String) throws(SnapshotError) -> T {
        let (kind, version) = try kind(of: device)
        guard kind == T.kind else {
            throw SnapshotError(
                .kindOfDevice(device: device, found: kind, wanted: T.kind), file: file,
                field: "devices.\(device).kind",
                "this is the state of a device of kind \(kind), where the machine has one of kind \(T.kind)")
        }
        guard version == T.version || T.readableVersions.contains(version) else {
            let known = T.readableVersions.map(String.init).joined(separator: ", ")
            throw SnapshotError(
                .version(device: device, kind: kind, found: version, known: T.readableVersions), file: file,
                field: "devices.\(device).version",
                "version \(version) of \(kind) is none that this version of swiftlet reads (\(known)); "
                    + "use one at least as new as the one that wrote it")
        }
        let state: T
        switch try section(device) {
        case .built(let built):
            guard let same = built as? T else {
                throw SnapshotError(
                    .kindOfDevice(device: device, found: "\(Swift.type(of: built))", wanted: "\(T.self)"), file: file,
                    field: "devices.\(device)", "two types have the kind \(kind)")
            }
            state = same
        case .decoded(let container):
            do {
                state = try Self.decode(version, try container.superDecoder(forKey: .state))
            } catch {
                throw DecodingFault(error).snapshotError(in: file, under: "devices.\(device).state")
            }
        }
        marks.names.insert(device)
        return state
    }

    /// Decodes a device's state, for `read` to find it decoded.
    ///
    /// - Throws: as `read` does.
    package mutating func readAhead<T: SavedState>(_ type: T.Type, of device: String) throws(SnapshotError) {
        let state = try read(type, of: device)
        marks.names.remove(device)
        sections[device] = .built(state)
    }

    private static func decode<T: SavedState>(_ version: Int, _ decoder: any Decoder) throws -> T {
        do {
            return try T.decodeState(version: version, from: decoder)
        } catch {
            if error is DecodingError || error is SnapshotError { throw error }
            return try T.decodeState(version: version, from: PathKeepingDecoder(base: decoder))
        }
    }

    /// The devices whose sections nobody has read yet, sorted.
    package var unread: [String] { sections.keys.filter { !marks.names.contains($0) }.sorted() }

    /// Checks that every section was read: state that belongs to no device of the machine is refused, not dropped.
    ///
    /// - Throws: ``SnapshotError`` of kind `unknownDevices` with the names.
    package func checkAllRead() throws(SnapshotError) {
        let names = unread
        guard names.isEmpty else {
            throw SnapshotError(
                .unknownDevices(names), file: file, field: "devices",
                "the machine has no \(names.count == 1 ? "device" : "devices") \(names.joined(separator: ", ")), "
                    + "whose state is in the snapshot; restore with the configuration that it was taken with")
        }
    }

    /// The document as JSON with sorted keys, so that equal states are equal bytes.
    package func encoded() throws(SnapshotError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return [UInt8](try encoder.encode(Written(sections: sections)))
        } catch {
            throw DecodingFault(error).snapshotError(in: file)
        }
    }

    /// The document in a form that is written and read in a fraction of the time, for a machine on its way: the same, but
    /// bytes lie beside the JSON.
    package func packed() throws(SnapshotError) -> [UInt8] {
        do { return try PackedParts.pack(Written(sections: sections)) } catch {
            throw DecodingFault(error).snapshotError(in: file)
        }
    }

    private func section(_ device: String) throws(SnapshotError) -> Section {
        guard let section = sections[device] else {
            throw SnapshotError(
                .noSuchDevice(device), file: file, field: "devices.\(device)",
                "the snapshot has no state of this device, which the machine has; restore with the configuration that "
                    + "it was taken with")
        }
        return section
    }
}

enum SectionKey: String, CodingKey { case kind, version, state }

/// The name of a device as a key.
struct DeviceKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

private enum OuterKey: String, CodingKey { case format, devices }

/// The document's outside; its sections are decoded when their types are known.
private struct Outer: Decodable {
    let format: Int
    let devices: KeyedDecodingContainer<DeviceKey>

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: OuterKey.self)
        format = try container.decode(Int.self, forKey: .format)
        devices = try container.nestedContainer(keyedBy: DeviceKey.self, forKey: .devices)
    }
}

private struct Written: Encodable {
    let sections: [String: StateDocument.Section]

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: OuterKey.self)
        try container.encode(StateDocument.format, forKey: .format)
        var devices = container.nestedContainer(keyedBy: DeviceKey.self, forKey: .devices)
        for (name, section) in sections {
            guard case .built(let state) = section else { continue }
            var fields = devices.nestedContainer(keyedBy: SectionKey.self, forKey: DeviceKey(stringValue: name))
            try fields.encode(type(of: state).kind, forKey: .kind)
            try fields.encode(type(of: state).version, forKey: .version)
            try fields.encode(state, forKey: .state)
        }
    }
}
