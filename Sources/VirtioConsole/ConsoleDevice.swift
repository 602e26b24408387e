import CharBackend
import Host
import Memory
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
            let body = ConsoleWorker(receive: receive, transmit: transmit, port: port, input: input, metrics: metrics)
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
        return [0: body.receive.progress, 1: body.transmit.progress]
    }
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
    private var written = 0
    /// What is on its way between a chain and the host; kept, so that a kick allocates nothing.
    private(set) var buffer = [UInt8](repeating: 0, count: ConsoleInput.capacity)

    init(
        receive: consuming ServedQueue, transmit: consuming ServedQueue, port: CharPort, input: ConsoleInput,
        metrics: ConsoleMetrics
    ) {
        self.receive = receive
        self.transmit = transmit
        self.port = port
        self.input = input
        self.metrics = metrics
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
