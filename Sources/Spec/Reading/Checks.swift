/// Rules that several sections share, reported at a field of one section.
struct Checks {
    let path: SpecPath
    let report: Report

    init(_ path: SpecPath, _ report: Report) {
        self.path = path
        self.report = report
    }

    func report(_ kind: SpecIssue.Kind, _ key: String, _ message: String) {
        report.issue(kind, path.key(key), message)
    }

    /// Another field of the section, as the person who gave it calls it.
    func name(_ key: String) -> String { path.key(key).lastName(report.style) }

    func invalid(_ key: String, _ message: String) { report(.invalid, key, message) }

    func range<Integer: FixedWidthInteger>(_ key: String, _ value: Integer, _ range: ClosedRange<Integer>) {
        if !range.contains(value) { invalid(key, "got \(value), expected \(wholeNumber(range))") }
    }

    /// A power of two in a range whose ends are powers of two.
    func powerOfTwo<Integer: FixedWidthInteger>(_ key: String, _ value: Integer, _ range: ClosedRange<Integer>) {
        if !range.contains(value) || value.nonzeroBitCount != 1 {
            invalid(key, "got \(value), expected a power of two from \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// A text that reaches the kernel as a path.
    func filePath(_ key: String, _ text: String?, limit: Int = Limits.pathLength) {
        guard let text else { return }
        noNull(key, text)
        if text.isEmpty { invalid(key, "empty; give a path or remove the field") }
        if text.utf8.count > limit {
            invalid(
                key, "\(quoted(text)) is \(text.utf8.count) bytes long, expected at most \(limit); use a shorter path")
        }
    }

    /// A text that the kernel or the guest reads up to its first NUL.
    func noNull(_ key: String, _ text: String?) {
        if let text, text.utf8.contains(0) { invalid(key, "\(quoted(text)) contains a NUL character; remove it") }
    }

    /// A device's id: the user's, or the fixed one that a single device of its sort has.
    func id(_ id: String?, fixed: String? = nil) {
        guard let id, id != fixed else { return }
        noNull("id", id)
        if id.isEmpty { invalid("id", "empty; give a name or remove the field to have one chosen") }
        // Byte by byte: a mark that combines with the second sign would hide it from a comparison of characters.
        if id.utf8.starts(with: "__".utf8) {
            invalid("id", "\(quoted(id)) begins with '__', which is kept for built-in devices; choose another name")
        }
        if id.utf8.count > Limits.idLength {
            invalid("id", "\(quoted(id)) is \(id.utf8.count) bytes long, expected at most \(Limits.idLength)")
        }
    }
}

extension JSONValue {
    /// An object of the members that are there, in order.
    package static func members(_ members: [(String, JSONValue?)]) -> JSONValue {
        var object = JSONObject()
        for (key, value) in members { object[key] = value }
        return .object(object)
    }
}
