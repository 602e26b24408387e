import Host
import Memory
import PCI
import Snapshot
import TestSupport
import Testing
import Virtio

/// The state of a virtio function and of the bus that it is on.
struct TransportStateTests {
    private static let windows = PCIRoot.Windows(
        memory32: 0xC000_0000..<0xE800_0000, memory64: 0x10_0000_0000..<0x20_0000_0000)
    private static let moved: UInt64 = 0x11_0000_0000

    /// A function whose driver is ready, at an address that it chose, one vector's interrupt waiting behind its mask.
    private func running() throws -> (bench: TransportBench, root: PCIRoot) {
        let bench = try TransportBench()
        let root = PCIRoot(windows: Self.windows)
        #expect(root.insert(bench.transport, device: 5))
        root.writePort(0, size: 4, value: 0x8000_2804)
        root.writeECAM(5 << 15 | 0x10, size: 4, value: Self.moved & 0xFFFF_FFFF)
        root.writeECAM(5 << 15 | 0x14, size: 4, value: Self.moved >> 32)
        root.writeECAM(5 << 15 | 4, size: 2, value: 6)
        bench.setStatus(3)
        bench.take(1 << 32 | 4)
        bench.setStatus(11)
        bench.setUpQueue(0, vector: 1)
        bench.write(0x10, 2, 0)
        // Vectors 0 and 1 with messages; 1 is masked. MSI-X is on (the first capability, at 0x40).
        for vector in 0..<2 as Range<UInt64> {
            bench.write(0x4000 + 16 * vector, 4, 0xFEE0_1000)
            bench.write(0x4008 + 16 * vector, 4, 0x40 + vector)
            bench.write(0x400C + 16 * vector, 4, vector)
        }
        bench.transport.writeConfiguration(0x42, size: 2, value: 0x8000)
        bench.setStatus(15)
        let activation = try #require(bench.device.state.withLock { $0.activation })
        activation.queues[0].interrupt.signal()
        bench.transport.configurationChanged()
        bench.interrupts.deliverAll()
        return (bench, root)
    }

    private func paused() throws -> (saved: SavedTransport, bus: PCIRootState) {
        let (bench, root) = try running()
        bench.transport.pause()
        var document = StateDocument()
        try document.add(bench.transport.save(), as: "_fake0")
        try document.add(root.saved, as: "__pci")
        let read = try StateDocument(try document.encoded(), file: "state.json")
        return (
            try read.read(SavedTransport.self, of: "_fake0"), try read.read(PCIRootState.self, of: "__pci")
        )
    }

    @Test func aFunctionGoesOnWhereItWas() throws {
        var (saved, bus) = try paused()
        (saved.queues[0].nextAvailable, saved.queues[0].nextUsed) = (3, 3)
        let bench = try TransportBench()
        // The driver's ring has four entries, of which three were taken.
        try bench.memory.write(UInt16(4), at: 0x2002)
        let root = PCIRoot(windows: Self.windows)
        #expect(root.insert(bench.transport, device: 5))
        try bench.transport.restore(saved, "_fake0")
        try root.restore(bus, "__pci")
        #expect(root.readPort(0, size: 4) == 0x8000_2804)
        #expect(bench.device.state.withLock { $0.activations } == 0)
        // Notifications are watched at the moved registers, and the unmasked vector is connected.
        #expect(bench.notifications.addresses == [Self.moved + 0x3000, Self.moved + 0x3004])
        #expect(root.readMemory(Self.moved + 0x14, size: 1) == 15)
        #expect(bench.interrupts.connectedCount == 1 && bench.interrupts.delivered.isEmpty)
        #expect(bench.read(0x6000, 8) == 2)
        #expect(bench.transport.save() == saved)

        bench.transport.resume()
        let activation = try #require(bench.device.state.withLock { $0.activation })
        #expect(activation.features == 1 << 32 | 4 && activation.queues.count == 1)
        #expect(activation.queues[0].progress == QueueProgress(nextAvailable: 3, nextUsed: 3))
        #expect(activation.queues[0].config.availableRing == saved.queues[0].availableRing)
        // What waited behind its mask comes when that is lifted.
        bench.write(0x401C, 4, 0)
        bench.interrupts.deliverAll()
        #expect(bench.interrupts.delivered.map(\.data) == [0x41])
        #expect(bench.read(0x2000, 1) == 2)
    }

    /// A driver is told of a device that is not what it was.
    @Test func aChangedDeviceSaysSo() throws {
        var (saved, _) = try paused()
        saved.device = RawBytes([9, 9])
        let bench = try TransportBench()
        try bench.transport.restore(saved, "_fake0")
        bench.transport.resume()
        bench.interrupts.deliverAll()
        #expect(bench.interrupts.delivered.map(\.data) == [0x40])
        #expect(bench.read(0x15, 1) == UInt64(saved.generation) + 1)
    }

