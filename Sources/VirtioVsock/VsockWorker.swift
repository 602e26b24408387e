import Host
import Memory
import Synchronization
import Virtio

/// The three queues (virtio 1.2 section 5.10.2).
struct VsockQueues: ~Copyable, Sendable {
    var receive: ServedQueue
    var transmit: ServedQueue
    /// Nil when the driver did not enable it.
    var event: ServedQueue?
    /// The event queue's kick, if there is one.
    let eventKick: EventFD?

    /// Resolves the queues of an activation; nil when the driver left out those that carry packets.
    init?(_ activation: VirtioActivation) throws(VirtioError) {
        guard let receive = try ServedQueue(activation, 0), let transmit = try ServedQueue(activation, 1) else {
            return nil
        }
        let event = try ServedQueue(activation, 2)
        self.receive = receive
        self.transmit = transmit
        self.event = event
        eventKick = activation.queue(2)?.kick
    }

    /// How far the queues have been worked through.
    consuming func collect(_ progress: inout [Int: QueueProgress]) {
        progress[0] = receive.progress
        progress[1] = transmit.progress
        if let event { progress[2] = event.progress }
    }
}

/// What the outside asks of the worker.
final class VsockRequests: Sendable {
    /// Whether the guest is to be told that its connections are gone. Ordering: the event's system call orders it.
    let transportReset = Atomic<Bool>(false)
    /// Wakes the worker, for a request or for work that it left over.
    let event: EventFD

    init() throws(HostError) { event = try EventFD() }
}

/// The thread of a vsock device: packets of the guest out to the sockets, bytes of the sockets into the guest.
struct VsockWorker: WorkerBody, ~Copyable {
    var queues: VsockQueues
    private var core: VsockCore
    private var timer: IntervalTimer
    private let requests: VsockRequests
    private var isListening: Bool
    /// Whether packets of the guest stand still for want of room for their answers.
    private var isHeldUp = false
    /// Whether a transport reset waits for a buffer of the event queue.
    private var owesReset = false

    /// Packets of one direction before the other has its turn.
    private static let share = 64
    /// Packets to the guest between two interrupts at most.
    private static let batch = 16
    private enum Token {
        static let receive: UInt64 = 1, transmit: UInt64 = 2, event: UInt64 = 3, listener: UInt64 = 4
        static let timer: UInt64 = 5, requests: UInt64 = 6
    }

    init(queues: consuming VsockQueues, _ core: VsockCore, requests: VsockRequests) throws(HostError) {
        let timer = try IntervalTimer()
        self.queues = queues
        self.core = core
        self.timer = timer
        self.requests = requests
        isListening = true
    }

    borrowing func register(with epoll: borrowing Epoll) throws(HostError) {
        try epoll.add(queues.receive.resources.kick.raw, [.readable, .edgeTriggered], token: Token.receive)
        try epoll.add(queues.transmit.resources.kick.raw, [.readable, .edgeTriggered], token: Token.transmit)
        if let kick = queues.eventKick {
            try epoll.add(kick.raw, [.readable, .edgeTriggered], token: Token.event)
        }
        if let listener = core.backend.raw { try epoll.add(listener, .readable, token: Token.listener) }
        try epoll.add(timer.raw, .readable, token: Token.timer)
        try epoll.add(requests.event.raw, [.readable, .edgeTriggered], token: Token.requests)
        try core.watchAll(epoll)
    }

    mutating func begin(_ epoll: borrowing Epoll) {
        serveRequests()
        work(epoll, fromGuest: true)
    }

    mutating func ready(_ token: UInt64, _ interest: Epoll.Interest, _ epoll: borrowing Epoll) {
        var fromGuest = false
        switch token {
        case Token.receive: break
        case Token.transmit: fromGuest = true
        case Token.event: sendTransportReset()
        case Token.listener: core.acceptClients(epoll)
        case Token.timer:
            timer.drain()
            core.tick(epoll)
        case Token.requests:
            serveRequests()
            fromGuest = true
        default:
            if let slot = core.table.slot(token) { core.socketChanged(slot, interest) }
        }
        work(epoll, fromGuest: fromGuest)
    }

