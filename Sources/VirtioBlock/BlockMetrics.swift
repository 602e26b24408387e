import Virtio

/// What a disk has done since it was made.
package final class BlockMetrics: Sendable {
    /// By queue: each has a worker that alone counts there.
    let queues: [BlockQueueMetrics]

    init(queues count: Int) { queues = (0..<count).map { _ in BlockQueueMetrics() } }

    /// All queues together.
    package var reading: DeviceReading {
        var reading = DeviceReading()
        let read = operation("read", \.read), write = operation("write", \.write)
        reading.operations = [
            read, write, operation("flush", \.flush), operation("discard", \.discard),
            operation("write_zeroes", \.writeZeroes), operation("get_id", \.getID),
        ]
        reading.errors = queues.reduce(0) { $0 &+ $1.errors.value }
        reading.depths = queues.enumerated().map { ($0.offset, $0.element.depth.value) }
        reading.counters = [
            DeviceCounter("read_bytes", read.bytes), DeviceCounter("write_bytes", write.bytes),
            DeviceCounter("read_ops", read.requests), DeviceCounter("write_ops", write.requests),
        ]
        for operation in [read, write] {
            // Microseconds; 0 as long as there was no request.
            let latency = operation.latency ?? LatencyReading()
            let shortest = latency.count == 0 ? 0 : latency.shortest / 1000
            reading.counters += [
                DeviceCounter("\(operation.name)_latency_min", shortest),
                DeviceCounter("\(operation.name)_latency_max", latency.longest / 1000),
                DeviceCounter("\(operation.name)_latency_avg", latency.mean / 1000),
            ]
        }
        return reading
    }

    private func operation(
        _ name: String, _ recorder: (BlockQueueMetrics) -> OperationRecorder
    ) -> DeviceReading.Operation {
        var latency = LatencyReading()
        var (requests, bytes): (UInt64, UInt64) = (0, 0)
        for queue in queues {
            let recorded = recorder(queue)
            requests &+= recorded.requests
            bytes &+= recorded.bytes
            latency.add(recorded.latency)
        }
        return DeviceReading.Operation(name, requests: requests, bytes: bytes, latency: latency)
    }
}

/// What one queue of a disk has done.
final class BlockQueueMetrics: Sendable {
    let read = OperationRecorder(), write = OperationRecorder(), flush = OperationRecorder()
    let discard = OperationRecorder(), writeZeroes = OperationRecorder(), getID = OperationRecorder()
    let errors = SoloCounter()
    let depth = QueueDepth()

    /// Where requests of a kind are recorded; nil for one that no disk knows.
    @inline(__always)
    func recorder(_ request: BlockRequest) -> OperationRecorder? {
        switch request {
        case .read: read
        case .write: write
        case .flush: flush
        case .discard: discard
        case .writeZeroes: writeZeroes
        case .getID: getID
        case .unsupported: nil
        }
    }
}
