import CLinux
import Synchronization

/// Descriptors that came over a Unix socket (SCM_RIGHTS), in the order in which they came; those that nobody takes are
/// closed with it.
package final class ReceivedDescriptors: Sendable {
    private let raw: Mutex<[Int32]>

    /// - Parameter owned: descriptors' numbers, which belong to this object from here on.
    package init(owning owned: [Int32] = []) { raw = Mutex(owned) }

    /// How many nobody has taken.
    package var count: Int { raw.withLock { $0.count } }

    /// Adds descriptors that came later.
    package func append(owning owned: [Int32]) { raw.withLock { $0 += owned } }

    /// Moves all of another object's descriptors here, behind those that are here already.
    package func append(_ other: ReceivedDescriptors) {
        let moved = other.raw.withLock { list in
            defer { list = [] }
            return list
        }
        append(owning: moved)
    }

    /// The first descriptor, which belongs to the caller from here on; nil when none is left.
    package func takeFirst() -> FileDescriptor? {
        let first = raw.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        guard let first else { return nil }
        return FileDescriptor(owning: first)
    }

    deinit {
        while let descriptor = takeFirst() { _ = consume descriptor }
    }
}
