import Synchronization

/// Messages from any thread to one receiver, which waits on `event`.
package final class Mailbox<Message: Sendable>: Sendable {
    private let messages = Mutex<[Message]>([])
    /// Above zero while messages may be waiting.
    package let event: EventFD

    package init() throws(HostError) { event = try EventFD() }

    /// Adds a message and wakes the receiver.
    package func send(_ message: Message) {
        messages.withLock { $0.append(message) }
        event.signal()
    }

    /// Takes all the messages, oldest first.
    package func receive() -> [Message] {
        event.drain()
        return messages.withLock { waiting in
            let taken = waiting
            waiting.removeAll()
            return taken
        }
    }
}
