/// Turns one option list into the JSON object that says the same.
struct FlagReader {
    let syntax: FlagSyntax
    let path: SpecPath
    let report: Report
    private(set) var object = JSONObject()

    init(_ syntax: FlagSyntax, _ path: SpecPath, _ report: Report) {
        self.syntax = syntax
        self.path = path
        self.report = report
    }

    /// The object of an option list; what is wrong with the list goes into the report.
    mutating func read(_ text: String) -> JSONObject {
        let options: [OptionList.Option]
        do {
            options = try OptionList.options(text)
        } catch {
            report.issue(.syntax, path, "\(quoted(text)) has \(error.message)")
            return object
        }
        let before = report.issues.count
        let names = syntax.keys.map(\.name)
        let offered = syntax.keys.filter(\.isOffered).map(\.name)
        var seen: Set<String> = []
        for option in options {
            let place = path.option(option.key)
            guard let key = syntax.keys.first(where: { $0.name == option.key }) else {
                let meant = syntax.keys.first { $0.field == option.key }?.name
                report.unknown(place, option.key, meant: meant, known: names, offered: offered)
                continue
            }
            if !seen.insert(key.name).inserted {
                report.issue(.duplicate, place, "given twice; keep one")
                continue
            }
            read(key, option.value, path.key(key.field))
        }
        let choosesMode = syntax.keys.contains { if case .mode = $0.kind { true } else { false } }
        if choosesMode, object["mode"] == nil, report.issues.count == before {
            let socket = syntax.keys.contains { $0.name == "socket" } ? "|socket=<path>" : ""
            report.issue(.missing, path, "no mode; give one of off|tty|pty|null|file=<path>\(socket)")
        }
        return object
    }

    private mutating func read(_ key: FlagSyntax.Key, _ value: String?, _ place: SpecPath) {
        if case .mode(let mode) = key.kind {
            setMode(mode, place)
            return
        }
        guard let value else {
            report.issue(.syntax, place, "has no value; write \(key.name)=…")
            return
        }
        if case .modePath(let mode) = key.kind {
            setMode(mode, place)
            if !value.isEmpty { object[key.field] = .string(OptionList.unquoted(value)) }
            return
        }
        // An empty value is no value, as `tap=` in scripts.
        if value.isEmpty { return }
        switch convert(key.kind, value) {
        case .success(.null): break
        case .success(let converted): object[key.field] = converted
        case .failure(let mistake): report.issue(mistake.kind, place, mistake.message(value))
        }
    }

    private mutating func setMode(_ mode: String, _ place: SpecPath) {
        if let first = object["mode"], case .string(let name) = first {
            report.issue(.invalid, place, "stands beside mode \(name); give one mode")
        } else {
            object["mode"] = .string(mode)
        }
    }

    /// Why a value was not understood.
    private struct Mistake: Error {
        var kind = SpecIssue.Kind.invalid
        let expected: String

        func message(_ value: String) -> String {
            kind == .unsupported ? "\(quoted(value)): \(expected)" : "got \(quoted(value)), expected \(expected)"
        }
    }

    private func convert(_ kind: FlagSyntax.Kind, _ text: String) -> Result<JSONValue, Mistake> {
        let plain = OptionList.unquoted(text)
        switch kind {
        case .text, .mode, .modePath: return .success(.string(plain))
        case .integer: return found(OptionList.number(plain).map { .integer($0) }, "a whole number")
        case .toggle: return found(Self.toggle(plain), "on, off, true or false")
        case .size:
            return found(OptionList.size(plain).map { .integer($0) }, "a size in bytes, or with K, M or G, like 512M")
        case .topology: return found(Self.topology(plain), "threads:cores:dies:packages, like 1:2:1:1")
        case .tuples(let first, let second):
            return found(Self.tuples(text, first, second), "a list like [0@[1,2],1@[3]]")
        case .namedIntegers(let first, let second):
            return found(Self.tuples(text, first, second, named: true), "a list like [net1@[3,4],net2@[5]]")
        case .integers:
            return found(OptionList.integers(plain).map { .array($0.map { .integer($0) }) }, "a list like [1,2-4]")
        case .texts: return .success(Self.features(plain))
        case .words(let words):
            let allowed = "one of \(words.keys.sorted().joined(separator: ", "))"
            return found(words[plain.lowercased()].map { .string($0) }, allowed)
        case .port:
            let digits = plain.hasPrefix("0x") && !plain.hasPrefix("0x+") ? UInt16(plain.dropFirst(2), radix: 16) : nil
            return found(digits.map { .integer($0) }, "a port in hexadecimal from 0x0 to 0xffff, like 0xe9")
        case .zero:
            if OptionList.number(plain) == 0 { return .success(.null) }
            let message = "rate limiting is not supported yet by this version; remove it"
            return .failure(Mistake(kind: .unsupported, expected: message))
        }
    }

    private func found(_ value: JSONValue?, _ expected: String) -> Result<JSONValue, Mistake> {
        value.map { .success($0) } ?? .failure(Mistake(expected: expected))
    }

    private static func toggle(_ text: String) -> JSONValue? {
        switch text.lowercased() {
        case "on", "true": .bool(true)
        case "off", "false", "": .bool(false)
        default: nil
        }
    }

    private static func topology(_ text: String) -> JSONValue? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { OptionList.number(String($0)) }
        let names = ["threads_per_core", "cores_per_die", "dies_per_package", "packages"]
        guard parts.count == names.count, !parts.contains(nil) else { return nil }
        return .members(zip(names, parts).map { ($0, $1.map { .integer($0) }) })
    }

    private static func features(_ text: String) -> JSONValue {
        let names = text.split { $0 == "[" || $0 == "]" || $0 == "," }
        return .members(names.map { (String($0), .bool(true)) })
    }

    /// The pairs of a list like `[0@[1,2],1@[3]]`.
    private static func tuples(
        _ text: String, _ first: String, _ second: String, named: Bool = false
    ) -> JSONValue? {
        guard text.hasPrefix("["), text.hasSuffix("]"), text.utf8.count >= 2,
            let parts = try? OptionList.split(String(text.dropFirst().dropLast()))
        else { return nil }
        var items: [JSONValue] = []
        for part in parts {
            let halves = OptionList.unquoted(OptionList.trimmed(part)).split(
                separator: "@", omittingEmptySubsequences: false)
            guard halves.count == 2, let numbers = OptionList.integers(String(halves[1])) else { return nil }
            let index: JSONValue? =
                named ? .string(String(halves[0])) : OptionList.number(String(halves[0])).map { .integer($0) }
            guard let index else { return nil }
            items.append(.members([(first, index), (second, .array(numbers.map { .integer($0) }))]))
        }
        return .array(items)
    }
}