    /// Gives the connections and the queues back, for a worker that goes on with them.
    consuming func release(_ core: inout VsockCore?) -> VsockQueues {
        core = self.core
        // What was to be told is told by the next one.
        if owesReset { requests.transportReset.store(true, ordering: .relaxed) }
        return queues
    }

    /// Moves packets both ways, a share of each; what is left is taken up after the other descriptors had their turn.
    private mutating func work(_ epoll: borrowing Epoll, fromGuest: Bool) {
        var isLeft = false
        if fromGuest { isLeft = serveTransmit(epoll) }
        if core.hasOutput, serveReceive() { isLeft = true }
        if isHeldUp, core.acceptsPackets { isLeft = true }
        if isLeft { requests.event.signal() }
        watchListener(epoll)
        timer.run(every: core.tickInterval)
    }

    private mutating func watchListener(_ epoll: borrowing Epoll) {
        guard isListening == core.isExhausted, let listener = core.backend.raw else { return }
        isListening = !core.isExhausted
        try? epoll.modify(listener, isListening ? .readable : [], token: Token.listener)
    }

    // MARK: Queues

    /// Takes packets of the guest; whether some are left that could be taken.
    private mutating func serveTransmit(_ epoll: borrowing Epoll) -> Bool {
        guard !queues.transmit.isBroken else { return false }
        var left = Self.share
        isHeldUp = false
        defer {
            if queues.transmit.queue.needsInterrupt() { queues.transmit.resources.interrupt.signal() }
        }
        do throws(VirtioError) {
            repeat {
                queues.transmit.queue.suppressNotifications()
                while true {
                    guard core.acceptsPackets else {
                        isHeldUp = true
                        return false
                    }
                    guard left > 0 else { return true }
                    guard let chain = try queues.transmit.queue.pop() else { break }
                    let head = chain.head
                    core.receive(chain, epoll)
                    queues.transmit.queue.push(head: head, written: 0)
                    left -= 1
                }
            } while queues.transmit.queue.requestNotifications()
        } catch {
            queues.transmit.fail(error)
        }
        return false
    }

    /// Fills buffers of the guest; whether there is more for it and buffers may be left.
    private mutating func serveReceive() -> Bool {
        guard !queues.receive.isBroken else { return false }
        var left = Self.share
        defer { interruptReceive() }
        do throws(VirtioError) {
            repeat {
                queues.receive.queue.suppressNotifications()
                while core.hasOutput {
                    guard left > 0 else { return true }
                    guard let chain = try queues.receive.queue.pop() else { break }
                    let head = chain.head
                    guard let written = core.fill(chain) else {
                        queues.receive.queue.undoPop()
                        break
                    }
                    queues.receive.queue.push(head: head, written: written)
                    left -= 1
                    if left % Self.batch == 0 { interruptReceive() }
                }
                // Buffers are of interest only to what waits for them.
            } while core.hasOutput && queues.receive.queue.requestNotifications()
        } catch {
            queues.receive.fail(error)
        }
        return false
    }

    private mutating func interruptReceive() {
        if queues.receive.queue.needsInterrupt() { queues.receive.resources.interrupt.signal() }
    }

    // MARK: Transport reset

    private mutating func serveRequests() {
        guard requests.transportReset.exchange(false, ordering: .relaxed) else { return }
        core.removeAll()
        owesReset = true
        sendTransportReset()
    }

    /// Tells the guest that all its connections are gone (5.10.6.7), as soon as it gives a buffer for that.
    private mutating func sendTransportReset() {
        guard owesReset, queues.event != nil else { return }
        var isSent = false
        queues.event?.serve { chain in
            if isSent { return nil }
            // VIRTIO_VSOCK_EVENT_TRANSPORT_RESET is 0.
            guard chain.write(UInt32(0), at: 0) else { return 0 }
            isSent = true
            return 4
        }
        if isSent { owesReset = false }
    }
}
