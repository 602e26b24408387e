import Testing
import Virtio

/// What a function tells the log of its life.
struct PCITransportNoteTests {
    @Test func tellsOfItsLife() throws {
        let bench = try TransportBench()
        bench.transport.placed(bar: 0, at: 0x2000_0000)
        bench.transport.placed(bar: 0, at: 0x2000_0000)
        bench.start(1 << 32 | 0x4)
        bench.setStatus(0)
        // There is nothing to reset any more.
        bench.setStatus(0)
        bench.transport.placed(bar: 0, at: nil)
        #expect(
            bench.reports.notes.withLock { $0 } == [
                "_fake0: its registers are at 0x20000000", "_fake0: activated, queues 0:8, features 0x100000004",
                "_fake0: reset", "_fake0: its registers are off",
            ])
    }
}
