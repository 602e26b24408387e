import Host
import Memory
import Synchronization
import Virtio

/// The entropy device (virtio 1.2 section 5.4): fills the driver's buffers from a file of the host.
package final class RandomDevice: VirtioDevice {
    package let type = VirtioType.entropy
    package let id: String
    package let features: UInt64 = 0
    package let queueSizes: [UInt16] = [256]
    package let configurationSize = 0
    private let source: RandomSource
    private let metrics = RandomMetrics()
    private let worker = Mutex<QueueWorker<RandomWorker>?>(nil)

    /// - Parameter path: where the bytes come from, `/dev/urandom` as a rule.
    package init(id: String, path: String) throws(HostError) {
        self.id = id
        source = try RandomSource(path)
    }

    package func configuration() -> [UInt8] { [] }
    package func writeConfiguration(offset: Int, bytes: [UInt8]) {}

    package var reading: DeviceReading {
        var reading = DeviceReading()
        reading.operations = [
            DeviceReading.Operation("read", requests: metrics.requests.value, bytes: metrics.bytes.value)
        ]
        reading.errors = metrics.errors.value
        reading.counters = [
            DeviceCounter("read_bytes", metrics.bytes.value), DeviceCounter("read_ops", metrics.requests.value),
        ]
        return reading
    }

    package func activate(_ activation: VirtioActivation) throws(VirtioError) {
        guard let queue = try ServedQueue(activation, 0) else { return }
        do throws(HostError) {
            let started = try QueueWorker("rng", RandomWorker(queue: queue, source: source, metrics: metrics))
            worker.withLock { $0 = started }
        } catch {
            throw .host(error)
        }
    }

    package func deactivate() -> [Int: QueueProgress] {
        let running = worker.withLock { worker in
            defer { worker = nil }
            return worker
        }
        guard let body = running?.stop() else { return [:] }
        return [0: body.queue.progress]
    }
}

/// An open source of random bytes.
final class RandomSource: Sendable {
    let file: FileDescriptor
    init(_ path: String) throws(HostError) { file = try FileDescriptor.openForReading(path) }
}

/// What the worker counts.
final class RandomMetrics: Sendable {
    let requests = SoloCounter(), bytes = SoloCounter(), errors = SoloCounter()
}

/// The queue's thread.
struct RandomWorker: WorkerBody, ~Copyable {
    var queue: ServedQueue
    let source: RandomSource
    private let metrics: RandomMetrics
    /// The most bytes of one request; a driver asks for few.
    private static let limit = 64 << 10

    init(queue: consuming ServedQueue, source: RandomSource, metrics: RandomMetrics) {
        self.queue = queue
        self.metrics = metrics
        self.source = source
    }

    borrowing func register(with epoll: borrowing Epoll) throws(HostError) {
        try epoll.add(queue.resources.kick.raw, [.readable, .edgeTriggered], token: 1)
    }

    mutating func begin(_ epoll: borrowing Epoll) { serve() }
    mutating func ready(_ token: UInt64, _ interest: Epoll.Interest, _ epoll: borrowing Epoll) { serve() }

    private mutating func serve() {
        let (source, metrics) = (source, metrics)
        queue.serve { chain in
            let wanted = min(chain.writableBytes, Self.limit)
            guard wanted > 0 else { return 0 }
            // A source that runs dry or fails gives fewer bytes; the driver asks again.
            guard let count = try? source.file.read(into: chain.writable(from: 0, count: wanted)) else {
                metrics.errors.add()
                return 0
            }
            metrics.requests.add()
            metrics.bytes.add(UInt64(count))
            return count
        }
    }
}
