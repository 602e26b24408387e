import Host
import Logging
import Synchronization

/// What the server's thread and everybody else share.
final class ServerShared: Sendable {
    let socket: APISocket
    let handler: any APIHandler
    let logger: Logger
    let limits: APILimits
    let metrics = APIServerMetrics()
    let mailbox: Mailbox<ServerMessage>
    private let stopping = Atomic(false)

    init(_ socket: APISocket, _ handler: any APIHandler, _ logger: Logger, _ limits: APILimits) throws(HostError) {
        (self.socket, self.handler, self.logger, self.limits) = (socket, handler, logger, limits)
        mailbox = try Mailbox()
    }

    // Ordering: a flag on its own; the message that follows it orders everything else.
    var isStopping: Bool {
        get { stopping.load(ordering: .relaxed) }
        set { stopping.store(newValue, ordering: .relaxed) }
    }
}

/// The API's server: HTTP/1.1 on a Unix socket, on one thread named `api`.
package final class APIServer: Sendable {
    private let shared: ServerShared
    private let thread = Mutex<Thread?>(nil)

    /// - Parameters:
    ///   - socket: listens already; the server closes it when it ends.
    ///   - handler: answers the requests; called on the server's thread.
    ///   - logger: hears of each request, the changing ones at the level info, with who made them.
    package init(
        listening socket: APISocket, handler: any APIHandler, logger: Logger, limits: APILimits = APILimits()
    ) throws(HostError) {
        shared = try ServerShared(socket, handler, logger, limits)
    }

    /// What it has done so far.
    package var metrics: APIServerMetrics { shared.metrics }

    /// Starts the thread; the clients that already wait are served. Once only.
    package func start() throws(HostError) {
        let epoll = Mutex<Epoll?>(try ServerLoop.makeEpoll(shared.mailbox))
        // A handler reads JSON on this thread, which nests.
        let started = try Thread("api", stackSize: 1 << 20) { [shared] in
            // Clients that ask without a pause are not to slow the guest down: its threads go first.
            yieldPrecedence(steps: 5)
            let own = epoll.withLock { epoll -> sending Epoll? in epoll.take() }
            guard let own else { return }
            ServerLoop(shared, own).run()
        }
        thread.withLock { $0 = started }
    }

    /// Ends the server: accepts nothing more, removes the socket's files, lets the requests that are being handled have
    /// their replies, sends streams what waits for them, and closes everything, at the latest after the given time.
    ///
    /// Waits until the thread is over, so it must not be called by the handler on that thread.
    package func stop(within milliseconds: UInt64 = 2000) {
        shared.isStopping = true
        shared.mailbox.send(.stop(deadline: HostClock.monotonic + milliseconds * 1_000_000))
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
        shared.socket.close()
    }

    deinit { stop(within: 0) }
}
