import Host
import Memory
import Snapshot
import Synchronization
import Virtio

/// The network device (virtio 1.2 section 5.1): one worker for each pair of queues, the control queue with the first.
package final class NetDevice: VirtioDevice {
    package let type = VirtioType.net
    package let id: String
    package let features: UInt64
    package let queueSizes: [UInt16]
    /// MAC, status, number of pairs, MTU.
    package let configurationSize = 12
    /// What it did so far.
    package let metrics: NetMetrics
    private let backend: NetBackend
    private let settings: NetSettings
    private let workers = Mutex<[QueueWorker<NetWorker>]>([])
    /// How many pairs the driver asked for, while there is one.
    private let pairs = ActivePairs()

    /// Feature bits (5.1.3).
    enum Feature {
        static let checksum: UInt64 = 1 << 0
        static let guestChecksum: UInt64 = 1 << 1
        static let mtu: UInt64 = 1 << 3
        static let mac: UInt64 = 1 << 5
        static let guestTSO4: UInt64 = 1 << 7, guestTSO6: UInt64 = 1 << 8
        static let guestECN: UInt64 = 1 << 9, guestUFO: UInt64 = 1 << 10
        static let hostTSO4: UInt64 = 1 << 11, hostTSO6: UInt64 = 1 << 12
        static let hostECN: UInt64 = 1 << 13, hostUFO: UInt64 = 1 << 14
        static let mergeableBuffers: UInt64 = 1 << 15
        static let status: UInt64 = 1 << 16
        static let controlQueue: UInt64 = 1 << 17
        static let announce: UInt64 = 1 << 21
        static let multiQueue: UInt64 = 1 << 22
    }

    package init(id: String, _ backend: NetBackend, _ settings: NetSettings) {
        self.id = id
        self.backend = backend
        self.settings = settings
        var features = Feature.mac | Feature.status | Feature.mergeableBuffers
        if settings.mtu != nil { features |= Feature.mtu }
        if settings.offloadChecksum { features |= Feature.checksum | Feature.guestChecksum }
        if settings.offloadChecksum, settings.offloadTSO {
            features |= Feature.guestTSO4 | Feature.guestTSO6 | Feature.guestECN
            features |= Feature.hostTSO4 | Feature.hostTSO6 | Feature.hostECN
        }
        // Linux takes UDP fragmentation back from 4.14 on but still accepts packets of guests that do it.
        if settings.offloadChecksum, settings.offloadUFO { features |= Feature.guestUFO | Feature.hostUFO }
        features |= Feature.controlQueue | Feature.announce
        if settings.pairs > 1 { features |= Feature.multiQueue }
        self.features = features
        queueSizes = Array(repeating: settings.queueSize, count: 2 * max(settings.pairs, 1)) + [64]
        metrics = NetMetrics(pairs: max(settings.pairs, 1))
    }

    package func configuration() -> [UInt8] {
        let pairs = UInt16(clamping: settings.pairs)
        let mtu = UInt16(clamping: settings.mtu ?? 1500)
        // The link is always up (VIRTIO_NET_S_LINK_UP).
        return settings.mac + [self.pairs.isAnnouncing ? 3 : 1, 0]
            + [pairs, mtu].flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
    }

    package func writeConfiguration(offset: Int, bytes: [UInt8]) {}

    package var reading: DeviceReading { metrics.reading }

    package func activate(_ activation: VirtioActivation) throws(VirtioError) {
        var started: [QueueWorker<NetWorker>] = []
        do throws(VirtioError) {
            // Without multi-queue the control queue follows the first pair (5.1.2).
            let multiQueue = activation.features & Feature.multiQueue != 0
            let control = multiQueue ? queueSizes.count - 1 : 2
            try host { () throws(HostError) in try prepareTaps(activation.features) }
            for pair in backend.queues.indices {
                if pair > 0, !multiQueue { break }
                guard let receive = try ServedQueue(activation, 2 * pair),
                    let transmit = try ServedQueue(activation, 2 * pair + 1)
                else { continue }
                let body = NetWorker(
                    queues: NetQueues(
                        receive: receive, transmit: transmit,
                        control: pair == 0 ? try ServedQueue(activation, control) : nil,
                        kick: pair == 0 ? activation.queue(control)?.kick : nil),
                    backend: backend, pair: (pair, pairs), features: activation.features,
                    metrics: metrics.pairs[pair])
                let name = "\(id.suffix(12))-p\(pair)"
                started.append(try Self.start(name, body))
            }
        } catch {
            for worker in started { _ = worker.stop() }
            throw error
        }
        workers.withLock { $0 = started }
        if pairs.isAnnouncing {
            if activation.features & Feature.announce != 0 {
                activation.transport.configurationChanged()
            } else {
                pairs.isAnnouncing = false
            }
        }
    }

    /// Has the network learn where the guest is now: a packet in its name from the tap at once, and the guest's own
    /// announcement when it goes on. While the device stands still.
    package func announceArrival() {
        pairs.isAnnouncing = true
        backend.announce(settings.mac)
    }

    private static func start(_ name: String, _ body: consuming sending NetWorker) throws(VirtioError) -> QueueWorker<
        NetWorker
    > {
        do throws(HostError) { return try QueueWorker(name, body) } catch { throw .host(error) }
    }

    private func host(_ body: () throws(HostError) -> Void) throws(VirtioError) {
        do throws(HostError) { try body() } catch { throw .host(error) }
    }

    /// Tells the taps what the driver takes unfinished, and gives packets to the pairs that the driver asked for: the
    /// first one, until it does.
    private func prepareTaps(_ features: UInt64) throws(HostError) {
        var offloads: UInt32 = 0
        if features & Feature.guestChecksum != 0 { offloads |= 1 }
        if features & Feature.guestTSO4 != 0 { offloads |= 2 }
        if features & Feature.guestTSO6 != 0 { offloads |= 4 }
        if features & Feature.guestECN != 0, offloads & 6 != 0 { offloads |= 8 }
        if features & Feature.guestUFO != 0 { offloads |= 16 }
        for (index, queue) in backend.queues.enumerated() {
            do throws(HostError) {
                try queue.tap.setOffloads(offloads)
            } catch {
                // Kernels without UDP fragmentation refuse its bit.
                try queue.tap.setOffloads(offloads & ~16)
            }
            if index > 0 { try? queue.tap.setEnabled(index < pairs.count) }
        }
    }

    package func reset() {
        pairs.count = 1
        pairs.isAnnouncing = false
    }

    package func save(to document: inout StateDocument, as name: String) throws(SnapshotError) {
        try document.add(NetState(pairs: pairs.count), as: name)
    }

    package func restore(from document: StateDocument, as name: String) throws(SnapshotError) {
        let state = try document.read(NetState.self, of: name)
        try StateFields(name).check(
            "pairs", (1...max(backend.queues.count, 1)).contains(state.pairs),
            "\(state.pairs) pairs of queues are in use, where the device has \(backend.queues.count)")
        pairs.count = state.pairs
    }

    package func deactivate() -> [Int: QueueProgress] {
        let running = workers.withLock { workers in
            defer { workers = [] }
            return workers
        }
        var progress: [Int: QueueProgress] = [:]
        for worker in running {
            guard let body = worker.stop() else { continue }
            body.queues.collect(&progress)
        }
        return progress
    }
}
