import Spec

/// Why a VM refuses a command: a chain from what was asked to its root cause, and what sort of refusal it is.
package struct VMError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The sorts of refusals, as clients tell them apart.
    package enum Kind: Equatable, Sendable {
        /// There is no VM, or no device of that id.
        case notFound
        /// An id or a path that is in use.
        case conflict
        /// A configuration or an argument that cannot be.
        case invalid
        /// Something that this version does not do yet.
        case unsupported
        /// The VM is in the wrong state, or the host refuses.
        case failed
    }

    /// The sort.
    package let kind: Kind
    /// From what was asked to the root cause; at least one line.
    package let chain: [String]

    package init(_ kind: Kind, _ chain: [String]) { (self.kind, self.chain) = (kind, chain) }

    package var description: String { chain.joined(separator: ": ") }

    /// The same with what was asked in front.
    package func during(_ what: String) -> VMError { VMError(kind, [what] + chain) }

    package static let notCreated = VMError(.notFound, ["VM is not created"])
    static let isEnding = VMError(.failed, ["the VMM is ending"])
    package static let notBooted = VMError(.failed, ["VM is not booted"])

    /// An error of the configuration. Where everything that is wrong is a name used twice, it is a conflict.
    package init(_ error: SpecError) {
        let isConflict = error.issues.allSatisfy { $0.kind == .duplicate }
        self.init(isConflict ? .conflict : .invalid, error.issues.map(\.description))
    }

    /// Several mistakes that were found together come a line each.
    private static func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }

    /// An error of the machine or the host.
    package init(_ error: MachineError) {
        switch error {
        case .spec(let text): self.init(.invalid, Self.lines(text))
        case .host(let text): self.init(.failed, Self.lines(text))
        }
    }
}
