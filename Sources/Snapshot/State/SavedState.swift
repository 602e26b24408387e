/// The state of one device, vCPU or chip as a snapshot keeps it.
///
/// A type of this protocol stands beside the code that owns the state. Changing its JSON raises `version`, adds the old
/// one to `readableVersions`, and teaches `decodeState` to read it: a version once released stays readable.
package protocol SavedState: Codable, Sendable, Equatable {
    /// What it is the state of, for example `vcpu`; the same for all devices of a sort.
    static var kind: String { get }
    /// The version that is written, from 1.
    static var version: Int { get }
    /// The versions that `decodeState` reads.
    static var readableVersions: [Int] { get }

    /// Decodes one of `readableVersions`.
    ///
    /// - Parameters:
    ///   - version: the section's.
    ///   - decoder: at the section's `state`.
    static func decodeState(version: Int, from decoder: any Decoder) throws -> Self
}

extension SavedState {
    /// Only its own version.
    package static var readableVersions: [Int] { [version] }

    /// Decodes its own version.
    package static func decodeState(version: Int, from decoder: any Decoder) throws -> Self { try Self(from: decoder) }
}
