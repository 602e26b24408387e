import Snapshot
import Synchronization

/// What a snapshot keeps of the hot-plug registers: what the guest has not read yet.
package struct HotPlugState: SavedState {
    package static let kind = "hotplug"
    package static let version = 1

    /// Slots that got a device, and slots whose device is asked to leave; bit n for slot n.
    package var inserted: UInt32 = 0, leaving: UInt32 = 0

    package init() {}
}

/// The hot-plug registers of the PCI slots at three I/O ports of 4 bytes, which the guest's AML reads and writes: slots
/// that got a device, slots whose device is asked to leave, and the slot that the guest let go of (ACPI 6.5, 6.3).
///
/// Bit n stands for slot n. A read of one of the first two takes what it shows.
package final class HotPlugRegisters: PortDevice {
    private let state = Mutex(HotPlugState())
    private let ejected: @Sendable (UInt8) -> Void

    /// - Parameter ejected: hears of the slot that the guest let go of, 1 to 31, on a vCPU's thread.
    package init(ejected: @escaping @Sendable (UInt8) -> Void) { self.ejected = ejected }

    private static func bit(_ slot: UInt8) -> UInt32 { slot < 32 ? 1 << UInt32(slot) : 0 }

    /// A slot got a device.
    package func insert(slot: UInt8) { state.withLock { $0.inserted |= Self.bit(slot) } }

    /// A slot's device is asked to leave.
    package func askToLeave(slot: UInt8) { state.withLock { $0.leaving |= Self.bit(slot) } }

    /// A slot is empty: what the guest has not read of it is of no interest any more.
    package func clear(slot: UInt8) {
        state.withLock {
            $0.inserted &= ~Self.bit(slot)
            $0.leaving &= ~Self.bit(slot)
        }
    }

    /// The registers now.
    package var saved: HotPlugState { state.withLock { $0 } }

    /// Gives the registers a state.
    package func restore(_ saved: HotPlugState) { state.withLock { $0 = saved } }

    /// What the guest has not read yet.
    package var unread: (inserted: UInt32, leaving: UInt32) { state.withLock { ($0.inserted, $0.leaving) } }

    package func read(_ offset: UInt16, size: Int) -> UInt32 {
        // A read takes the slots that it shows: those that fit its size.
        let shown = size >= 4 ? UInt32.max : (1 << UInt32(8 * size)) - 1
        return state.withLock { state in
            switch offset {
            case 0:
                defer { state.inserted &= ~shown }
                return state.inserted & shown
            case 4:
                defer { state.leaving &= ~shown }
                return state.leaving & shown
            default: return 0
            }
        }
    }

    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        guard offset == 8, size == 4, (1...31).contains(value) else { return }
        ejected(UInt8(truncatingIfNeeded: value))
    }
}
