import Synchronization

/// Counters of a vsock device since its start, over the guest's reboots; any thread may read them.
///
/// Ordering of all: relaxed, for each counter stands for itself.
package final class VsockMetrics: Sendable {
    /// Packets from the guest and to it, of every kind.
    package let packetsFromGuest = Atomic<UInt64>(0), packetsToGuest = Atomic<UInt64>(0)
    /// Bytes of streams from the guest and to it.
    package let bytesFromGuest = Atomic<UInt64>(0), bytesToGuest = Atomic<UInt64>(0)
    /// Connections that came about, by who asked for them.
    package let openedByHost = Atomic<UInt64>(0), openedByGuest = Atomic<UInt64>(0)
    /// Connections that one side asked for and that did not come about.
    package let refused = Atomic<UInt64>(0)
    /// Connections, with those that are only asked for, that exist now.
    package let open = Atomic<UInt64>(0)
    /// Packets, buffers and handshakes that broke a rule.
    package let malformed = Atomic<UInt64>(0)

    package init() {}
}

extension Atomic where Value == UInt64 {
    /// Counts up.
    borrowing func count(_ amount: UInt64 = 1) { wrappingAdd(amount, ordering: .relaxed) }
}
