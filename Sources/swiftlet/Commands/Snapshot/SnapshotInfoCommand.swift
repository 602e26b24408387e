import ArgumentParser
import Snapshot
import Spec

/// `swiftlet snapshot info DIR`
struct SnapshotInfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Say what a snapshot is, what it builds upon and what it needs of a host.",
        discussion: "The bytes of the memory are not looked at; swiftlet snapshot verify checks them.")

    @Argument(help: "The snapshot's directory.", completion: .directory) var directory: String
    @Flag(help: "Print it as JSON.") var json = false

    func run() throws {
        try SnapshotReport.run { () throws(SnapshotError) in
            let chain = try SnapshotChain(opening: directory)
            let info = try SnapshotInfo(chain)
            if json { try SnapshotReport.json(info) } else { StandardStreams.out(info.text) }
        }
    }
}

/// What a snapshot is, for people and as JSON.
struct SnapshotInfo: Encodable {
    struct Layer: Encodable {
        let path: String, id: String, time: String
        let dataBytes: UInt64
    }

    struct Device: Encodable {
        let name: String, kind: String
        let version: Int
    }

    let path: String
    let manifest: Manifest
    let type: String
    let memoryBytes: UInt64
    /// The snapshots below it, the nearest first.
    let parents: [Layer]
    let devices: [Device]
    /// What the host has to have, in words.
    let needs: [String]

    init(_ chain: SnapshotChain) throws(SnapshotError) {
        let top = chain.top
        path = top.path
        manifest = top.manifest
        type = manifest.isDiff ? "diff" : "full"
        memoryBytes = manifest.memory.regions.reduce(0) { $0 + $1.size }
        parents = chain.layers.dropFirst()
            .map {
                Layer(
                    path: $0.path, id: $0.manifest.id, time: $0.manifest.time,
                    dataBytes: $0.manifest.memory.dataBytes)
            }
        let state = try top.state()
        var devices: [Device] = []
        for name in state.devices {
            let (kind, version) = try state.kind(of: name)
            devices.append(Device(name: name, kind: kind, version: version))
        }
        self.devices = devices
        needs = manifest.needs.words
    }

    var text: String {
        var table = Table()
        table.add("snapshot", path)
        table.add("id", manifest.id)
        table.add("type", type)
        table.add("taken", manifest.time)
        table.add("by", manifest.writer)
        table.add("format", "\(manifest.format)")
        table.add("architecture", manifest.architecture)
        table.add(
            "memory", "\(SnapshotText.bytes(memoryBytes)), \(SnapshotText.bytes(manifest.memory.dataBytes)) of it here")
        for region in manifest.memory.regions {
            table.add("  region", "0x\(String(region.guestAddress, radix: 16)), \(SnapshotText.bytes(region.size))")
        }
        for parent in parents {
            table.add("builds upon", "\(parent.path), \(parent.id), \(SnapshotText.bytes(parent.dataBytes))")
        }
        for device in devices { table.add("device", "\(device.name), \(device.kind), version \(device.version)") }
        if !needs.isEmpty { table.add("needs", needs.joined(separator: " ")) }
        return table.text
    }
}

/// Words of the snapshot commands.
enum SnapshotText {
    /// A number of bytes as people read it.
    static func bytes(_ count: UInt64) -> String { ByteSize.text(count) }

    /// What a file says, without control characters.
    static func plain(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }
}