    @Test func aStateThatNoDriverLeavesIsRefused() throws {
        let (good, bus) = try paused()
        func refused(
            _ field: String, at location: SourceLocation = #_sourceLocation, _ change: (inout SavedTransport) -> Void
        ) throws {
            var state = good
            change(&state)
            let bench = try TransportBench()
            let error = #expect(throws: SnapshotError.self, sourceLocation: location) {
                try bench.transport.restore(state, "_fake0")
            }
            #expect(error?.field == "devices._fake0.state.\(field)", "\(error as Any)", sourceLocation: location)
        }
        try refused("type") { $0.type = 1 }
        for status in [16, 32, 64, 0xFF] as [UInt8] { try refused("status") { $0.status = status } }
        try refused("status") { $0.status = 7 }
        try refused("driverFeatures") { $0.driverFeatures = 1 << 32 | 2 }
        try refused("driverFeatures") { $0.driverFeatures = 4 }
        try refused("driverFeatures") { $0.driverFeatures = .max }
        try refused("configurationVector") { $0.configurationVector = 3 }
        try refused("queues") { $0.queues.removeLast() }
        try refused("queues") { $0.queues = [] }
        try refused("queues") { $0.queues += $0.queues }
        for size in [0, 3, 16, 0x8000, 0xFFFF] as [UInt16] {
            try refused("queues[0].size") { $0.queues[0].size = size }
        }
        try refused("queues[1].vector") { $0.queues[1].vector = 0x1234 }
        for address in [.max, .max - 15, 0x1008, 1 << 52] as [UInt64] {
            try refused("queues[0]") { $0.queues[0].descriptorTable = address }
        }
        try refused("queues[0]") { $0.queues[0].availableRing = .max - 1 }
        try refused("queues[0]") { $0.queues[0].usedRing = .max - 3 }
        try refused("queues[0]") { $0.queues[0].nextAvailable = 0x7777 }
        try refused("msix.vectors") { $0.msix.vectors = [] }
        try refused("msix.vectors") { $0.msix.vectors += $0.msix.vectors }
        try refused("configuration") { $0.configuration = RawBytes([]) }
        try refused("configuration") { $0.configuration = RawBytes([UInt8](repeating: 0xFF, count: 256)) }

        // Whatever the guest may write there is taken; the bus then refuses what it cannot place.
        var anywhere = good.configuration.bytes
        for byte in 0x10..<0x18 { anywhere[byte] = 0xFF }
        anywhere[0x10] = 0x04
        anywhere[0x11] = good.configuration.bytes[0x11] & 0x7F | 0x80
        var state = good
        state.configuration = RawBytes(anywhere)
        let bench = try TransportBench()
        try bench.transport.restore(state, "_fake0")
        let root = PCIRoot(windows: Self.windows)
        #expect(root.insert(bench.transport, device: 5))
        let error = #expect(throws: SnapshotError.self) { try root.restore(bus, "__pci") }
        #expect(error?.field == "devices.__pci.state.decoding")
        for slots in [[-1], [32], [.max], [7], [0]] {
            #expect(throws: SnapshotError.self) {
                try PCIRoot(windows: Self.windows).restore(
                    PCIRootState(portAddress: .max, decoding: slots), "__pci")
            }
        }
    }

    /// Any one byte of a state's JSON: it is refused with a place, or it is a state; never the end of the process.
    @Test func damagedBytesNeverTrap() throws {
        let (good, _) = try paused()
        var document = StateDocument()
        try document.add(good, as: "_fake0")
        let bytes = try document.encoded()
        var random = SystemRandomNumberGenerator()
        var taken = 0
        for _ in 0..<3000 {
            var damaged = bytes
            let place = Int.random(in: 0..<bytes.count, using: &random)
            damaged[place] = Array("0123456789-,:{}[]\"e".utf8).randomElement(using: &random) ?? 0
            guard let read = try? StateDocument(damaged, file: "state.json"),
                let state = try? read.read(SavedTransport.self, of: "_fake0")
            else { continue }
            let bench = try TransportBench()
            do throws(SnapshotError) {
                try bench.transport.restore(state, "_fake0")
                bench.transport.resume()
                bench.transport.shutDown()
                taken += 1
            } catch {
                #expect(error.field?.hasPrefix("devices._fake0") == true, "\(error)")
            }
        }
        #expect(taken > 0)
    }
}
