import Host
import Memory
import Virtio

/// A pair's queues, and the control queue with the first pair.
struct NetQueues: ~Copyable, Sendable {
    var receive: ServedQueue
    var transmit: ServedQueue
    var control: ServedQueue?
    /// The control queue's kick, if there is one.
    let controlKick: EventFD?

    init(
        receive: consuming ServedQueue, transmit: consuming ServedQueue, control: consuming ServedQueue?, kick: EventFD?
    ) {
        self.receive = receive
        self.transmit = transmit
        controlKick = kick
        self.control = control
    }

    /// How far the queues have been worked through.
    consuming func collect(_ progress: inout [Int: QueueProgress]) {
        progress[receive.resources.index] = receive.progress
        progress[transmit.resources.index] = transmit.progress
        if let control { progress[control.resources.index] = control.progress }
    }
}

/// A pair's thread: packets from the tap into the receive queue, from the transmit queue into the tap.
struct NetWorker: WorkerBody, ~Copyable {
    var queues: NetQueues
    private let backend: NetBackend
    /// The pair's own queue of the tap, open as long as this worker.
    private let queue: NetBackend.Queue
    private let pair: Int
    private let pairs: ActivePairs
    private let mergeable: Bool
    private let metrics: NetPairMetrics
    /// A packet that was read while the driver had too few buffers, and its length.
    private var packet = [UInt8](repeating: 0, count: NetWorker.packetLimit)
    private var pendingLength = 0
    private var tapWatched = true

    /// The longest packet with its header: an unsegmented TCP packet of 64 KiB.
    private static let packetLimit = 65_562 + TapQueue.headerSize
    private enum Token { static let receive: UInt64 = 1, transmit: UInt64 = 2, tap: UInt64 = 3, control: UInt64 = 4 }

    init(
        queues: consuming NetQueues, backend: NetBackend, pair: (index: Int, all: ActivePairs), features: UInt64,
        metrics: NetPairMetrics
    ) {
        self.queues = queues
        self.backend = backend
        queue = backend.queues[pair.index]
        (self.pair, pairs) = pair
        self.metrics = metrics
        mergeable = features & NetDevice.Feature.mergeableBuffers != 0
    }

    private var tap: Int32 { queue.tap.file.raw }

    borrowing func register(with epoll: borrowing Epoll) throws(HostError) {
        try epoll.add(queues.receive.resources.kick.raw, [.readable, .edgeTriggered], token: Token.receive)
        try epoll.add(queues.transmit.resources.kick.raw, [.readable, .edgeTriggered], token: Token.transmit)
        try epoll.add(tap, .readable, token: Token.tap)
        if let kick = queues.controlKick {
            try epoll.add(kick.raw, [.readable, .edgeTriggered], token: Token.control)
        }
    }

    mutating func begin(_ epoll: borrowing Epoll) {
        serveTransmit()
        serveControl()
        serveReceive(epoll)
    }

    mutating func ready(_ token: UInt64, _ interest: Epoll.Interest, _ epoll: borrowing Epoll) {
        switch token {
        case Token.transmit: serveTransmit()
        case Token.control: serveControl()
        default:
            serveReceive(epoll)
            // An interface that was removed stays ready with an error for ever.
            if token == Token.tap, interest.contains(.error) { epoll.remove(tap) }
        }
    }

    // MARK: From the guest

    private mutating func serveTransmit() {
        let tap = queue
        let metrics = metrics
        queues.transmit.serve(depth: metrics.transmitDepth) { chain in
            let length = chain.readableBytes
            guard length > TapQueue.headerSize, length <= Self.packetLimit else {
                metrics.drops.add()
                return 0
            }
            do throws(Errno) {
                _ = try tap.tap.file.write(chain.readable(from: 0, count: length))
                metrics.framesSent.add()
                metrics.bytesSent.add(UInt64(length - TapQueue.headerSize))
            } catch {
                // A full or downed interface, or a header that makes no sense: the packet is lost, as on a wire.
                metrics.drops.add()
            }
            return 0
        }
    }

    // MARK: To the guest

    private mutating func serveReceive(_ epoll: borrowing Epoll) {
        while !queues.receive.isBroken {
            if pendingLength == 0 {
                guard let length = readPacket() else { break }
                pendingLength = length
            }
            guard deliver() else {
                // Without buffers the tap is left alone until the driver's next kick.
                watchTap(false, epoll)
                return
            }
            pendingLength = 0
        }
        watchTap(!queues.receive.isBroken, epoll)
    }

