import CharBackend
import Host
import Legacy
import Snapshot
import Synchronization
import TestSupport
import Testing

/// The states of the devices at I/O ports: given to another device, and refused where no device has them.
struct StateTests {
    private func serial() throws -> (device: Serial16550A, interrupt: EventFD, loop: CharLoop) {
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        let interrupt = try EventFD()
        return (Serial16550A(try loop.open(.null).port, interrupt: interrupt), interrupt, loop)
    }

    /// Through JSON, as a snapshot has it.
    private func carried<State: SavedState>(_ state: State) throws -> State {
        var document = StateDocument()
        try document.add(state, as: "x")
        return try StateDocument(try document.encoded(), file: "state.json").read(State.self, of: "x")
    }

    @Test func aSerialPortGoesOn() throws {
        let (first, _, loop) = try serial()
        defer { loop.stop() }
        first.write(3, size: 1, value: 0x83)
        first.write(0, size: 1, value: 1)
        first.write(1, size: 1, value: 2)
        first.write(3, size: 1, value: 0x03)
        first.write(2, size: 1, value: 0xC1)
        first.write(4, size: 1, value: 0x0B)
        first.write(7, size: 1, value: 0x5A)
        first.receive(Array("typed".utf8))
        first.write(1, size: 1, value: 0x05)
        let state = try carried(first.snapshot)
        #expect(state == first.snapshot && state.fifoTrigger == 14 && state.received.count == 5)

        let (second, interrupt, other) = try serial()
        defer { other.stop() }
        try second.restore(state, "__com1")
        #expect(second.snapshot == state)
        #expect(!interrupt.isPending)
        // The interrupt for what waits is raised again when the guest goes on.
        second.goOn()
        #expect(interrupt.isPending)
        #expect(second.read(2, size: 1) & 0x0F == 0x0C && second.read(7, size: 1) == 0x5A)
        #expect((0..<5).map { _ in UInt8(second.read(0, size: 1)) } == Array("typed".utf8))
        #expect(second.read(5, size: 1) & 1 == 0)
    }

    @Test func aSerialPortRefusesWhatItCannotBe() throws {
        let (device, _, loop) = try serial()
        defer { loop.stop() }
        func refused(_ field: String, _ change: (inout SerialState) -> Void) {
            var state = device.snapshot
            change(&state)
            let error = #expect(throws: SnapshotError.self) { try device.restore(state, "__com1") }
            #expect(error?.field == "devices.__com1.state.\(field)" && error?.kind == .malformed)
        }
        refused("received") { ($0.fifoEnabled, $0.received) = (true, [UInt8](repeating: 0, count: 17)) }
        refused("received") { ($0.fifoEnabled, $0.received) = (false, [1, 2]) }
        for trigger in [Int.min, -1, 0, 2, 15, .max] { refused("fifoTrigger") { $0.fifoTrigger = trigger } }
        refused("interruptEnable") { $0.interruptEnable = 0x10 }
        refused("modemControl") { $0.modemControl = 0xFF }
        refused("modemDelta") { $0.modemDelta = 0x10 }
    }

    @Test func theClockGoesOn() throws {
        let clock = CMOSClock(now: { 0 })
        clock.write(0, size: 1, value: 0x50)
        clock.write(1, size: 1, value: 0x77)
        let state = try carried(clock.snapshot)
        let other = CMOSClock(now: { 0 })
        try other.restore(state, "__cmos")
        #expect(other.snapshot == clock.snapshot && other.read(1, size: 1) == 0x77)
        var bad = state
        bad.index = 128
        #expect(throws: SnapshotError.self) { try other.restore(bad, "__cmos") }
        bad = state
        bad.bytes = [1, 2, 3]
        let error = #expect(throws: SnapshotError.self) { try other.restore(bad, "__cmos") }
        #expect(error?.field == "devices.__cmos.state.bytes" && other.snapshot == state)
    }

    @Test func eventsAndSlotsWaitOn() throws {
        let line = Mutex<[Bool]>([])
        func registers() -> ACPIRegisters {
            ACPIRegisters(
                ACPIRegisters.Layout(sleepControl: 0, sleepStatus: 1, reset: 2, events: 4, values: (0x34, 1)),
                interrupt: { high in line.withLock { $0.append(high) } }, request: { _ in })
        }
        let first = registers()
        first.raise(5)
        let second = registers()
        second.restore(try carried(first.saved))
        #expect(line.withLock { $0 } == [true, true] && second.read(4, size: 4) == 5)
        #expect(line.withLock { $0 } == [true, true, false])
        let quiet = registers()
        quiet.restore(try carried(second.saved))
        #expect(line.withLock { $0.count } == 3)

        let slots = HotPlugRegisters { _ in }
        slots.insert(slot: 3)
        slots.askToLeave(slot: 31)
        let others = HotPlugRegisters { _ in }
        others.restore(try carried(slots.saved))
        #expect(others.read(0, size: 4) == 8 && others.read(4, size: 4) == 1 << 31)
    }

    @Test func smallPorts() throws {
        let keyboard = I8042 { _ in }
        keyboard.write(I8042.commandOffset, size: 1, value: 0xAA)
        let other = I8042 { _ in }
        other.restore(try carried(keyboard.saved))
        #expect(other.read(I8042.commandOffset, size: 1) == 5 && other.read(0, size: 1) == 0x55)
        other.restore(try carried(other.saved))
        #expect(other.read(I8042.commandOffset, size: 1) == 4)
        let port = DebugPort()
        port.write(0, size: 1, value: 0x42)
        let next = DebugPort()
        next.restore(try carried(port.saved))
        #expect(next.observed.code == 0x42 && next.observed.firstAt == 0)
    }
}
