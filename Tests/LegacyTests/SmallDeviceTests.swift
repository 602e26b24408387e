import CharBackend
import Host
import Legacy
import Synchronization
import TestSupport
import Testing

private final class Requests: Sendable {
    let list = Mutex<[GuestRequest]>([])
    func add(_ request: GuestRequest) { list.withLock { $0.append(request) } }
    var all: [GuestRequest] { list.withLock { $0 } }
}

/// The clock, the power registers, the keyboard controller and the debug ports.
struct SmallDeviceTests {
    private func cmos(_ clock: CMOSClock, _ index: UInt32) -> UInt32 {
        clock.write(0, size: 1, value: index)
        return clock.read(1, size: 1)
    }

    @Test func clockShowsTheTime() {
        let clock = CMOSClock(now: { 1_700_000_000 })  // 2023-11-14 22:13:20, a Tuesday
        let registers: [UInt32] = [0, 2, 4, 6, 7, 8, 9, 0x32]
        #expect(registers.map { cmos(clock, $0) } == [0x20, 0x13, 0x22, 3, 0x14, 0x11, 0x23, 0x20])
        // Bit 7 of the index is the NMI's.
        #expect(cmos(clock, 0x80) == 0x20 && cmos(clock, 0x0A) == 0x26 && cmos(clock, 0x0D) == 0x80)
        _ = cmos(clock, 0x0B)
        clock.write(1, size: 1, value: 0x7C)
        #expect(cmos(clock, 0x0B) == 0x04)
        #expect(cmos(clock, 4) == 10 | 0x80)
        clock.write(0, size: 1, value: 0x0B)
        clock.write(1, size: 1, value: 0x06)
        #expect(registers.map { cmos(clock, $0) } == [20, 13, 22, 3, 14, 11, 23, 20])
    }

