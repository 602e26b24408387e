/// One thing that is wrong with a configuration, or that a lenient reading passed over.
package struct SpecIssue: Sendable, Equatable, CustomStringConvertible {
    /// What sort of mistake it is; the API turns `.duplicate` into 409 and the rest into 400.
    package enum Kind: Sendable, Equatable {
        /// The bytes are not JSON, or an option list is not one.
        case syntax
        /// A required field is absent.
        case missing
        /// A value of another type than the field has.
        case wrongType
        /// A value of the right type that the field does not allow.
        case invalid
        /// An id, path or interface that may be used once is used twice.
        case duplicate
        /// A name that Cloud Hypervisor's format does not have.
        case unknownField
        /// A part of Cloud Hypervisor's format that this version does not implement.
        case unsupported
        /// A value that has no effect beside another one.
        case ignored
    }

    /// The sort of mistake.
    package let kind: Kind
    /// Where: `$.disks[1].path` in JSON, `--disk #2: key 'path'` on the command line.
    package let path: String
    /// What was found, what is allowed, what to do; one line.
    package let message: String

    /// An issue at a place.
    package init(_ kind: Kind, _ path: String, _ message: String) {
        self.kind = kind
        self.path = path
        self.message = message
    }

    /// The place and the message, on one line.
    package var description: String { "\(path): \(message)" }
}

/// Why a configuration cannot be used: everything that was found wrong with it, at most `Report.limit` issues.
package struct SpecError: Error, Sendable, Equatable, CustomStringConvertible {
    /// At least one issue.
    package let issues: [SpecIssue]

    /// An error with one issue.
    package init(_ issue: SpecIssue) { issues = [issue] }

    /// An error with several issues; nil where there are none.
    package init?(_ issues: [SpecIssue]) {
        if issues.isEmpty { return nil }
        self.issues = issues
    }

    /// One line for each issue.
    package var description: String { issues.map(\.description).joined(separator: "\n") }
}

/// What a reading does with names that Cloud Hypervisor's format does not have.
package enum ReadingMode: Sendable {
    /// They are errors: what a person writes is checked to the letter.
    case strict
    /// They are warnings, as Cloud Hypervisor's API ignores them.
    case lenient
}

/// A configuration that was read and validated, with what the reading passed over.
package struct Parsed<Config: Sendable & Equatable>: Sendable, Equatable {
    /// The configuration.
    package let config: Config
    /// What was ignored: unknown names in a lenient reading, options without effect.
    package let warnings: [SpecIssue]

    package init(config: Config, warnings: [SpecIssue] = []) { (self.config, self.warnings) = (config, warnings) }
}

/// A VM's configuration as `VMConfig.parse` and `VMConfig.fromFlags` give it.
package typealias ParsedConfig = Parsed<VMConfig>
