/// Reads the fields of one object of the configuration by name, type and range.
///
/// A field that is absent or null has its default. A wrong one goes into the report, and its default stands in for
/// it, so that the reading goes on; `Report.check` keeps such a configuration from being used.
struct SectionReader {
    let object: JSONObject
    let path: SpecPath
    let report: Report

    /// A reader of a value that should be an object; nil, and an issue, where it is not.
    init?(_ value: JSONValue, _ path: SpecPath, _ report: Report) {
        guard case .object(let object) = value else {
            report.issue(.wrongType, path, mismatch(value, "an object"))
            return nil
        }
        self.object = object
        self.path = path
        self.report = report
    }

    /// The value of a field; nil where it is absent or null.
    func value(_ key: String) -> JSONValue? {
        guard let value = object[key], value != .null else { return nil }
        return value
    }

    /// Says that a required field is absent.
    func missing(_ key: String, _ allowed: String) {
        report.issue(.missing, path.key(key), "missing; give \(allowed)")
    }

    func bool(_ key: String, default standard: Bool) -> Bool {
        guard let value = value(key) else { return standard }
        guard case .bool(let flag) = value else {
            report.issue(.wrongType, path.key(key), mismatch(value, "true or false"))
            return standard
        }
        return flag
    }

    func integer<Integer: FixedWidthInteger>(_ key: String, _ range: ClosedRange<Integer>) -> Integer? {
        guard let value = value(key) else { return nil }
        return Self.integer(value, range, path.key(key), report)
    }

    func requiredInteger<Integer: FixedWidthInteger>(_ key: String, _ range: ClosedRange<Integer>) -> Integer {
        if value(key) == nil { missing(key, wholeNumber(range)) }
        return integer(key, range) ?? range.lowerBound
    }

    /// A list of whole numbers; empty where it is absent.
    func integers<Integer: FixedWidthInteger>(_ key: String, _ range: ClosedRange<Integer>) -> [Integer] {
        items(key).compactMap { Self.integer($0.value, range, $0.path, report) }
    }

    static func integer<Integer: FixedWidthInteger>(
        _ value: JSONValue, _ range: ClosedRange<Integer>, _ path: SpecPath, _ report: Report
    ) -> Integer? {
        guard case .number(let number) = value else {
            report.issue(.wrongType, path, mismatch(value, wholeNumber(range)))
            return nil
        }
        guard let integer = number.integer(Integer.self), range.contains(integer) else {
            report.issue(.invalid, path, "got \(value.excerpt), expected \(wholeNumber(range))")
            return nil
        }
        return integer
    }

    func string(_ key: String, _ what: String = "a text") -> String? {
        guard let value = value(key) else { return nil }
        guard case .string(let text) = value else {
            report.issue(.wrongType, path.key(key), mismatch(value, what))
            return nil
        }
        return text
    }

    /// A field whose text is one of an enumeration's names.
    func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, default standard: Choice) -> Choice
    where Choice.RawValue == String { choice(key) ?? standard }

    /// The same where the field may be left out; nil then, and where it is wrong.
    func choice<Choice: RawRepresentable & CaseIterable>(_ key: String) -> Choice? where Choice.RawValue == String {
        let names = Choice.allCases.map(\.rawValue)
        // By hand: `joined` asks the runtime for a type, which looks through all of the program's conformances.
        let allowed = "one of " + names.dropFirst().reduce(names.first ?? "") { $0 + ", " + $1 }
        guard let text = string(key, allowed) else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        let hint = nearestName(to: text, among: names).map { "; did you mean '\($0)'?" } ?? ""
        report.issue(.invalid, path.key(key), "got \(quoted(text)), expected \(allowed)\(hint)")
        return nil
    }

    /// A reader of a field that is an object.
    func section(_ key: String) -> SectionReader? {
        value(key).flatMap { SectionReader($0, path.key(key), report) }
    }

    /// The items of a field that is a list, each with its path; none where it is absent.
    func items(_ key: String) -> [(value: JSONValue, path: SpecPath)] {
        guard let value = value(key) else { return [] }
        let path = path.key(key)
        guard case .array(let items) = value else {
            report.issue(.wrongType, path, mismatch(value, "a list"))
            return []
        }
        return items.enumerated().map { ($0.element, path.index($0.offset)) }
    }

    /// Readers of a field that is a list of objects.
    func sections(_ key: String) -> [SectionReader] {
        items(key).compactMap { SectionReader($0.value, $0.path, report) }
    }

    /// Checks the names: each must be supported, or unsupported with a value that asks for nothing.
    /// - Parameter isExact: whether a name that the format does not have is an error even in a lenient reading.
    func finish(_ supported: [String], unsupported: [String: Harmless] = [:], isExact: Bool = false) {
        let known = supported + unsupported.keys.sorted()
        for key in object.keys where !supported.contains(key) {
            if let harmless = unsupported[key] {
                harmless.check(object[key] ?? .null, path.key(key), report)
            } else {
                report.unknown(path.key(key), key, known: known, isExact: isExact)
            }
        }
    }
}

/// `got "x" (a string), expected …`
func mismatch(_ value: JSONValue, _ expected: String) -> String {
    switch value {
    case .string, .number, .bool: "got \(value.excerpt) (\(value.typeName)), expected \(expected)"
    case .null, .array, .object: "got \(value.typeName), expected \(expected)"
    }
}

/// `a whole number from 1 to 4096`
func wholeNumber<Integer: FixedWidthInteger>(_ range: ClosedRange<Integer>) -> String {
    "a whole number from \(range.lowerBound) to \(range.upperBound)"
}
