import CharBackend
import Host
import Snapshot
import Synchronization

/// What a snapshot keeps of the keyboard controller.
package struct I8042State: SavedState {
    package static let kind = "i8042"
    package static let version = 1

    /// The byte that the guest may read; nil when there is none.
    package var answer: UInt8?
}

/// What a snapshot keeps of the port for progress codes.
package struct DebugPortState: SavedState {
    package static let kind = "debug-port"
    package static let version = 1

    /// The last code.
    package var code: UInt8
}

/// The keyboard controller, as far as a guest resets through it and finds that no keyboard is there.
package final class I8042: PortDevice {
    private let answer = Mutex<UInt8?>(nil)
    private let request: @Sendable (GuestRequest) -> Void

    /// The offset of the status and command port from the data port.
    package static let commandOffset: UInt16 = 4

    package init(request: @escaping @Sendable (GuestRequest) -> Void) { self.request = request }

    /// The controller now.
    package var saved: I8042State { I8042State(answer: answer.withLock { $0 }) }

    /// Gives the controller a state.
    package func restore(_ saved: I8042State) { answer.withLock { $0 = saved.answer } }

    package func read(_ offset: UInt16, size: Int) -> UInt32 {
        answer.withLock { answer in
            if offset == Self.commandOffset { return answer == nil ? 0x04 : 0x05 }
            defer { answer = nil }
            return UInt32(answer ?? 0)
        }
    }

    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        guard offset == Self.commandOffset else { return }
        switch UInt8(truncatingIfNeeded: value) {
        case 0xFE: request(.reset)
        case 0xAA: answer.withLock { $0 = 0x55 }
        case 0xAB, 0xA9: answer.withLock { $0 = 0x01 }
        case 0x20: answer.withLock { $0 = 0x30 }
        default: break
        }
    }
}

/// The port for progress codes: it keeps the last one.
package final class DebugPort: PortDevice {
    private let last = Atomic<UInt8>(0)
    private let firstTime = Atomic<UInt64>(0)

    package init() {}

    /// The last code, and when the first one came, in ns of the monotonic clock (0 before it).
    package var observed: (code: UInt8, firstAt: UInt64) {
        (last.load(ordering: .relaxed), firstTime.load(ordering: .relaxed))
    }

    /// The port now.
    package var saved: DebugPortState { DebugPortState(code: last.load(ordering: .relaxed)) }

    /// Gives the port a state; the time of the first code is that of this life's.
    package func restore(_ saved: DebugPortState) { last.store(saved.code, ordering: .relaxed) }

    package func read(_ offset: UInt16, size: Int) -> UInt32 { UInt32(last.load(ordering: .relaxed)) }

    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        last.store(UInt8(truncatingIfNeeded: value), ordering: .relaxed)
        if firstTime.load(ordering: .relaxed) == 0 { firstTime.store(HostClock.monotonic, ordering: .relaxed) }
    }
}

/// A port that takes characters, and answers its own number so that a guest can find it.
package final class DebugConsole: PortDevice {
    private let port: CharPort
    package init(_ port: CharPort) { self.port = port }
    package func read(_ offset: UInt16, size: Int) -> UInt32 { 0xE9 }
    package func write(_ offset: UInt16, size: Int, value: UInt32) { port.write(UInt8(truncatingIfNeeded: value)) }
}

/// The port through which the self-test guest tells its result.
package final class DebugExit: PortDevice {
    private let request: @Sendable (GuestRequest) -> Void
    package init(request: @escaping @Sendable (GuestRequest) -> Void) { self.request = request }
    package func read(_ offset: UInt16, size: Int) -> UInt32 { 0 }
    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        request(.exit(UInt8(truncatingIfNeeded: value)))
    }
}
