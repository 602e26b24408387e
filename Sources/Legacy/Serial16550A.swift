import CharBackend
import Host
import Snapshot
import Synchronization

/// The registers of a 16550A UART: all that a snapshot keeps of it.
package struct SerialState: SavedState {
    package static let kind = "serial"
    package static let version = 1

    /// Interrupt enable, line control, modem control, scratch, and the divisor's halves.
    package var interruptEnable: UInt8 = 0, lineControl: UInt8 = 0, modemControl: UInt8 = 0x08, scratch: UInt8 = 0
    package var divisorLow: UInt8 = 0x0C, divisorHigh: UInt8 = 0
    /// Whether the FIFOs are on, and how many bytes raise an interrupt at once.
    package var fifoEnabled = false, fifoTrigger = 1
    /// What was received and not yet read, oldest first.
    package var received: [UInt8] = []
    /// A byte was lost because the FIFO was full; the transmitter's emptiness waits to be told; modem lines changed.
    package var overrun = false, transmitterInterrupt = false
    package var modemDelta: UInt8 = 0

    package init() { received.reserveCapacity(SerialState.fifoDepth) }

    static let fifoDepth = 16
}

/// A 16550A UART (National Semiconductor PC16550D data sheet): what Linux knows as `ttyS0`.
///
/// Transmission takes no time; while the host does not take the output, the transmitter stays busy instead of losing
/// bytes.
package final class Serial16550A: PortDevice, CharReceiver {
    private let port: CharPort
    private let interrupt: EventFD
    private let state = Mutex(SerialState())

    /// - Parameter interrupt: signalled when a cause for an interrupt arises; its line is edge-triggered.
    package init(_ port: CharPort, interrupt: EventFD) {
        self.port = port
        self.interrupt = interrupt
    }

    /// The registers now.
    package var snapshot: SerialState { state.withLock { $0 } }

    /// Gives the port its registers.
    ///
    /// - Parameter name: the port's in the snapshot, for errors.
    /// - Throws: `SnapshotError` naming a field that the chip cannot have.
    package func restore(_ saved: SerialState, _ name: String) throws(SnapshotError) {
        let fields = StateFields(name)
        let depth = saved.fifoEnabled ? SerialState.fifoDepth : 1
        try fields.check(
            "received", saved.received.count <= depth, "\(saved.received.count) bytes in a FIFO of \(depth)")
        try fields.check(
            "fifoTrigger", [1, 4, 8, 14].contains(saved.fifoTrigger), "\(saved.fifoTrigger) is not 1, 4, 8 or 14")
        try fields.check("interruptEnable", saved.interruptEnable <= 0x0F, "\(saved.interruptEnable) is above 15")
        try fields.check("modemControl", saved.modemControl <= 0x1F, "\(saved.modemControl) is above 31")
        try fields.check("modemDelta", saved.modemDelta <= 0x0F, "\(saved.modemDelta) is above 15")
        state.withLock { $0 = saved }
    }

    /// The guest of a snapshot goes on: an interrupt that was on its way to it is raised again, and what it waits for
    /// from a host that is not there any more has happened.
    package func goOn() {
        if port.hasRoom { state.withLock { $0.transmitterInterrupt = true } }
        if state.withLock({ Self.causes($0) }) != 0 { interrupt.signal() }
        port.inputRoomAvailable()
    }

    private enum Cause {
        static let lineStatus: UInt8 = 0x06
        static let received: UInt8 = 0x04
        static let timeout: UInt8 = 0x0C
        static let transmitter: UInt8 = 0x02
        static let modem: UInt8 = 0x00
        static let none: UInt8 = 0x01
    }

    private enum Enable {
        static let received: UInt8 = 1
        static let transmitter: UInt8 = 2
        static let lineStatus: UInt8 = 4
        static let modem: UInt8 = 8
    }

    private static let loopback: UInt8 = 0x10
    private static let divisorAccess: UInt8 = 0x80

    /// The causes that want an interrupt now, as bits of the enable register.
    private static func causes(_ state: SerialState) -> UInt8 {
        var causes: UInt8 = 0
        if !state.received.isEmpty { causes |= Enable.received }
        if state.transmitterInterrupt { causes |= Enable.transmitter }
        if state.overrun { causes |= Enable.lineStatus }
        if state.modemDelta != 0 { causes |= Enable.modem }
        return causes & state.interruptEnable
    }

    /// Changes the registers and raises the interrupt when a cause is new.
    private func change<Result>(_ body: (inout SerialState) -> Result) -> Result {
        let (result, raise) = state.withLock { state -> (Result, Bool) in
            let before = Self.causes(state)
            let result = body(&state)
            return (result, Self.causes(state) & ~before != 0)
        }
        if raise { interrupt.signal() }
        return result
    }

    /// Changes the registers, and tells the I/O thread when there is room for input where there was none: when a byte is
    /// taken, the FIFO switched or cleared, or the loop-back left. Where there was room, the thread is on its way to fill it.
    private func makingRoom<Result>(_ body: (inout SerialState) -> Result) -> Result {
        let (result, hasRoom) = change { state in
            let before = Self.room(state)
            return (body(&state), before <= 0 && Self.room(state) > 0)
        }
        if hasRoom { port.inputRoomAvailable() }
        return result
    }

    private static func room(_ state: SerialState) -> Int {
        guard state.modemControl & loopback == 0 else { return 0 }
        return (state.fifoEnabled ? SerialState.fifoDepth : 1) - state.received.count
    }

    // MARK: Registers

    package func read(_ offset: UInt16, size: Int) -> UInt32 {
        // While the transmitter is looked at, the port is asked; its lock is never taken inside ours.
        let room = offset == 5 ? port.hasRoom : true
        return UInt32(
            makingRoom { state in
                let divisor = state.lineControl & Self.divisorAccess != 0
                switch offset {
                case 0 where divisor: return state.divisorLow
                case 1 where divisor: return state.divisorHigh
                case 0: return state.received.isEmpty ? 0 : state.received.removeFirst()
                case 1: return state.interruptEnable
                case 2: return Self.identify(&state)
                case 3: return state.lineControl
                case 4: return state.modemControl
                case 5: return Self.lineStatus(&state, room: room)
                case 6: return Self.modemStatus(&state)
                case 7: return state.scratch
                default: return 0xFF
                }
            })
    }

    private static func identify(_ state: inout SerialState) -> UInt8 {
        let fifo: UInt8 = state.fifoEnabled ? 0xC0 : 0
        let causes = causes(state)
        if causes & Enable.lineStatus != 0 { return fifo | Cause.lineStatus }
        if causes & Enable.received != 0 {
            let reached = !state.fifoEnabled || state.received.count >= state.fifoTrigger
            return fifo | (reached ? Cause.received : Cause.timeout)
        }
        if causes & Enable.transmitter != 0 {
            // Reading the register is the acknowledgement.
            state.transmitterInterrupt = false
            return fifo | Cause.transmitter
        }
        if causes & Enable.modem != 0 { return fifo | Cause.modem }
        return fifo | Cause.none
    }

    private static func lineStatus(_ state: inout SerialState, room: Bool) -> UInt8 {
        var status: UInt8 = room ? 0x60 : 0
        if !state.received.isEmpty { status |= 0x01 }
        if state.overrun { status |= 0x02 }
        state.overrun = false
        return status
    }

    private static func modemStatus(_ state: inout SerialState) -> UInt8 {
        defer { state.modemDelta = 0 }
        guard state.modemControl & loopback != 0 else { return 0xB0 | state.modemDelta }
        let control = state.modemControl
        return (control & 0x0C) << 4 | (control & 0x02) << 3 | (control & 0x01) << 5 | state.modemDelta
    }

    package func write(_ offset: UInt16, size: Int, value: UInt32) {
        let byte = UInt8(truncatingIfNeeded: value)
        var sent = false
        makingRoom { state in
            let divisor = state.lineControl & Self.divisorAccess != 0
            switch offset {
            case 0 where divisor: state.divisorLow = byte
            case 1 where divisor: state.divisorHigh = byte
            case 0:
                state.transmitterInterrupt = false
                if state.modemControl & Self.loopback != 0 {
                    Self.receive(byte, &state)
                    state.transmitterInterrupt = true
                } else {
                    sent = true
                }
            case 1:
                let new = byte & 0x0F
                // An empty transmitter is reported as soon as somebody wants to know.
                if new & Enable.transmitter != 0, state.interruptEnable & Enable.transmitter == 0 {
                    state.transmitterInterrupt = true
                }
                state.interruptEnable = new
            case 2: Self.controlFIFO(byte, &state)
            case 3: state.lineControl = byte
            case 4: state.modemControl = byte & 0x1F
            case 7: state.scratch = byte
            default: break
            }
        }
        if sent { transmit(byte) }
    }

    private func transmit(_ byte: UInt8) {
        port.write(byte)
        // With room for the next byte the transmitter is empty again at once, else when the host has caught up.
        if port.hasRoom { change { $0.transmitterInterrupt = true } }
    }

    private static func controlFIFO(_ byte: UInt8, _ state: inout SerialState) {
        let enabled = byte & 0x01 != 0
        if enabled != state.fifoEnabled || byte & 0x02 != 0 { state.received.removeAll(keepingCapacity: true) }
        state.fifoEnabled = enabled
        state.fifoTrigger = [1, 4, 8, 14][Int(byte >> 6)]
    }

    private static func receive(_ byte: UInt8, _ state: inout SerialState) {
        let depth = state.fifoEnabled ? SerialState.fifoDepth : 1
        if state.received.count < depth { state.received.append(byte) } else { state.overrun = true }
    }

    // MARK: The backend's side

    package var inputRoom: Int { state.withLock { Self.room($0) } }

    package func receive(_ bytes: [UInt8]) {
        change { state in for byte in bytes { Self.receive(byte, &state) } }
    }

    package func outputDrained() { change { $0.transmitterInterrupt = true } }
}
