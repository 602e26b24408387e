import FoundationEssentials
import Host
import Snapshot

/// What the source says first: what machine comes, what it needs, and how it is to be moved. JSON.
package struct Hello: Codable, Equatable, Sendable {
    /// The format of this protocol that this version speaks.
    package static let format = 1

    /// A region of the guest's RAM.
    package struct Region: Codable, Equatable, Sendable {
        /// Guest-physical, and bytes.
        package var address: UInt64, size: UInt64

        package init(address: UInt64, size: UInt64) { (self.address, self.size) = (address, size) }
    }

    /// A device on the bus.
    package struct Device: Codable, Equatable, Sendable {
        package var id: String, kind: String
        /// Whether its queues came as descriptors, which nobody elsewhere can open again; nil for no.
        package var isAdopted: Bool?
        /// Bytes of a disk whose image both ends reach; nil for all others, and of sources that do not tell.
        package var size: UInt64?

        package init(id: String, kind: String) { (self.id, self.kind) = (id, kind) }
    }

    /// The formats of the protocol that the source speaks.
    package var oldest = Hello.format, newest = Hello.format
    /// The guest's processor architecture.
    package var architecture = "x86_64"
    /// Names this migration; nobody can guess it.
    package var token: String
    /// The program that the machine runs in.
    package var writer: String
    /// The machine's configuration, JSON.
    package var config: String
    /// What the destination's host has to have.
    package var needs: SnapshotNeeds
    /// The kinds of state that come, with the version of each.
    package var states: [String: Int]
    /// The devices that the guest has.
    package var devices: [Device]
    /// Where the guest's RAM lies.
    package var memory: [Region]
    /// The disks whose images come along, in the configuration's order; nil where the destination has them already.
    package var disks: [MirroredDisk]?
    /// Whether the guest stands still, and is to stand still there.
    package var isPaused = false
    /// Whether the memory comes as a descriptor instead of bytes.
    package var isLocal = false
    /// How many streams there are to be, this one included.
    package var connections = 1
    /// Whether the source only asks if it would work.
    package var isCheck = false
    /// How the memory follows the machine, where it does; nil where it comes first.
    package var postcopy: Postcopy?
    /// What pages are compressed by, where that makes them smaller; nil for nothing.
    package var compression: String?

    /// Memory that follows the machine.
    package struct Postcopy: Codable, Equatable, Sendable {
        /// ms in which the two have to find each other again when their connection is lost.
        package var reconnect: UInt64

        package init(reconnect: UInt64) { self.reconnect = reconnect }
    }

    package init(
        token: String, writer: String, config: String, needs: SnapshotNeeds, states: [String: Int]
    ) {
        (self.token, self.writer, self.config) = (token, writer, config)
        (self.needs, self.states) = (needs, states)
        (devices, memory) = ([], [])
    }

    /// The most regions and streams that there may be.
    static let regionLimit = 64
    package static let connectionLimit = 128
    /// The most ms that a postcopy migration's ends may be apart.
    package static let reconnectLimit: UInt64 = 86_400_000

    var bytes: [UInt8] { JSONBytes.encode(self) }

    /// Reads a hello; a format that this version does not speak is told before anything else.
    init(_ bytes: [UInt8]) throws(MigrationError) {
        struct Formats: Codable { var oldest: Int, newest: Int }
        let formats: Formats = try JSONBytes.decode(bytes, "the peer's hello")
        guard formats.oldest <= Self.format, formats.newest >= Self.format else {
            throw .violation(
                "the peer speaks the formats \(formats.oldest) to \(formats.newest) of the protocol, and this version "
                    + "\(Self.format)")
        }
        self = try JSONBytes.decode(bytes, "the peer's hello")
        guard architecture == "x86_64" else {
            throw .violation("the machine is of the architecture \"\(architecture.prefix(32))\", and this one x86_64")
        }
        guard token.utf8.count == 32,
            token.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { throw .violation("the peer's hello has a token that is none") }
        guard 1...Self.connectionLimit ~= connections else {
            throw .violation("the peer wants \(connections) connections, and there may be 1 to \(Self.connectionLimit)")
        }
        if let postcopy {
            guard postcopy.reconnect <= Self.reconnectLimit, connections == 1, !isLocal else {
                throw .violation("the peer's hello asks for a postcopy migration that is none")
            }
        }
        try checkMemory()
        if let disks { try MirroredDisk.check(disks) }
    }

    /// Why the pages cannot be got back here that the source wants to compress; nil where they can, or it does not.
    var compressionProblem: String? {
        guard let compression else { return nil }
        let begin = "the memory is to come compressed (compression \"\(compression.prefix(32))\")"
        guard compression == PagePacking.name else {
            return "\(begin), in a way that this version of swiftlet does not know"
        }
        return Zstd.isBuiltIn
            ? nil : "\(begin), and this host's swiftlet was built without libzstd: \(Zstd.remedy)"
    }

    private func checkMemory() throws(MigrationError) {
        guard 1...Self.regionLimit ~= memory.count else {
            throw .violation("the peer's machine has \(memory.count) regions of memory")
        }
        var end: UInt64 = 0
        let page = UInt64(HostRange.pageSize)
        for region in memory {
            let (last, wraps) = region.address.addingReportingOverflow(region.size)
            guard !wraps, region.size > 0, region.address >= end, region.size % page == 0, region.address % page == 0,
                last <= 1 << 52
            else {
                throw .violation("\(region.size) bytes at \(region.address) are no region of a machine's memory")
            }
            end = last
        }
    }

    /// A new token: 128 bits in hexadecimal.
    package static func newToken() -> String {
        (0..<4).map { _ in Hexadecimal.text(.random(in: .min ... .max)) }.joined()
    }
}

