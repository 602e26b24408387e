import Machine

/// Names the flag where a machine's error names a place in the JSON that the flags became.
enum FlagPlaces {
    private static let sections = [
        "disks": "disk", "net": "net", "memory": "memory", "cpus": "cpus", "rng": "rng", "serial": "serial",
        "console": "console", "debug_console": "debug-console", "vsock": "vsock",
    ]
    private static let keys = ["boot_vcpus": "boot", "max_vcpus": "max"]

    /// An error in the words of the flags, line for line.
    static func words(_ error: any Error) -> String {
        guard error is MachineError else { return "\(error)" }
        return "\(error)".split(separator: "\n").map(words).joined(separator: "\n")
    }

    private static func words(_ line: Substring) -> String {
        guard line.hasPrefix("$."), let end = line.firstIndex(of: ":") else { return String(line) }
        return (flag(String(line[line.index(line.startIndex, offsetBy: 2)..<end])) ?? "--kernel") + named(line[end...])
    }

    /// A message with the places that it names in the words of the flags.
    private static func named(_ message: Substring) -> String {
        message.split(separator: " ", omittingEmptySubsequences: false).map { word in
            guard word.hasPrefix("$.") else { return String(word) }
            let place = word.dropFirst(2).prefix { $0 != "," && $0 != ";" && $0 != ":" }
            return flag(String(place)).map { $0 + word[place.endIndex...] } ?? String(word)
        }.joined(separator: " ")
    }

    /// `disks[1].path` as `--disk #2: key 'path'`.
    private static func flag(_ path: String) -> String? {
        let parts = path.split(separator: ".", maxSplits: 1).map(String.init)
        guard let section = parts.first else { return nil }
        if section == "payload" { return parts.count == 2 ? "--\(parts[1])" : "--kernel" }
        let pieces = section.split { $0 == "[" || $0 == "]" }
        guard let name = pieces.first, let flag = sections[String(name)] else { return nil }
        var text = "--\(flag)"
        if pieces.count > 1, let index = Int(pieces[1]), index > 0 { text += " #\(index + 1)" }
        if parts.count == 2 { text += ": key '\(keys[parts[1]] ?? parts[1])'" }
        return text
    }
}
