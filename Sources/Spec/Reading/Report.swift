/// What a reading and a validation have found so far.
///
/// One reading owns it on one thread; readers of sections add to it and go on, so that one run finds everything.
final class Report {
    /// How many issues, and how many warnings, are kept: more help nobody, and a hostile text could have millions.
    static let limit = 100

    let mode: ReadingMode
    let style: SpecPath.Style
    private(set) var issues: [SpecIssue] = []
    private(set) var warnings: [SpecIssue] = []

    init(mode: ReadingMode = .strict, style: SpecPath.Style = .json) {
        self.mode = mode
        self.style = style
    }

    /// Something that makes the configuration unusable.
    func issue(_ kind: SpecIssue.Kind, _ path: SpecPath, _ message: String) {
        if issues.count >= Self.limit { return }
        issues.append(SpecIssue(kind, path.text(style), message))
    }

    /// Something that has no effect.
    func warning(_ kind: SpecIssue.Kind, _ path: SpecPath, _ message: String) {
        if warnings.count >= Self.limit { return }
        warnings.append(SpecIssue(kind, path.text(style), message))
    }

    /// A name that the format does not have: an error or a warning, as the mode says.
    /// - Parameters:
    ///   - meant: the name that is surely meant, where one is; otherwise the nearest is looked for.
    ///   - known: all names of the format.
    ///   - offered: those of them that do something; nil for all.
    ///   - isExact: whether it is an error in every mode.
    func unknown(
        _ path: SpecPath, _ name: String, meant: String? = nil, known: [String], offered: [String]? = nil,
        isExact: Bool = false
    ) {
        // Looking for the nearest name is the costly part, so it ends with the messages that it is for.
        if issues.count >= Self.limit || warnings.count >= Self.limit { return }
        let nearest = meant ?? nearestName(to: name, among: known)
        let hint =
            nearest.map { "did you mean '\($0)'?" } ?? "allowed: \((offered ?? known).sorted().joined(separator: ", "))"
        switch isExact ? .strict : mode {
        case .strict: issue(.unknownField, path, "unknown; \(hint)")
        case .lenient: warning(.unknownField, path, "unknown and ignored; \(hint)")
        }
    }

    /// Ends the reading or the validation.
    /// - Throws: every issue found so far.
    func check() throws(SpecError) {
        if let error = SpecError(issues) { throw error }
    }
}
