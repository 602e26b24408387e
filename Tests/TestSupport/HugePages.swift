import Foundation

/// Huge pages of 2 MiB that a test reserves for itself, and gives back when the last reference goes.
package final class HugePages: Sendable {
    private static let file = "/proc/sys/vm/nr_hugepages"
    private let before: Int

    private static var count: Int? {
        (try? String(contentsOfFile: file, encoding: .utf8)).flatMap {
            Int($0.trimmingCharacters(in: .whitespacesAndNewlines))
        }
    }

    private static func set(_ count: Int) {
        guard let handle = FileHandle(forWritingAtPath: file) else { return }
        handle.write(Data("\(count)\n".utf8))
        try? handle.close()
    }

    /// nil where this user may not reserve them, or the host has no room for them.
    package init?(_ wanted: Int) {
        guard let before = Self.count else { return nil }
        self.before = before
        Self.set(before + wanted)
        guard let now = Self.count, now >= before + wanted else {
            Self.set(before)
            return nil
        }
    }

    deinit { Self.set(before) }

    /// Whether a test may reserve some.
    package static var areAvailable: Bool { HugePages(4) != nil }
}
