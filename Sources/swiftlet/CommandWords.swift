import Host

/// What the argument parser lets pass in the words of a command line.
enum CommandWords {
    /// Options whose next word is theirs, whatever it looks like.
    private static let takesAnything: Set = ["--cmdline"]
    /// Options that may be given several times; of `cloud-hypervisor`'s those that name one device each.
    private static let repeatable: Set = [
        "--disk", "--net", "--fs", "--generic-vhost-user", "--pmem", "--device", "--user-device", "--vdpa", "--numa",
        "--memory-zone", "--pci-segment", "--rate-limit-group", "--landlock-rules", "--override",
    ]

    /// What is wrong with words before they are parsed; nil if nothing is.
    static func mistake(_ words: [String]) -> String? {
        if let word = ProcessArguments.malformed {
            return "'\(word)' is not UTF-8, which all names have to be; rename the file, or link to it by another name"
        }
        // The parser takes any such word with an h in it for a question for help.
        let short = names(in: words).first { name in
            name.hasPrefix("-") && !name.hasPrefix("--") && name.count > 2 && name.contains("h")
        }
        return short.map { "unknown option '\($0)'; a file of that name is ./\($0)" }
    }

    /// The option that is given twice and has one value, with what is wrong; nil if none is. The parser has accepted the
    /// words, of which it took the last one's value.
    static func repetition(_ words: [String]) -> String? {
        var seen: Set<String> = []
        for name in names(in: words) where name.hasPrefix("--") && !repeatable.contains(name) {
            guard seen.insert(name).inserted else { return "\(name): is given twice; give it once" }
        }
        return nil
    }

    /// The options' names, in order.
    private static func names(in words: [String]) -> [String] {
        var names: [String] = []
        var isValue = false
        for word in words {
            if isValue {
                isValue = false
            } else if word == "--" {
                break
            } else if word.hasPrefix("-") {
                names.append(String(word.prefix { $0 != "=" }))
                isValue = takesAnything.contains(word)
            }
        }
        return names
    }
}
