import Host

/// Why a migration does not go on.
package struct MigrationError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What sort of thing happened, for code that decides by it.
    package enum Kind: Equatable, Sendable {
        /// Somebody here asked for its end.
        case cancelled
        /// Its time was up.
        case timeUp
        /// The connection broke, or the peer fell silent.
        case connection
        /// The peer said something that the protocol has no place for.
        case violation
        /// The peer gave up and said why: it holds nothing of the machine and will not run it.
        case refused
        /// The machine here, or its host.
        case machine
        /// What was asked for cannot be.
        case invalid
    }

    /// The sort.
    package let kind: Kind
    /// What happened, one line for each reason; at least one.
    package let reasons: [String]

    package init(_ kind: Kind, _ reasons: [String]) {
        self.kind = kind
        self.reasons = reasons.isEmpty ? ["no reason was given"] : reasons
    }

    package init(_ kind: Kind, _ words: String) { self.init(kind, [words]) }

    /// What kept bytes from going over a connection, while something was done.
    init(fault: StreamFault, _ what: String) {
        switch fault {
        case .cancelled: self.init(.cancelled, "the migration was cancelled")
        case .timeUp, .closed, .host, .untrusted, .unencrypted: self.init(.connection, "\(what): \(fault)")
        }
    }

    static func violation(_ words: String) -> MigrationError {
        MigrationError(.violation, "\(words); is the peer another program, or of another version?")
    }

    package var description: String { reasons.joined(separator: "; ") }
}