/// What the destination answers: the format that is spoken.
struct Welcome: Codable, Equatable {
    var format = Hello.format
    /// Bytes of the destination's pages, each of which comes as a whole in a postcopy migration; nil for 4096.
    var pageSize: Int?
    /// The hello's compression, where it has one: versions that do not know it do not say so.
    var compression: String?
    /// What else the destination understands; versions that know of none do not say so.
    var understands: [String]? = Welcome.known

    /// States in packed form.
    static let packedState = "packed-state"
    /// The frame `outline`.
    static let outline = "outline"
    private static let known = [packedState, outline]

    /// Whether the destination understands something.
    func understands(_ what: String) -> Bool { understands?.contains(what) == true }

    /// Refuses an answer that a source cannot go on with.
    func check(_ hello: Hello) throws(MigrationError) {
        guard format == Hello.format else { throw .violation("the peer chose the format \(format)") }
        if let asked = hello.compression, compression != asked {
            throw MigrationError(
                .machine, "the destination's version of swiftlet takes no compressed memory; leave compression out")
        }
    }
}

/// What a further stream says of itself.
struct Join: Codable, Equatable {
    var token: String
    /// From 1; the first stream is 0.
    var stream: Int
}

/// JSON of the few messages that are no plain numbers.
enum JSONBytes {
    static func encode(_ value: some Encodable) -> [UInt8] {
        // Strings, numbers, and arrays and dictionaries of them can be encoded.
        ((try? JSONEncoder().encode(value)).map { [UInt8]($0) }) ?? []
    }

    static func decode<Value: Decodable>(_ bytes: [UInt8], _ what: String) throws(MigrationError) -> Value {
        do { return try JSONDecoder().decode(Value.self, from: Data(bytes)) } catch {
            throw .violation("\(what) cannot be read")
        }
    }

    /// Reasons from a peer, made fit to be shown: a few short lines without control characters.
    static func reasons(_ bytes: [UInt8]) -> [String] {
        let list: [String]? = try? decode(bytes, "")
        return (list ?? []).prefix(64).map { line in
            let plain = line.unicodeScalars.prefix(1000).map { $0.properties.generalCategory == .control ? " " : $0 }
            return String(String.UnicodeScalarView(plain))
        }
    }
}
