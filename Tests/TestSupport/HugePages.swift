import Foundation
import Synchronization

/// Huge pages of 2 MiB that a test reserves for itself, and gives back when the last reference goes.
package final class HugePages: Sendable {
    private static let file = "/proc/sys/vm/nr_hugepages"
    /// Held while the number changes: others reserve some at the same time.
    private static let turn = Mutex(())
    private let count: Int

    private static var all: Int? {
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
        count = wanted
        let isDone = Self.turn.withLock { _ in
            guard let before = Self.all else { return false }
            Self.set(before + wanted)
            guard let now = Self.all, now >= before + wanted else {
                Self.set(before)
                return false
            }
            return true
        }
        guard isDone else { return nil }
    }

    deinit {
        Self.turn.withLock { [count] _ in
            if let all = Self.all { Self.set(max(0, all - count)) }
        }
    }

    /// Whether a test may reserve some.
    package static var areAvailable: Bool { HugePages(4) != nil }
}
