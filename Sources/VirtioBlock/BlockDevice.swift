import Host
import Memory
import Snapshot
import Synchronization
import Virtio

/// How a disk looks to its guest.
package struct BlockSettings: Equatable, Sendable {
    /// Queues, and the largest size of each.
    package var queues = 1
    package var queueSize: UInt16 = 128
    /// The answer to a request for the disk's name, at most 20 bytes.
    package var serial = ""
    /// The host processors that each queue's worker runs on, by queue.
    package var affinity: [Int: [Int]] = [:]

    package init() {}
}

/// The block device (virtio 1.2 section 5.2): one worker thread for each queue.
package final class BlockDevice: VirtioDevice {
    package let type = VirtioType.block
    package let id: String
    package let queueSizes: [UInt16]
    package let configurationSize = 60
    package let features: UInt64
    /// What it did so far.
    package let metrics: BlockMetrics
    let image: DiskImage
    let settings: BlockSettings
    private let workers = Mutex<[QueueWorker<BlockWorker>]>([])

    enum Feature {
        static let segmentMaximum: UInt64 = 1 << 2
        static let readOnly: UInt64 = 1 << 5
        static let blockSize: UInt64 = 1 << 6
        static let flush: UInt64 = 1 << 9
        static let topology: UInt64 = 1 << 10
        static let multiQueue: UInt64 = 1 << 12
        static let discard: UInt64 = 1 << 13
        static let writeZeroes: UInt64 = 1 << 14
    }

    /// The most sectors of one discard or write-zeroes range: 2 GiB.
    static let rangeLimit: UInt32 = 4 << 20
    /// The most ranges of one such request.
    static let rangeCount: UInt32 = 16

    package init(id: String, _ image: DiskImage, _ settings: BlockSettings) {
        self.id = id
        self.image = image
        self.settings = settings
        queueSizes = Array(repeating: settings.queueSize, count: max(settings.queues, 1))
        metrics = BlockMetrics(queues: queueSizes.count)
        var features = Feature.segmentMaximum | Feature.blockSize | Feature.flush | Feature.topology
        if image.options.readOnly {
            features |= Feature.readOnly
        } else {
            features |= Feature.writeZeroes
            if image.geometry.canDiscard { features |= Feature.discard }
        }
        if queueSizes.count > 1 { features |= Feature.multiQueue }
        self.features = features
    }

    /// The configuration space (5.2.4).
    package func configuration() -> [UInt8] {
        var bytes: [UInt8] = []
        func add(_ value: UInt64, _ size: Int) {
            for index in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
        }
        let logical = image.geometry.logicalBlockSize
        let blocksAtOnce = max(image.geometry.physicalBlockSize / logical, 1)
        add(image.size / DiskImage.sectorSize, 8)
        add(0, 4)  // size_max: no limit
        add(UInt64(max(Int(settings.queueSize) - 2, 1)), 4)
        add(0, 4)  // geometry
        add(UInt64(logical), 4)
        add(UInt64(blocksAtOnce.trailingZeroBitCount), 1)
        add(0, 1)  // alignment offset
        add(UInt64(blocksAtOnce), 2)
        add(0, 4)  // optimal size
        add(1, 1)  // write-back cache
        add(0, 1)
        add(UInt64(queueSizes.count), 2)
        add(UInt64(Self.rangeLimit), 4)
        add(UInt64(Self.rangeCount), 4)
        add(UInt64(max(logical, 4096)) / DiskImage.sectorSize, 4)
        add(UInt64(Self.rangeLimit), 4)
        add(UInt64(Self.rangeCount), 4)
        add(1, 1)
        add(0, 3)
        return bytes
    }

    package func writeConfiguration(offset: Int, bytes: [UInt8]) {}

    package var reading: DeviceReading { metrics.reading }

    package func activate(_ activation: VirtioActivation) throws(VirtioError) {
        var started: [QueueWorker<BlockWorker>] = []
        do throws(HostError) {
            for index in queueSizes.indices {
                let queue: ServedQueue
                do throws(VirtioError) {
                    guard let served = try ServedQueue(activation, index) else { continue }
                    queue = served
                } catch {
                    for worker in started { _ = worker.stop() }
                    throw HostError("use queue \(index) (\(error))", id, .invalid)
                }
                let writeThrough = activation.features & Feature.flush == 0
                let body = BlockWorker(
                    queue: queue, image: image, serial: settings.serial, metrics: metrics.queues[index],
                    writeThrough: writeThrough)
                started.append(try QueueWorker("\(id.suffix(11))-q\(index)", body))
                if let processors = settings.affinity[index] { try started.last?.pin(to: processors) }
            }
        } catch {
            for worker in started { _ = worker.stop() }
            throw .host(error)
        }
        workers.withLock { $0 = started }
    }

    package func save(to document: inout StateDocument, as name: String) throws(SnapshotError) {
        try document.add(BlockState(size: image.size, isReadOnly: image.options.readOnly), as: name)
    }

    package func restore(from document: StateDocument, as name: String) throws(SnapshotError) {
        let state = try document.read(BlockState.self, of: name)
        let fields = StateFields(name)
        try fields.check(
            "size", image.size >= state.size,
            "the disk \(image.options.path) has \(image.size) bytes now, and had \(state.size) when the snapshot was taken"
        )
        try fields.check(
            "isReadOnly", state.isReadOnly || !image.options.readOnly,
            "the disk \(image.options.path) is read-only now, and was not when the snapshot was taken")
    }

    package func deactivate() -> [Int: QueueProgress] {
        let running = workers.withLock { workers in
            defer { workers = [] }
            return workers
        }
        var progress: [Int: QueueProgress] = [:]
        for worker in running {
            if let body = worker.stop() { progress[body.queue.resources.index] = body.queue.progress }
        }
        return progress
    }
}
