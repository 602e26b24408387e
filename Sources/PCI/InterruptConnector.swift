import Host
import KVM

/// Connects a vector's eventfd to the guest's interrupt controllers.
package protocol InterruptConnector: AnyObject, Sendable {
    /// From now on the event raises the message; what it already counted is raised at once.
    ///
    /// - Parameter gsi: the vector's route of an earlier connection.
    /// - Returns: the route, for the next calls.
    func connect(_ event: EventFD, _ message: MSIMessage, gsi: UInt32?) throws(KVMError) -> UInt32
    /// From now on the event only counts.
    func disconnect(_ event: EventFD, gsi: UInt32) throws(KVMError)
    /// Gives a route back; its event is disconnected.
    func release(gsi: UInt32)
}

/// The connector of a real VM: KVM's irqfd and GSI routes.
package final class KVMInterruptConnector: InterruptConnector {
    private let machine: VMHandle
    private let router: InterruptRouter

    package init(_ machine: VMHandle, _ router: InterruptRouter) { (self.machine, self.router) = (machine, router) }

    package func connect(_ event: EventFD, _ message: MSIMessage, gsi: UInt32?) throws(KVMError) -> UInt32 {
        let route: UInt32
        if let gsi { route = gsi } else { route = try router.allocate() }
        try router.route(route, to: message)
        try machine.raise(route, on: event, assign: true)
        return route
    }

    package func disconnect(_ event: EventFD, gsi: UInt32) throws(KVMError) {
        try machine.raise(gsi, on: event, assign: false)
    }

    package func release(gsi: UInt32) {
        // The route of a VM that is going away needs no word about it.
        try? router.release(gsi)
    }
}
