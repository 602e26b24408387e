import Snapshot
import Synchronization

/// What a snapshot keeps of the ACPI registers.
package struct ACPIState: SavedState {
    package static let kind = "acpi"
    package static let version = 1

    /// The events that the guest has not looked at.
    package var pending: UInt32
}

/// The registers of hardware-reduced ACPI at four I/O ports: sleep control and status, reset, and the pending events
/// of the generic event device (ACPI 6.5 sections 4.8.3.7 and 5.6.9).
package final class ACPIRegisters: PortDevice {
    /// Offsets from the first port.
    package struct Layout: Equatable, Sendable {
        package let sleepControl: UInt16, sleepStatus: UInt16, reset: UInt16, events: UInt16
        /// What the guest writes to `sleepControl` for soft off, and to `reset`.
        package let powerOffValue: UInt8, resetValue: UInt8

        package init(
            sleepControl: UInt16, sleepStatus: UInt16, reset: UInt16, events: UInt16, values: (UInt8, UInt8)
        ) {
            (self.sleepControl, self.sleepStatus, self.reset, self.events) = (sleepControl, sleepStatus, reset, events)
            (powerOffValue, resetValue) = values
        }
    }

    private let layout: Layout
    private let pending = Mutex<UInt32>(0)
    private let interrupt: @Sendable (Bool) -> Void
    private let request: @Sendable (GuestRequest) -> Void

    /// - Parameters:
    ///   - interrupt: sets the event device's level-triggered line: high while events are pending.
    ///   - request: hears of soft off and reset, on a vCPU's thread.
    package init(
        _ layout: Layout, interrupt: @escaping @Sendable (Bool) -> Void,
        request: @escaping @Sendable (GuestRequest) -> Void
    ) {
        (self.layout, self.interrupt, self.request) = (layout, interrupt, request)
    }

    /// Sets events pending and tells the guest.
    package func raise(_ events: UInt32) {
        // The mutex spans the line's change, so that a read's low cannot overtake this high.
        pending.withLock { pending in
            pending |= events
            if pending != 0 { interrupt(true) }
        }
    }

    /// The registers now.
    package var saved: ACPIState { ACPIState(pending: snapshot) }

    /// Gives the registers a state; the line follows. The interrupt chip has its own by then.
    package func restore(_ state: ACPIState) {
        pending.withLock { pending in
            pending = state.pending
            if pending != 0 { interrupt(true) }
        }
    }

    /// The events that the guest has not looked at.
    package var snapshot: UInt32 { pending.withLock { $0 } }

    package func read(_ offset: UInt16, size: Int) -> UInt32 {
        guard offset == layout.events else { return 0 }
        return pending.withLock { pending in
            // A read takes the events that it shows: those that fit its size.
            let shown = size >= 4 ? UInt32.max : (1 << UInt32(8 * size)) - 1
            let taken = pending & shown
            pending &= ~shown
            if pending == 0, taken != 0 { interrupt(false) }
            return taken
        }
    }

    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        let byte = UInt8(truncatingIfNeeded: value)
        if offset == layout.sleepControl, byte == layout.powerOffValue { request(.powerOff) }
        if offset == layout.reset, byte == layout.resetValue { request(.reset) }
    }
}
