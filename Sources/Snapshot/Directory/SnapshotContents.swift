import FoundationEssentials
import Host

/// What goes into a snapshot beside the memory.
package struct SnapshotContents: Sendable {
    /// The program that writes it, with its version.
    package var writer: String
    /// The bytes of `config.json`.
    package var config: [UInt8]
    /// The bytes of `state.json`.
    package var state: [UInt8]
    /// What the host has to have.
    package var needs: SnapshotNeeds
    /// The disks' images as they are now.
    package var disks: [SnapshotDisk] = []
    /// Which of them the snapshot is to have: where they are now, by the disks' ids.
    package var images: [String: String] = [:]
    /// How they get into it.
    package var imageMode = ImageMode.either
    /// Is asked again and again while images are copied; true ends that.
    package var isCancelled: @Sendable () -> Bool = { false }
    /// The snapshot that this one is a diff to; nil for a full one.
    package var parent: Parent?

    /// Whose place the snapshot takes: it has the same content in another form.
    var origin: Manifest?

    /// A snapshot to build upon.
    package struct Parent: Equatable, Sendable {
        /// Its id.
        package var id: String
        /// Where its directory is.
        package var directory: String

        package init(id: String, directory: String) {
            self.id = id
            self.directory = directory
        }
    }

    package init(
        writer: String, config: [UInt8], state: [UInt8], needs: SnapshotNeeds = SnapshotNeeds(), parent: Parent? = nil
    ) {
        (self.writer, self.config, self.state) = (writer, config, state)
        (self.needs, self.parent) = (needs, parent)
    }
}

/// The path from one directory to another.
enum RelativePath {
    /// - Parameters:
    ///   - target: an absolute path without dots and links.
    ///   - directory: the directory to start at, as absolute.
    static func from(_ directory: String, to target: String) -> String {
        let start = directory.split(separator: "/")
        let end = target.split(separator: "/")
        let common = zip(start, end).prefix { $0 == $1 }.count
        let parts = Array(repeating: Substring(".."), count: start.count - common) + end.dropFirst(common)
        return parts.isEmpty ? "." : parts.joined(separator: "/")
    }

    /// The absolute path that a relative one leads to from a directory.
    static func joined(_ directory: String, _ path: String) -> String {
        var parts = directory.split(separator: "/")
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }
}