    @Test func clockOf12Hours() {
        for (hour, expected) in [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)]
            as [(Int64, UInt32)]
        {
            let clock = CMOSClock(now: { hour * 3600 })
            clock.write(0, size: 1, value: 0x0B)
            clock.write(1, size: 1, value: 0)
            #expect(cmos(clock, 4) == expected)
        }
    }

    @Test func batteryBackedBytes() {
        let clock = CMOSClock(now: { 0 })
        for index in 0x0E..<0x80 as Range<UInt32> where index != 0x32 {
            clock.write(0, size: 1, value: index)
            clock.write(1, size: 4, value: 0xFFFF_FF00 | index)
            #expect(clock.read(1, size: 4) == index)
        }
        for index in [0x0C, 0x0D] as [UInt32] {
            let before = cmos(clock, index)
            clock.write(1, size: 1, value: 0x55)
            #expect(cmos(clock, index) == before)
        }
        #expect(clock.read(0, size: 1) == 0xFF && clock.read(7, size: 1) == 0xFF)
    }

    @Test func powerRegisters() {
        let requests = Requests()
        let line = Mutex<[Bool]>([])
        let layout = ACPIRegisters.Layout(sleepControl: 0, sleepStatus: 1, reset: 2, events: 4, values: (0x34, 0x01))
        let registers = ACPIRegisters(layout, interrupt: { high in line.withLock { $0.append(high) } }) {
            requests.add($0)
        }
        for value in [0, 0x14, 0x35, 0xFF] as [UInt32] { registers.write(0, size: 1, value: value) }
        registers.write(2, size: 1, value: 0x34)
        registers.write(1, size: 1, value: 0x34)
        registers.write(9, size: 1, value: 1)
        #expect(requests.all.isEmpty)
        registers.write(0, size: 1, value: 0x34)
        registers.write(2, size: 1, value: 1)
        #expect(requests.all == [.powerOff, .reset])
        #expect([0, 1, 2, 3, 9].allSatisfy { registers.read($0, size: 1) == 0 })
        #expect(line.withLock { $0 } == [])
        registers.raise(0x8000_0102)
        registers.raise(1)
        #expect(line.withLock { $0 } == [true, true] && registers.snapshot == 0x8000_0103)
        // A read takes what it shows, and nothing more.
        #expect(registers.read(4, size: 1) == 3 && registers.snapshot == 0x8000_0100)
        #expect(registers.read(4, size: 2) == 0x100 && registers.read(4, size: 4) == 0x8000_0000)
        // The line goes down with the last event, once.
        #expect(registers.read(4, size: 4) == 0)
        #expect(line.withLock { $0 } == [true, true, false])
    }

    @Test func hotPlugRegisters() {
        let ejected = Mutex<[UInt8]>([])
        let registers = HotPlugRegisters { slot in ejected.withLock { $0.append(slot) } }
        #expect([0, 4, 8, 9].allSatisfy { registers.read($0, size: 4) == 0 })
        for slot in [1, 8, 31] as [UInt8] { registers.insert(slot: slot) }
        for slot in [2, 31] as [UInt8] { registers.askToLeave(slot: slot) }
        registers.insert(slot: 32)
        registers.askToLeave(slot: 255)
        #expect(registers.unread == (0x8000_0102, 0x8000_0004))
        // A read takes what it shows, and nothing more.
        #expect(registers.read(0, size: 1) == 0x02 && registers.unread.inserted == 0x8000_0100)
        #expect(registers.read(0, size: 4) == 0x8000_0100 && registers.read(0, size: 4) == 0)
        registers.clear(slot: 31)
        #expect(registers.unread == (0, 0x04))
        #expect(registers.read(4, size: 4) == 0x04 && registers.read(4, size: 4) == 0)
        for (offset, size, value) in [
            (0, 4, 5), (4, 4, 5), (8, 1, 5), (8, 2, 5), (9, 4, 5), (8, 4, 0), (8, 4, 32), (8, 4, .max),
        ] as [(UInt16, Int, UInt32)] {
            registers.write(offset, size: size, value: value)
        }
        #expect(ejected.withLock { $0 } == [])
        registers.write(8, size: 4, value: 31)
        registers.write(8, size: 4, value: 1)
        #expect(ejected.withLock { $0 } == [31, 1])
    }

    @Test func keyboardController() {
        let requests = Requests()
        let controller = I8042 { requests.add($0) }
        #expect(controller.read(4, size: 1) == 0x04 && controller.read(0, size: 1) == 0)
        for (command, answer) in [(0xAA, 0x55), (0xAB, 1), (0x20, 0x30)] as [(UInt32, UInt32)] {
            controller.write(4, size: 1, value: command)
            #expect(controller.read(4, size: 1) == 0x05 && controller.read(0, size: 1) == answer)
            #expect(controller.read(4, size: 1) == 0x04)
        }
        controller.write(0, size: 1, value: 0xFE)
        #expect(requests.all.isEmpty)
        controller.write(4, size: 1, value: 0xFE)
        #expect(requests.all == [.reset])
    }

    @Test func debugPorts() throws {
        let requests = Requests()
        DebugExit { requests.add($0) }.write(0, size: 4, value: 0x12A)
        #expect(requests.all == [.exit(0x2A)])
        let debug = DebugPort()
        #expect(debug.observed.firstAt == 0)
        debug.write(0, size: 1, value: 0x41)
        let first = debug.observed.firstAt
        debug.write(0, size: 2, value: 0x142)
        #expect(debug.observed.code == 0x42 && debug.observed.firstAt == first && first > 0)
        #expect(debug.read(0, size: 1) == 0x42)
        let scratch = try ScratchDirectory("debug")
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        let console = DebugConsole(try loop.open(.file(scratch.path("out"))).port)
        #expect(console.read(0, size: 1) == 0xE9)
        for byte in Array("ok\n".utf8) { console.write(0, size: 1, value: UInt32(byte) | 0x100) }
        loop.stop()
        #expect(try scratch.read("out") == Array("ok\n".utf8))
    }
}
