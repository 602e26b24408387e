import Host
import Snapshot
import Synchronization

/// What a snapshot keeps of the CMOS clock.
package struct CMOSState: SavedState {
    package static let kind = "cmos"
    package static let version = 1

    /// The selected register.
    package var index: UInt8 = 0
    /// The battery-backed bytes; those of the time are computed.
    package var bytes = [UInt8](repeating: 0, count: 128)

    package init() {
        bytes[0x0A] = 0x26
        bytes[0x0B] = 0x02
        bytes[0x0D] = 0x80
    }
}

/// The MC146818 clock of a PC at two ports, index and data. It shows the host's time in UTC; setting it has no effect.
package final class CMOSClock: PortDevice {
    private let state = Mutex(CMOSState())
    private let now: @Sendable () -> Int64

    /// - Parameter now: seconds since 1970 in UTC.
    package init(now: @escaping @Sendable () -> Int64 = { HostClock.realTime.seconds }) { self.now = now }

    /// The registers now.
    package var snapshot: CMOSState { state.withLock { $0 } }

    /// Gives the clock its registers.
    ///
    /// - Parameter name: the clock's in the snapshot, for errors.
    /// - Throws: `SnapshotError` naming a field that the chip cannot have.
    package func restore(_ saved: CMOSState, _ name: String) throws(SnapshotError) {
        let fields = StateFields(name)
        try fields.check("index", saved.index < 128, "\(saved.index) is no register of the 128")
        try fields.check("bytes", saved.bytes.count == 128, "\(saved.bytes.count) bytes, where the chip has 128")
        state.withLock { $0 = saved }
    }

    package func read(_ offset: UInt16, size: Int) -> UInt32 {
        let time = CalendarTime(secondsSince1970: now())
        return state.withLock { state in
            guard offset == 1 else { return 0xFF }
            let control = state.bytes[0x0B]
            func coded(_ value: Int) -> UInt32 {
                control & 0x04 != 0 ? UInt32(value) : UInt32((value / 10) << 4 | value % 10)
            }
            switch state.index {
            case 0x00: return coded(time.second)
            case 0x02: return coded(time.minute)
            case 0x04:
                if control & 0x02 != 0 { return coded(time.hour) }
                return coded((time.hour + 11) % 12 + 1) | (time.hour >= 12 ? 0x80 : 0)
            case 0x06: return coded(time.weekday)
            case 0x07: return coded(time.day)
            case 0x08: return coded(time.month)
            case 0x09: return coded(time.year % 100)
            case 0x32: return coded(time.year / 100)
            default: return UInt32(state.bytes[Int(state.index)])
            }
        }
    }

    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        let byte = UInt8(truncatingIfNeeded: value)
        state.withLock { state in
            if offset == 0 {
                state.index = byte & 0x7F
            } else if state.index != 0x0C, state.index != 0x0D {
                // No interrupts come from this clock: their enable bits stay off.
                state.bytes[Int(state.index)] = state.index == 0x0B ? byte & 0x87 : byte
            }
        }
    }
}
