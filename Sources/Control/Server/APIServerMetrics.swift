import Synchronization

/// What the server has done so far, readable from any thread.
package final class APIServerMetrics: Sendable {
    /// Connections taken, refused because there were too many, closed to make room, and closed because of a timeout.
    package let accepted = Atomic<UInt64>(0), refused = Atomic<UInt64>(0), evicted = Atomic<UInt64>(0)
    package let timedOut = Atomic<UInt64>(0)
    /// Connections that are open now.
    package let open = Atomic<Int>(0)
    /// Requests that reached the handler, and what was sent that could not be read as a request.
    package let requests = Atomic<UInt64>(0), malformed = Atomic<UInt64>(0)
    /// Replies by their statuses' class: 2xx and 1xx together, 4xx, 5xx.
    package let succeeded = Atomic<UInt64>(0), clientErrors = Atomic<UInt64>(0), serverErrors = Atomic<UInt64>(0)
    /// Bytes on the wire.
    package let bytesReceived = Atomic<UInt64>(0), bytesSent = Atomic<UInt64>(0)
    /// How often the server's thread woke.
    package let rounds = Atomic<UInt64>(0)
    /// Descriptors that came with requests.
    package let descriptors = Atomic<UInt64>(0)

    package init() {}

    // Ordering of all of these: independent counters, which order nothing else; relaxed is enough.
    func add(_ counter: borrowing Atomic<UInt64>, _ amount: Int = 1) {
        counter.wrappingAdd(UInt64(clamping: amount), ordering: .relaxed)
    }

    func replied(_ status: Int) {
        switch status {
        case ..<400: add(succeeded)
        case ..<500: add(clientErrors)
        default: add(serverErrors)
        }
    }
}
