import Host
import KVM
import PCI
import Synchronization
import Virtio

/// An interrupt controller that remembers which events are connected to which messages.
package final class FakeInterrupts: InterruptConnector {
    private struct State {
        var connected: [ObjectIdentifier: (message: MSIMessage, gsi: UInt32)] = [:]
        var events: [ObjectIdentifier: EventFD] = [:]
        var next: UInt32 = 24
        var released: [UInt32] = []
        var delivered: [MSIMessage] = []
        var failure: KVMError?
    }
    private let state = Mutex(State())

    package init() {}

    package func connect(_ event: EventFD, _ message: MSIMessage, gsi: UInt32?) throws(KVMError) -> UInt32 {
        let result = state.withLock { state -> Result<UInt32, KVMError> in
            if let failure = state.failure { return .failure(failure) }
            let route = gsi ?? state.next
            if gsi == nil { state.next += 1 }
            state.connected[ObjectIdentifier(event)] = (message, route)
            state.events[ObjectIdentifier(event)] = event
            if event.drain() { state.delivered.append(message) }
            return .success(route)
        }
        return try result.get()
    }

    package func disconnect(_ event: EventFD, gsi: UInt32) throws(KVMError) {
        state.withLock { state in
            if state.connected[ObjectIdentifier(event)]?.gsi == gsi { state.connected[ObjectIdentifier(event)] = nil }
        }
    }

    package func release(gsi: UInt32) { state.withLock { $0.released.append(gsi) } }

    /// Lets all connections fail from now on.
    package func fail(_ error: KVMError?) { state.withLock { $0.failure = error } }

    /// The message and route that an event raises now; nil while it only counts.
    package func connection(of event: EventFD) -> (message: MSIMessage, gsi: UInt32)? {
        state.withLock { $0.connected[ObjectIdentifier(event)] }
    }

    /// Delivers what the connected events counted, as KVM does by itself.
    package func deliverAll() {
        state.withLock { state in
            for (key, connection) in state.connected where state.events[key]?.drain() == true {
                state.delivered.append(connection.message)
            }
        }
    }

    /// The messages that the guest got, oldest first.
    package var delivered: [MSIMessage] { state.withLock { $0.delivered } }
    /// The routes that were given back.
    package var released: [UInt32] { state.withLock { $0.released } }
    /// How many events are connected.
    package var connectedCount: Int { state.withLock { $0.connected.count } }
}

/// A watcher of notification addresses that only remembers them.
package final class FakeNotifications: NotificationConnector {
    private let watched = Mutex<[UInt64: ObjectIdentifier]>([:])
    package init() {}
    package func notify(_ event: EventFD, at address: UInt64, assign: Bool) throws(KVMError) {
        watched.withLock { $0[address] = assign ? ObjectIdentifier(event) : nil }
    }
    /// The addresses that are watched, ascending.
    package var addresses: [UInt64] { watched.withLock { $0.keys.sorted() } }
}
