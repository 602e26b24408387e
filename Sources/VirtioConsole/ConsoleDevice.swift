import CharBackend
import Host
import Memory
import Snapshot
import Synchronization
import Virtio

/// The console device with one port (virtio 1.2 section 5.3): Linux's `hvc0`.
package final class ConsoleDevice: VirtioDevice {
    package let type = VirtioType.console
    package let id: String
    /// VIRTIO_CONSOLE_F_SIZE.
    package let features: UInt64 = 1
    package let queueSizes: [UInt16] = [256, 256]
    /// Columns and rows, two bytes each, then the number of ports and the emergency write register.
    package let configurationSize = 12

    private struct State {
        var size: (columns: UInt16, rows: UInt16)
        var transport: (any VirtioTransport)?
        var worker: QueueWorker<ConsoleWorker>?
        /// How much of the guest's next output the host has already, while the device stands still.
        var written = 0
    }

    private let port: CharPort
    private let input: ConsoleInput
    private let state: Mutex<State>
    private let metrics = ConsoleMetrics()

    /// - Parameter size: the terminal's size in characters, 0 by 0 when it has none.
    package init(id: String, _ port: CharPort, size: (columns: UInt16, rows: UInt16)) throws(HostError) {
        self.id = id
        self.port = port
        input = try ConsoleInput(port)
        state = Mutex(State(size: size))
    }

    package func configuration() -> [UInt8] {
        let size = state.withLock { $0.size }
        return [size.columns, size.rows].flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] } + [1, 0, 0, 0, 0, 0, 0, 0]
    }

    package func writeConfiguration(offset: Int, bytes: [UInt8]) {}

    /// What went over its line, other lives of the guest included.
    package var reading: DeviceReading {
        var reading = DeviceReading()
        reading.operations = [
            DeviceReading.Operation("read", requests: metrics.reads.value, bytes: metrics.readBytes.value),
            DeviceReading.Operation("write", requests: metrics.writes.value, bytes: metrics.writtenBytes.value),
        ]
        reading.counters = [
            DeviceCounter("rx_bytes", port.delivered), DeviceCounter("tx_bytes", port.written),
        ]
        return reading
    }

    /// The terminal has another size now; the guest is told.
    package func resize(columns: UInt16, rows: UInt16) {
        let transport = state.withLock { state -> (any VirtioTransport)? in
            guard state.size != (columns, rows) else { return nil }
            state.size = (columns, rows)
            return state.transport
        }
        transport?.configurationChanged()
    }

    package func activate(_ activation: VirtioActivation) throws(VirtioError) {
        guard let receive = try ServedQueue(activation, 0), let transmit = try ServedQueue(activation, 1) else {
            return
        }
        do throws(HostError) {
            let body = ConsoleWorker(
                receive: receive, transmit: transmit, ConsoleLine(port: port, input: input, metrics: metrics),
                written: state.withLock { $0.written })
            let worker = try QueueWorker("console", body)
            state.withLock { state in
                state.worker = worker
                state.transport = activation.transport
            }
            port.connect(input)
            // Linux takes the size over at a change alone, also the first time.
            let size = state.withLock { $0.size }
            if activation.features & features != 0, size != (0, 0) { activation.transport.configurationChanged() }
        } catch {
            throw .host(error)
        }
    }

    package func deactivate() -> [Int: QueueProgress] {
        let worker = state.withLock { state in
            defer { (state.worker, state.transport) = (nil, nil) }
            return state.worker
        }
        port.connect(nil)
        guard let body = worker?.stop() else { return [:] }
        let written = body.written
        state.withLock { $0.written = written }
        return [0: body.receive.progress, 1: body.transmit.progress]
    }

    package func reset() { state.withLock { $0.written = 0 } }

    package func save(to document: inout StateDocument, as name: String) throws(SnapshotError) {
        try document.add(
            ConsoleState(received: RawBytes(input.all), written: state.withLock { $0.written }), as: name)
    }

    package func restore(from document: StateDocument, as name: String) throws(SnapshotError) {
        let saved = try document.read(ConsoleState.self, of: name)
        let fields = StateFields(name)
        try fields.check(
            "received", saved.received.bytes.count <= ConsoleInput.capacity,
            "\(saved.received.bytes.count) bytes wait, where there is room for \(ConsoleInput.capacity)")
        try fields.check(
            "written", (0...Int(UInt32.max)).contains(saved.written), "\(saved.written) bytes of one output are written"
        )
        input.receive(saved.received.bytes)
        state.withLock { $0.written = saved.written }
    }
}

/// What a snapshot keeps of a console beside its queues.
package struct ConsoleState: SavedState {
    package static let kind = "virtio-console"
    package static let version = 1

    /// What came from outside and waits for the driver's buffers.
    package var received: RawBytes
    /// How many bytes of the chain next in the transmit queue the host has already.
    package var written: Int
}

