import PCI
import TestSupport
import Testing
import Virtio

/// Functions that are taken out of a running machine.
struct PCITransportRemovalTests {
    @Test func aFunctionThatIsGoneIsAnEmptySlot() throws {
        let bench = try TransportBench()
        bench.transport.placed(bar: 0, at: TransportBench.base)
        bench.start()
        #expect(bench.device.state.withLock { $0.activations } == 1 && !bench.notifications.addresses.isEmpty)
        bench.transport.shutDown()
        #expect(bench.device.state.withLock { $0.deactivations } == 1)
        #expect(bench.notifications.addresses.isEmpty && bench.interrupts.connectedCount == 0)

        // A vCPU that found the function just before it went cannot bring it back.
        bench.start()
        bench.transport.placed(bar: 0, at: TransportBench.base)
        for offset in stride(from: 0, to: 256, by: 4) {
            bench.transport.writeConfiguration(offset, size: 4, value: .max)
        }
        #expect(bench.device.state.withLock { $0.activations } == 1)
        #expect(bench.notifications.addresses.isEmpty && bench.interrupts.connectedCount == 0)
        #expect(bench.transport.readConfiguration(0, size: 4) == .max && bench.read(0x14, 1) == .max)
        bench.transport.resume()
        #expect(bench.device.state.withLock { $0.activations } == 1)
    }

    @Test func pausingTellsWhetherThereWereWorkers() throws {
        let bench = try TransportBench()
        #expect(!bench.transport.pause())
        bench.start()
        #expect(bench.transport.pause() && !bench.transport.pause())
        bench.transport.resume()
        #expect(bench.device.state.withLock { $0.activations } == 2 && bench.transport.pause())
    }
}
