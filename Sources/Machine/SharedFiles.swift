import CharBackend
import Host
import Spec

/// Files that a plan names several times by different names, which the configuration alone does not tell: an image with
/// two writers loses its file system, and a file that takes output is emptied first.
package enum SharedFiles {
    private struct Use {
        let place: String, path: String
        let identity: FileIdentity
        /// Whether it is written; a disk otherwise.
        let isWritten: Bool

        init?(_ place: String, _ path: String, isWritten: Bool) {
            guard let identity = FileIdentity(following: path) else { return nil }
            (self.place, self.path, self.identity, self.isWritten) = (place, path, identity, isWritten)
        }
    }

    /// - Throws: `SpecError` with every file that is used twice, one of the two times to be written.
    package static func refuse(_ plan: MachinePlan, _ own: [ProcessFile] = []) throws(SpecError) {
        if let error = SpecError(issues(plan) + issues(plan, own)) { throw error }
    }

    /// The files of the plan that the process itself writes.
    private static func issues(_ plan: MachinePlan, _ own: [ProcessFile]) -> [SpecIssue] {
        if own.isEmpty { return [] }
        return (images(plan) + payload(plan) + outputs(plan)).compactMap { use in
            own.first { $0.identity == use.identity }.map { SpecIssue(.duplicate, use.place, $0.problem(use.path)) }
        }
    }

    /// What is wrong, at the second place of each file. Only existing files are looked at.
    static func issues(_ plan: MachinePlan) -> [SpecIssue] {
        var issues: [SpecIssue] = []
        var images: [Use] = []
        for use in self.images(plan) {
            if let first = images.first(where: { $0.identity == use.identity && ($0.isWritten || use.isWritten) }) {
                issues.append(
                    issue(use, first, "and one of the two writes to it; set readonly on both or use a copy"))
            }
            images.append(use)
        }
        let inputs = images + payload(plan)
        for output in outputs(plan) {
            guard let input = inputs.first(where: { $0.identity == output.identity }) else { continue }
            issues.append(issue(output, input, "which must not be overwritten; name another"))
        }
        return issues
    }

    private static func issue(_ use: Use, _ first: Use, _ problem: String) -> SpecIssue {
        let (path, other) = (JSONValue.string(use.path).text(), JSONValue.string(first.path).text())
        return SpecIssue(.duplicate, use.place, "\(path) is the same file as \(first.place), \(other), \(problem)")
    }

    private static func images(_ plan: MachinePlan) -> [Use] {
        plan.devices.compactMap { device in
            guard case .block(let options, _) = device.kind else { return nil }
            return Use("\(options.field).path", options.path, isWritten: !options.readOnly)
        }
    }

    private static func payload(_ plan: MachinePlan) -> [Use] {
        guard case .kernel(let path, let field, let initramfs, _) = plan.payload else { return [] }
        return [
            Use(field, path, isWritten: false),
            initramfs.flatMap { Use("$.payload.initramfs", $0, isWritten: false) },
        ].compactMap { $0 }
    }

    private static func outputs(_ plan: MachinePlan) -> [Use] {
        var modes: [(String, CharMode?)] = [("serial", plan.serial), ("debug_console", plan.debugConsole?.mode)]
        for device in plan.devices { if case .console(let mode) = device.kind { modes.append(("console", mode)) } }
        return modes.compactMap { section, mode in
            guard case .file(let path)? = mode else { return nil }
            return Use("$.\(section).file", path, isWritten: true)
        }
    }
}