    private mutating func watchTap(_ on: Bool, _ epoll: borrowing Epoll) {
        guard on != tapWatched else { return }
        tapWatched = on
        try? epoll.modify(tap, on ? .readable : [], token: Token.tap)
    }

    private mutating func readPacket() -> Int? {
        let queue = queue
        var span = packet.mutableSpan
        do throws(Errno) {
            let length = try queue.tap.file.read(into: &span)
            return length > TapQueue.headerSize ? length : nil
        } catch {
            return nil
        }
    }

    /// Puts the pending packet into the driver's buffers; false when there are too few.
    private mutating func deliver() -> Bool {
        do throws(VirtioError) {
            return try spread()
        } catch {
            queues.receive.fail(error)
            return true
        }
    }

    /// Copies the packet over as many chains as it takes, at most one without mergeable buffers (5.1.6.4).
    private mutating func spread() throws(VirtioError) -> Bool {
        var done = 0
        var count: UInt16 = 0
        var firstHead: UInt16 = 0
        while done < pendingLength {
            guard let chain = try queues.receive.queue.pop() else {
                if try queues.receive.queue.waiting() > 0 || queues.receive.queue.requestNotifications() { continue }
                if count == queues.receive.queue.size {
                    // All the driver's buffers together are too small for it.
                    try drop(count)
                    return true
                }
                for _ in 0..<count { queues.receive.queue.undoPop() }
                return false
            }
            let room = chain.writableBytes
            if room <= TapQueue.headerSize || (!mergeable && room < pendingLength) {
                // A buffer that is too small takes this packet with it.
                try drop(count + 1)
                return true
            }
            let part = min(room, pendingLength - done)
            if count == 0 {
                firstHead = chain.head
                // The number of buffers is known when the last one is filled; most packets need one.
                packet[10] = 1
                packet[11] = 0
            }
            chain.write(packet.span.extracting(done..<done + part), at: 0)
            queues.receive.queue.write(head: chain.head, written: part, ahead: count)
            done += part
            count += 1
        }
        if count > 1 { try rewriteCount(firstHead, count) }
        queues.receive.queue.publish(count)
        metrics.framesReceived.add()
        metrics.bytesReceived.add(UInt64(pendingLength - TapQueue.headerSize))
        notifyGuest()
        return true
    }

    /// Gives the last `count` chains back empty and forgets the packet.
    private mutating func drop(_ count: UInt16) throws(VirtioError) {
        for _ in 0..<count { queues.receive.queue.undoPop() }
        for _ in 0..<count {
            guard let chain = try queues.receive.queue.pop() else { break }
            queues.receive.queue.push(chain, written: 0)
        }
        metrics.drops.add()
        notifyGuest()
    }

    /// Says in the first buffer's header over how many buffers the packet went.
    private mutating func rewriteCount(_ head: UInt16, _ count: UInt16) throws(VirtioError) {
        for _ in 0..<count { queues.receive.queue.undoPop() }
        if let chain = try queues.receive.queue.pop() { chain.write(count.littleEndian, at: 10) }
        queues.receive.queue.skip(count - 1)
    }

    private mutating func notifyGuest() {
        if queues.receive.queue.needsInterrupt() { queues.receive.resources.interrupt.signal() }
    }

    // MARK: Control

    private struct Command: BitwiseCopyable {
        var kind: UInt8 = 0
        var number: UInt8 = 0
    }

    /// The control queue (5.1.6.5): the number of pairs in use; the rest is answered with an error.
    private mutating func serveControl() {
        let (backend, active) = (backend, pairs)
        queues.control?.serve { chain in
            let command = chain.read(Command.self, at: 0) ?? Command(kind: 0xFF, number: 0xFF)
            var accepted = false
            if command.kind == 4, command.number == 0, let pairs = chain.read(UInt16.self, at: 2) {
                accepted = Self.usePairs(Int(pairs), backend)
                if accepted { active.count = Int(pairs) }
            } else if command.kind == 3, command.number == 0, active.isAnnouncing {
                // The driver has announced itself (VIRTIO_NET_CTRL_ANNOUNCE_ACK).
                active.isAnnouncing = false
                accepted = true
            }
            return chain.write(UInt8(accepted ? 0 : 1), at: 0) ? 1 : 0
        }
    }

    private static func usePairs(_ count: Int, _ backend: NetBackend) -> Bool {
        guard count >= 1, count <= backend.queues.count else { return false }
        for (index, queue) in backend.queues.enumerated() where index > 0 {
            // Switching a queue to what it is already is an error that says nothing.
            try? queue.tap.setEnabled(index < count)
        }
        return true
    }
}
