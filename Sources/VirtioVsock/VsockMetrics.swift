import Synchronization
import Virtio

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

    /// The same as every device tells it; what was refused or broke a rule counts as an error.
    var reading: DeviceReading {
        let (toGuest, fromGuest) = (bytesToGuest.load(ordering: .relaxed), bytesFromGuest.load(ordering: .relaxed))
        let received = DeviceReading.Operation(
            "rx", requests: packetsToGuest.load(ordering: .relaxed), bytes: toGuest)
        let sent = DeviceReading.Operation(
            "tx", requests: packetsFromGuest.load(ordering: .relaxed), bytes: fromGuest)
        var reading = DeviceReading()
        reading.operations = [received, sent]
        reading.errors = malformed.load(ordering: .relaxed) &+ refused.load(ordering: .relaxed)
        reading.streams = open.load(ordering: .relaxed)
        reading.counters = [
            DeviceCounter("rx_bytes", toGuest), DeviceCounter("rx_packets", received.requests),
            DeviceCounter("tx_bytes", fromGuest), DeviceCounter("tx_packets", sent.requests),
        ]
        return reading
    }
}

extension Atomic where Value == UInt64 {
    /// Counts up.
    borrowing func count(_ amount: UInt64 = 1) { wrappingAdd(amount, ordering: .relaxed) }
}
