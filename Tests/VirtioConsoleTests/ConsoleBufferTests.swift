import CharBackend
import Host
import Memory
import TestSupport
import Testing
import Virtio

@testable import VirtioConsole

/// What the worker costs for each notification.
struct ConsoleBufferTests {
    /// The bytes of both directions go through one buffer, whose place never changes: nothing is allocated for it, be it
    /// anew or as a copy.
    @Test func kicksShareOneBuffer() throws {
        let memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        let receive = try FakeDriver(memory, size: 16, base: 0),
            transmit = try FakeDriver(memory, size: 16, base: 0x1000)
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        defer { loop.stop() }
        let port = try loop.open(.null).port
        let input = try ConsoleInput(port)
        let activation = VirtioActivation(
            memory: memory, features: 1, queues: [receive.resources(index: 0), transmit.resources(index: 1)],
            transport: RecordingTransport())
        guard let incoming = try ServedQueue(activation, 0), let outgoing = try ServedQueue(activation, 1) else {
            Issue.record("the driver enabled both queues")
            return
        }
        let epoll = try Epoll()
        var worker = ConsoleWorker(
            receive: incoming, transmit: outgoing, ConsoleLine(port: port, input: input, metrics: ConsoleMetrics()),
            written: 0)
        worker.begin(epoll)
        func place() -> UInt {
            // SAFETY: only the address's number is kept.
            unsafe worker.buffer.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
        }
        let first = place()
        for round in 0..<4 as Range<UInt8> {
            try transmit.send([.readable(0x10000, 3000), .readable(0x20000, 5)])
            try receive.send([.writable(0x30000, 100)])
            let typed = [UInt8](repeating: round, count: 7)
            input.receive(typed)
            worker.ready(2, .readable, epoll)
            worker.ready(1, .readable, epoll)
            #expect(try transmit.waitUsed().length == 0)
            #expect(try receive.waitUsed().length == 7)
            #expect(try memory.bytes(at: 0x30000, count: 7) == typed)
            let (now, count) = (place(), worker.buffer.count)
            #expect(now == first && count == 4096)
        }
    }
}
