import Host
import KVM
import PCI
import TestSupport
import Testing

/// The MSI-X table and its pending bits (PCI 3.0 section 6.8.2), against an interrupt controller that remembers.
struct MSIXTests {
    private let controller = FakeInterrupts()

    private func message(_ data: UInt32) -> MSIMessage {
        MSIMessage(addressLow: 0xFEE0_1000, addressHigh: 0, data: data)
    }

    private func unmask(_ msix: inout MSIX, _ vector: Int, data: UInt32) throws {
        try msix.writeTable(16 * vector, size: 4, value: 0xFEE0_1000)
        try msix.writeTable(16 * vector + 8, size: 4, value: UInt64(data))
        try msix.writeTable(16 * vector + 12, size: 4, value: 0)
    }

    @Test func vectorsStartMasked() throws {
        let msix = try MSIX(vectors: 3, connector: controller)
        #expect(msix.tableSize == 48 && msix.pendingSize == 8)
        #expect((0..<3).allSatisfy { msix.readTable(16 * $0 + 12, size: 4) == 1 })
        #expect(controller.connectedCount == 0)
        let large = try MSIX(vectors: 65, connector: controller)
        #expect(large.pendingSize == 16)
    }

    @Test func tableIsReadAsWritten() throws {
        var msix = try MSIX(vectors: 2, connector: controller)
        try msix.writeTable(16, size: 8, value: 0x0000_0001_FEE0_0FFF)
        try msix.writeTable(24, size: 8, value: 0xFFFF_FFFE_0000_4021)
        #expect(msix.readTable(16, size: 4) == 0xFEE0_0FFC)
        #expect(msix.readTable(16, size: 8) == 0x0000_0001_FEE0_0FFC)
        #expect(msix.readTable(24, size: 8) == 0x0000_0000_0000_4021)
        #expect(msix.readTable(20, size: 4) == 1)
    }

    @Test func oddAccessesAreIgnored() throws {
        var msix = try MSIX(vectors: 2, connector: controller)
        let before = msix.state
        for (offset, size) in [(0, 1), (0, 2), (2, 4), (4, 8), (32, 4), (-4, 4), (-16, 8), (.max, 4), (0, 0), (0, 16)] {
            #expect(msix.readTable(offset, size: size) == 0)
            try msix.writeTable(offset, size: size, value: .max)
        }
        #expect(msix.state == before)
        #expect(msix.readPending(-1, size: 4) == 0 && msix.readPending(0, size: 9) == 0)
    }

    @Test func enablingConnectsUnmaskedVectors() throws {
        var msix = try MSIX(vectors: 2, connector: controller)
        try unmask(&msix, 0, data: 0x41)
        #expect(controller.connectedCount == 0)
        try msix.setControl(enabled: true, functionMasked: false)
        #expect(controller.connection(of: msix.events[0])?.message == message(0x41))
        #expect(controller.connection(of: msix.events[1]) == nil)
        try msix.setControl(enabled: true, functionMasked: true)
        #expect(controller.connectedCount == 0)
        try msix.setControl(enabled: false, functionMasked: false)
        #expect(controller.connectedCount == 0)
    }

    @Test func maskedVectorsArePendingUntilTheyAreUnmasked() throws {
        var msix = try MSIX(vectors: 66, connector: controller)
        try msix.setControl(enabled: true, functionMasked: false)
        try unmask(&msix, 65, data: 0x50)
        try msix.writeTable(16 * 65 + 12, size: 4, value: 1)
        msix.events[65].signal()
        msix.events[3].signal()
        #expect(msix.readPending(0, size: 8) == 1 << 3)
        #expect(msix.readPending(8, size: 8) == 2)
        #expect(msix.readPending(0, size: 4) == 1 << 3)
        #expect(controller.delivered.isEmpty)
        try msix.writeTable(16 * 65 + 12, size: 4, value: 0)
        #expect(controller.delivered == [message(0x50)])
        #expect(msix.readPending(8, size: 8) == 0)
        // While it is connected, what is signalled is on its way and not pending.
        msix.events[65].signal()
        #expect(msix.readPending(8, size: 8) == 0)
    }

    @Test func aNewMessageMovesTheRoute() throws {
        var msix = try MSIX(vectors: 1, connector: controller)
        try msix.setControl(enabled: true, functionMasked: false)
        try unmask(&msix, 0, data: 0x41)
        let first = controller.connection(of: msix.events[0])
        try msix.writeTable(8, size: 4, value: 0x42)
        let second = controller.connection(of: msix.events[0])
        #expect(first?.message == message(0x41) && second?.message == message(0x42))
        #expect(first?.gsi == second?.gsi)
    }

    @Test func resetForgetsMessagesAndWhatIsPending() throws {
        var msix = try MSIX(vectors: 2, connector: controller)
        try msix.setControl(enabled: true, functionMasked: false)
        try unmask(&msix, 0, data: 0x41)
        let gsi = controller.connection(of: msix.events[0])?.gsi
        msix.events[1].signal()
        try msix.reset()
        #expect(controller.connectedCount == 0)
        #expect(controller.released == [gsi].compactMap { $0 })
        #expect(msix.state == MSIXState(vectors: 2))
        #expect(msix.readPending(0, size: 8) == 0)
    }

    @Test func aRefusedRouteIsAnError() throws {
        var msix = try MSIX(vectors: 1, connector: controller)
        try msix.setControl(enabled: true, functionMasked: false)
        controller.fail(.exhausted("interrupt routes", limit: 4096))
        #expect(throws: KVMError.exhausted("interrupt routes", limit: 4096)) { try unmask(&msix, 0, data: 1) }
        // Later, with room again, masking and unmasking brings the vector back.
        controller.fail(nil)
        try msix.writeTable(12, size: 4, value: 1)
        try msix.writeTable(12, size: 4, value: 0)
        #expect(controller.connectedCount == 1)
    }
}
