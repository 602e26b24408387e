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

    /// The hardware address, six bytes, of the tap whose queue the first descriptor is; nil where it is none. It tells the
    /// tap from another of the same name in this process's network namespace.
    package var tapAddress: [UInt8]? {
        raw.withLock { list in
            guard let first = list.first else { return nil }
            var bytes = [UInt8](repeating: 0, count: 6)
            // SAFETY: the shim fills six bytes of the array, which lives through the call.
            let result = unsafe bytes.withUnsafeMutableBufferPointer { space in
                unsafe cl_tap_get_mac(first, space.baseAddress)
            }
            return result < 0 ? nil : bytes
        }
    }

    deinit {
        while let descriptor = takeFirst() { _ = consume descriptor }
    }
}