/// A worker's way to the host.
struct ConsoleLine {
    let port: CharPort
    let input: ConsoleInput
    let metrics: ConsoleMetrics
}

/// What came from outside and waits for the driver's buffers; and the event that wakes the worker for it.
final class ConsoleInput: CharReceiver {
    /// Bytes that wait at most.
    static let capacity = 4096
    private let port: CharPort
    private let waiting = Mutex<[UInt8]>([])
    let event: EventFD

    init(_ port: CharPort) throws(HostError) {
        self.port = port
        event = try EventFD()
        waiting.withLock { $0.reserveCapacity(Self.capacity) }
    }

    var inputRoom: Int { waiting.withLock { Self.capacity - $0.count } }

    func receive(_ bytes: [UInt8]) {
        waiting.withLock { $0 += bytes }
        event.signal()
    }

    func outputDrained() { event.signal() }

    /// All that waits.
    var all: [UInt8] { waiting.withLock { $0 } }

    var isEmpty: Bool { waiting.withLock { $0.isEmpty } }

    /// Moves the oldest bytes into a buffer, at most `limit` and as many as it holds; how many.
    func take(_ limit: Int, into buffer: inout [UInt8]) -> Int {
        let (count, freed) = waiting.withLock { waiting -> (Int, Bool) in
            let count = min(limit, min(waiting.count, buffer.count))
            for index in 0..<count { buffer[index] = waiting[index] }
            let full = waiting.count == Self.capacity
            waiting.removeFirst(count)
            return (count, full && count > 0)
        }
        if freed { port.inputRoomAvailable() }
        return count
    }
}

/// What the worker counts.
final class ConsoleMetrics: Sendable {
    let reads = SoloCounter(), readBytes = SoloCounter(), writes = SoloCounter(), writtenBytes = SoloCounter()
}

/// The thread of both queues.
struct ConsoleWorker: WorkerBody, ~Copyable {
    var receive: ServedQueue
    var transmit: ServedQueue
    private let port: CharPort
    private let input: ConsoleInput
    private let metrics: ConsoleMetrics
    /// How much of the chain at hand was already written, while the host does not take more.
    private(set) var written: Int
    /// What is on its way between a chain and the host; kept, so that a kick allocates nothing.
    private(set) var buffer = [UInt8](repeating: 0, count: ConsoleInput.capacity)

    init(
        receive: consuming ServedQueue, transmit: consuming ServedQueue, _ line: ConsoleLine, written: Int
    ) {
        self.receive = receive
        self.transmit = transmit
        (port, input, metrics) = (line.port, line.input, line.metrics)
        self.written = written
    }

    borrowing func register(with epoll: borrowing Epoll) throws(HostError) {
        try epoll.add(receive.resources.kick.raw, [.readable, .edgeTriggered], token: 1)
        try epoll.add(transmit.resources.kick.raw, [.readable, .edgeTriggered], token: 2)
        try epoll.add(input.event.raw, [.readable, .edgeTriggered], token: 3)
    }

    mutating func begin(_ epoll: borrowing Epoll) {
        serveTransmit()
        serveReceive()
    }

    mutating func ready(_ token: UInt64, _ interest: Epoll.Interest, _ epoll: borrowing Epoll) {
        if token != 1 { serveTransmit() }
        if token != 2 { serveReceive() }
    }

    private mutating func serveReceive() {
        let (input, metrics) = (input, metrics)
        // A queue that is being served and the buffer beside it cannot both be reached through this value.
        var bytes: [UInt8] = []
        swap(&bytes, &buffer)
        receive.serve { chain in
            guard !input.isEmpty else { return nil }
            let count = input.take(chain.writableBytes, into: &bytes)
            metrics.reads.add()
            metrics.readBytes.add(UInt64(count))
            return chain.write(bytes.span.extracting(0..<count), at: 0)
        }
        swap(&bytes, &buffer)
    }

    private mutating func serveTransmit() {
        let (port, metrics) = (port, metrics)
        var done = written
        var bytes: [UInt8] = []
        swap(&bytes, &buffer)
        transmit.serve { chain in
            while done < chain.readableBytes {
                var span = bytes.mutableSpan
                let count = chain.read(at: done, into: &span)
                let taken = port.write(bytes.span.extracting(0..<count))
                done += taken
                // The rest goes when the host has caught up: `outputDrained` wakes this worker.
                if taken < count { return nil }
            }
            metrics.writes.add()
            metrics.writtenBytes.add(UInt64(done))
            done = 0
            return 0
        }
        swap(&bytes, &buffer)
        written = done
    }
}
