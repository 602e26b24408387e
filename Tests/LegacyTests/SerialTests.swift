import CLinux
import CharBackend
import Host
import Legacy
import TestSupport
import Testing

/// The UART as Linux's 8250 driver uses it (drivers/tty/serial/8250/8250_port.c).
struct SerialTests {
    private let scratch: ScratchDirectory
    private let loop: CharLoop
    private let interrupt: EventFD
    private let serial: Serial16550A

    init() throws {
        scratch = try ScratchDirectory("serial")
        loop = try CharLoop(report: { _ in }, onQuit: {})
        interrupt = try EventFD()
        serial = Serial16550A(try loop.open(.null).port, interrupt: interrupt)
    }

    private func read(_ offset: UInt16) -> UInt32 { serial.read(offset, size: 1) }
    private func write(_ offset: UInt16, _ value: UInt32) { serial.write(offset, size: 1, value: value) }

    @Test func linuxFindsA16550A() {
        // autoconfig(): IER keeps its four bits and is put back, the loop-back shows the modem lines, the scratch
        // register keeps what it is given, and IIR shows both FIFO bits.
        write(1, 0)
        #expect(read(1) == 0)
        write(1, 0xFF)
        #expect(read(1) == 0x0F)
        write(1, 0)
        write(4, 0x10 | 0x0A)
        #expect(read(6) & 0xF0 == 0x90)
        write(4, 0)
        write(3, 0xBF)
        write(2, 0)
        write(3, 0)
        write(2, 1)
        #expect(read(2) >> 6 == 3)
        write(7, 0xA5)
        #expect(read(7) == 0xA5)
        #expect(read(5) == 0x60)
        #expect(read(6) == 0xB0)
        #expect(read(8) == 0xFF)
    }

    @Test func divisorHidesTheDataRegisters() {
        write(3, 0x83)
        #expect(read(0) == 0x0C && read(1) == 0)
        write(0, 1)
        write(1, 2)
        #expect(read(0) == 1 && read(1) == 2)
        write(3, 0x03)
        #expect(read(0) == 0 && read(1) == 0)
        #expect(serial.snapshot.divisorLow == 1 && serial.snapshot.divisorHigh == 2)
    }

    @Test func everyByteRaisesTheTransmitterInterrupt() {
        write(1, 2)
        #expect(interrupt.drain() && read(2) == 0x02)
        // Reading was the acknowledgement.
        #expect(read(2) == 0x01 && !interrupt.drain())
        write(0, 0x41)
        #expect(interrupt.drain() && read(5) == 0x60)
        #expect(read(2) == 0x02)
        write(1, 0)
        write(0, 0x42)
        #expect(!interrupt.drain() && read(2) == 0x01)
        write(1, 2)
        #expect(interrupt.drain())
    }

    @Test func receptionWithFIFOAndItsLevels() {
        write(1, 5)
        write(2, 0x81)
        #expect(serial.inputRoom == 16)
        serial.receive(Array(1...7))
        #expect(interrupt.drain() && read(2) == 0xCC)
        serial.receive([8])
        #expect(read(2) == 0xC4 && read(5) == 0x61)
        #expect((1...8).map { UInt32($0) } == (0..<8).map { _ in read(0) })
        #expect(read(2) == 0xC1 && read(5) == 0x60 && read(0) == 0)
        serial.receive(Array(0..<17))
        #expect(interrupt.drain())
        #expect(serial.inputRoom == 0 && read(2) == 0xC6)
        #expect(read(5) == 0x63 && read(5) == 0x61)
        #expect(read(2) == 0xC4)
        write(2, 0x83)
        #expect(read(5) == 0x60 && serial.inputRoom == 16)
    }

    @Test func aSingleByteWithoutFIFO() {
        write(1, 1)
        #expect(serial.inputRoom == 1)
        serial.receive([0x61])
        #expect(interrupt.drain() && read(2) == 0x04 && serial.inputRoom == 0)
        #expect(read(0) == 0x61)
        serial.receive([0x62])
        #expect(interrupt.drain())
        // Bytes that were there when the interrupt is enabled count as well.
        write(1, 0)
        write(1, 1)
        #expect(interrupt.drain())
    }

    @Test func loopBack() {
        write(4, 0x1F)
        #expect(serial.inputRoom == 0 && read(6) & 0xF0 == 0xF0)
        write(0, 0x5A)
        #expect(read(5) == 0x61 && read(0) == 0x5A)
        write(4, 0)
        #expect(serial.inputRoom == 1)
    }

    @Test func inputGoesOnAfterTheFIFOIsCleared() throws {
        defer { loop.stop() }
        let path = scratch.path("socket")
        let port = try loop.open(.socket(path)).port
        let serial = Serial16550A(port, interrupt: interrupt)
        port.connect(serial)
        serial.write(2, size: 1, value: 1)
        let client = FileDescriptor(owning: cl_unix_socket())
        // SAFETY: the path's bytes live through the call.
        let connected = unsafe cl_unix_connect(client.raw, path)
        #expect(connected == 0)
        try client.writeAll(Array(0..<20))
        #expect(Deadline.seconds(10).wait { serial.snapshot.received == Array(0..<16) })
        serial.write(2, size: 1, value: 3)
        #expect(Deadline.seconds(10).wait { serial.snapshot.received == Array(16..<20) })
    }

    @Test func randomAccessesNeverTrap() {
        var random = SeededGenerator(seed: 8250)
        for _ in 0..<50_000 {
            let offset = UInt16.random(in: 0...9, using: &random)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: #expect(serial.read(offset, size: 4) <= 0xFF)
            case 1: serial.write(offset, size: 2, value: .random(in: 0 ... .max, using: &random))
            default: serial.receive([UInt8](repeating: 1, count: max(0, serial.inputRoom)))
            }
            #expect(serial.snapshot.received.count <= 16 && (0...16).contains(serial.inputRoom))
        }
    }
}
