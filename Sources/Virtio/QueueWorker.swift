import Host
import Synchronization

/// What a worker thread serves: queues, and descriptors of a backend.
package protocol WorkerBody: ~Copyable, Sendable {
    /// Adds what the worker waits on to its epoll set; tokens from 1 up are the body's.
    borrowing func register(with epoll: borrowing Epoll) throws(HostError)
    /// Something with the given token became ready.
    mutating func ready(_ token: UInt64, _ interest: Epoll.Interest, _ epoll: borrowing Epoll)
    /// Serves whatever already waits: called once before the first wait, since a kick may have come while nobody
    /// looked.
    mutating func begin(_ epoll: borrowing Epoll)
}

/// A thread that serves a body until it is stopped, and then gives the body back.
package final class QueueWorker<Body: WorkerBody & ~Copyable>: Sendable {
    private let stopping: EventFD
    private let thread: Thread
    private let slot: Slot

    /// Holds the body while no thread runs: before the start and after the end.
    private final class Slot: Sendable {
        let body: Mutex<Body?>
        init(_ body: consuming sending Body) { self.body = Mutex(body) }
    }

    /// Starts the thread.
    ///
    /// - Parameter name: at most 15 bytes.
    package init(_ name: String, _ body: consuming sending Body) throws(HostError) {
        let stopping = try EventFD()
        let epoll = try Epoll()
        try epoll.add(stopping.raw, .readable, token: 0)
        try body.register(with: epoll)
        let slot = Slot(body)
        let shared = SharedEpoll(epoll)
        self.stopping = stopping
        self.slot = slot
        thread = try Thread(name) {
            // The mutex is held for the worker's whole life: it hands the body over, it arbitrates nothing.
            slot.body.withLock { body in Self.serve(&body, shared.epoll) }
        }
    }

    private final class SharedEpoll: Sendable {
        let epoll: Epoll
        init(_ epoll: consuming Epoll) { self.epoll = epoll }
    }

    private static func serve(_ body: inout Body?, _ epoll: borrowing Epoll) {
        body?.begin(epoll)
        var running = true
        while running {
            epoll.wait { event in
                if event.token == 0 { running = false } else { body?.ready(event.token, event.ready, epoll) }
            }
        }
    }

    /// Ends the thread after the request at hand and returns the body; nil when it was taken before.
    package func stop() -> sending Body? {
        stopping.signal()
        thread.join()
        return slot.body.withLock { body in
            var taken: Body? = nil
            swap(&taken, &body)
            return taken
        }
    }

    /// Pins the thread to processors of the host.
    package func pin(to processors: [Int]) throws(HostError) { try thread.pin(to: processors) }
}
