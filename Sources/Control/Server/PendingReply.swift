import Host
import Synchronization

/// What the server's thread is told by others.
enum ServerMessage: Sendable {
    /// The reply to a connection's request of that number.
    case reply(connection: UInt64, request: UInt64, APIReply)
    /// A stream has something to send.
    case wake(connection: UInt64)
    /// End, at the latest at that time (monotonic, ns).
    case stop(deadline: UInt64)
}

/// One request's reply on its way from the handler to the connection, once.
///
/// A reply that is given while the handler is still being called needs no message; a handler that drops its closure without
/// having called it answers 500.
final class PendingReply: Sendable {
    private enum State {
        case handling, ready(APIReply), waiting, done
    }

    private let state = Mutex(State.handling)
    private let mailbox: Mailbox<ServerMessage>
    private let connection: UInt64, request: UInt64

    init(connection: UInt64, request: UInt64, _ mailbox: Mailbox<ServerMessage>) {
        (self.connection, self.request, self.mailbox) = (connection, request, mailbox)
    }

    /// Called by the handler, from any thread. A second reply is not sent.
    func settle(_ reply: APIReply) {
        let isLate = state.withLock { state in
            switch state {
            case .handling: state = .ready(reply)
            case .waiting:
                state = .done
                return true
            case .ready, .done: break
            }
            return false
        }
        if isLate { mailbox.send(.reply(connection: connection, request: request, reply)) }
    }

    /// Called by the server's thread when the handler has returned: the reply, if it is there already.
    func endHandling() -> APIReply? {
        state.withLock { state in
            guard case .ready(let reply) = state else {
                state = .waiting
                return nil
            }
            state = .done
            return reply
        }
    }

    deinit {
        let isOpen = state.withLock { state in
            if case .waiting = state { true } else { false }
        }
        guard isOpen else { return }
        let reply = APIReply.failure(500, ["The request was dropped without an answer"])
        mailbox.send(.reply(connection: connection, request: request, reply))
    }
}
