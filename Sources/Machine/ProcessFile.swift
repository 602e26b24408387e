import Host
import Spec

/// A file that the process writes for its user, not for the VM: its log, its events. The VM must not have it too.
package struct ProcessFile: Equatable, Sendable {
    /// The option that names it.
    package let option: String
    /// Where it is; it need not exist yet.
    package let path: String

    package init(option: String, path: String) { (self.option, self.path) = (option, path) }

    /// The file as it is now; nil where none is, and for what keeps no bytes, such as a terminal.
    package var identity: FileIdentity? { FileIdentity(ofStorage: path) }

    /// Whether both are one file, or will be.
    package func isSameFile(as other: String) -> Bool {
        if let identity { return identity == FileIdentity(ofStorage: other) }
        return path == other && FileIdentity(following: path) == nil
    }

    /// What is wrong with another use of the file, by whatever name, and what to do.
    package func problem(_ name: String) -> String {
        "\(JSONValue.string(name).text()) is the file of \(option), which this process writes; name another"
    }
}
