import Virtio

/// What a network device has done since it was made.
package final class NetMetrics: Sendable {
    /// By pair of queues: each has a worker that alone counts there.
    let pairs: [NetPairMetrics]

    init(pairs count: Int) { pairs = (0..<count).map { _ in NetPairMetrics() } }

    /// All pairs together.
    package var reading: DeviceReading {
        var (received, sent) = (
            DeviceReading.Operation("rx", requests: 0, bytes: 0), DeviceReading.Operation("tx", requests: 0, bytes: 0)
        )
        var drops: UInt64 = 0
        for pair in pairs {
            received.requests &+= pair.framesReceived.value
            received.bytes &+= pair.bytesReceived.value
            sent.requests &+= pair.framesSent.value
            sent.bytes &+= pair.bytesSent.value
            drops &+= pair.drops.value
        }
        var reading = DeviceReading()
        reading.operations = [received, sent]
        reading.drops = drops
        reading.depths = pairs.enumerated().map { (2 * $0.offset + 1, $0.element.transmitDepth.value) }
        reading.counters = [
            DeviceCounter("rx_bytes", received.bytes), DeviceCounter("rx_frames", received.requests),
            DeviceCounter("tx_bytes", sent.bytes), DeviceCounter("tx_frames", sent.requests),
        ]
        return reading
    }
}

/// What one pair of queues has done; frames without the virtio header.
final class NetPairMetrics: Sendable {
    /// To the guest, and from it.
    let framesReceived = SoloCounter(), bytesReceived = SoloCounter()
    let framesSent = SoloCounter(), bytesSent = SoloCounter()
    /// Frames lost on either way.
    let drops = SoloCounter()
    let transmitDepth = QueueDepth()
    /// Keeps the next pair's counters, which another thread raises, out of the cache line of these.
    private let padding = InlineArray<8, UInt64>(repeating: 0)
}
