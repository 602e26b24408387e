/// One thing that `doctor` looked at.
struct Finding: Encodable {
    enum Verdict: String, Encodable { case yes, no, limited }
    /// What was looked at.
    let name: String
    /// Whether it is there.
    let verdict: Verdict
    /// What was seen.
    let detail: String
    /// What to do about a `no`, or nil.
    let remedy: String?
    /// Whether no guest runs without it.
    let isRequired: Bool

    init(_ name: String, _ verdict: Verdict, _ detail: String, remedy: String? = nil, isRequired: Bool = false) {
        (self.name, self.verdict, self.detail) = (name, verdict, detail)
        (self.remedy, self.isRequired) = (remedy, isRequired)
    }

    /// The finding as a line, and its remedy as a second one.
    var lines: [String] {
        let mark = verdict.rawValue + String(repeating: " ", count: 8 - verdict.rawValue.count)
        let title = name + String(repeating: " ", count: max(1, 34 - name.utf8.count))
        return ["\(mark)\(title)\(detail)"] + (remedy.map { ["        → \($0)"] } ?? [])
    }
}

/// All that `doctor` found.
struct Diagnosis: Encodable {
    let findings: [Finding]
    /// Whether guests run here at all, and whether stock Linux kernels do.
    let guests: Bool
    let linuxGuests: Bool
}
