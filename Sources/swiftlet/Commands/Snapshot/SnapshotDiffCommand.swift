import ArgumentParser
import Snapshot

/// `swiftlet snapshot diff DIR DIR`
struct SnapshotDiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Say what differs between two snapshots, whatever they build upon.",
        discussion: "Memory is compared page by page; the configuration and the state field by field.")

    @Argument(help: "The one snapshot.", completion: .directory) var one: String
    @Argument(help: "The other snapshot.", completion: .directory) var other: String
    @Flag(help: "Print everything that differs, as JSON.") var json = false

    func run() throws {
        try SnapshotReport.run { () throws(SnapshotError) in
            let found = try SnapshotChain(opening: one).compare(with: SnapshotChain(opening: other))
            guard !json else { return try SnapshotReport.json(found) }
            StandardStreams.out(Self.lines(found).joined(separator: "\n"))
        }
    }

    /// As many places of a sort as a person reads.
    private static let shown = 20

    private static func lines(_ found: SnapshotComparison) -> [String] {
        if found.isSame { return ["nothing differs"] }
        var lines: [String] = []
        if found.layoutDiffers { lines.append("memory: the regions differ, so no page was compared") }
        if !found.memory.isEmpty {
            let bytes = SnapshotText.bytes(found.memoryBytes)
            lines.append("memory: \(bytes) in \(found.memory.count) ranges")
            lines += list(found.memory) { "0x\(String($0.guestAddress, radix: 16))  \(SnapshotText.bytes($0.bytes))" }
        }
        for (name, places) in [("config", found.config), ("state", found.state), ("needs", found.needs)]
        where !places.isEmpty {
            lines.append("\(name): \(places.count) \(places.count == 1 ? "place" : "places")")
            lines += list(places) { $0 }
        }
        return lines.map(SnapshotText.plain)
    }

    private static func list<Item>(_ items: [Item], _ words: (Item) -> String) -> [String] {
        let lines = items.prefix(shown).map { "  \(words($0))" }
        return items.count > shown ? lines + ["  and \(items.count - shown) more; --json prints them all"] : lines
    }
}
