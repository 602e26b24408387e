/// The words that the self-test guest understands. `Firmware/SelfTest/Main.swift` tells what they do; a test compares.
package enum SelfTestCommandLine {
    /// What a key's value has to be.
    enum Value: Equatable, Sendable {
        /// One of some words.
        case words([String])
        /// A number, decimal or hexadecimal with 0x.
        case number
        /// An IPv4 address.
        case address

        /// What is expected, for messages.
        var expectation: String {
            switch self {
            case .words(let words) where words.count == 1: words[0]
            case .words(let words): "one of \(words.joined(separator: ", "))"
            case .number: "a number"
            case .address: "an IPv4 address"
            }
        }

        func takes(_ text: Substring) -> Bool {
            switch self {
            case .words(let words): words.contains(String(text))
            case .number:
                text.hasPrefix("0x")
                    ? (1...14).contains(text.utf8.count - 2) && text.dropFirst(2).allSatisfy(\.isHexDigit)
                    : (1...16).contains(text.utf8.count) && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
            case .address:
                text.split(separator: ".", omittingEmptySubsequences: false).map {
                    $0.utf8.count <= 3 && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } && UInt8($0) != nil
                } == [true, true, true, true]
            }
        }
    }

    /// The values of `mode`.
    package static let modes = [
        "full", "hello", "exit", "reset", "i8042-reset", "triple-fault", "hang", "spin", "echo", "power-button",
        "probe",
        "bar-move", "hostile", "disk-load", "disk-log",
    ]

    static let values: [(key: String, value: Value)] = [
        ("mode", .words(modes)), ("net_host", .address), ("net_guest", .address), ("pci", .words(["none"])),
        ("apic", .words(["xapic"])), ("seconds", .number), ("ged_gsi", .number), ("ged_port", .number),
        ("bar_to", .number),
    ]

    /// The keys.
    package static var keys: [String] { values.map(\.key) }

    /// What is wrong with a command line and what is allowed; nil when the guest understands it.
    package static func mistake(_ text: String) -> String? {
        for word in text.split(separator: " ") {
            guard let equals = word.firstIndex(of: "=") else {
                return "'\(word)' is no key=value; modes: mode=\(modes.joined(separator: "|"))"
            }
            let key = word[..<equals]
            guard let known = values.first(where: { $0.key == key }) else {
                return "'\(key)' is unknown; keys: \(keys.joined(separator: ", "))"
            }
            let value = word[word.index(after: equals)...]
            guard known.value.takes(value) else {
                return "\(key): got '\(value)', expected \(known.value.expectation)"
            }
        }
        return nil
    }
}
