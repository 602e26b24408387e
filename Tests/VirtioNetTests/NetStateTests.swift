import Snapshot
import TestSupport
import Testing
import Virtio
import VirtioNet

/// What a network device keeps over a pause and a snapshot beside its queues.
struct NetStateTests {
    private func pairs(_ device: NetDevice) throws -> Int {
        var document = StateDocument()
        try device.save(to: &document, as: "n")
        return try StateDocument(try document.encoded(), file: "state.json").read(NetState.self, of: "n").pairs
    }

    @Test func theDriversPairsAreKept() throws {
        let bench = try NetBench(features: NetBench.mergeable | 1 << 17 | 1 << 22, pairs: 2)
        #expect(try pairs(bench.device) == 1)
        // VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET
        try bench.memory.write([4, 0, 2, 0] as [UInt8], at: 0x30_0000)
        try bench.memory.write(0xEE as UInt8, at: 0x30_0010)
        _ = try bench.control.exchange([.readable(0x30_0000, 4), .writable(0x30_0010, 1)])
        #expect(try bench.memory.read(UInt8.self, at: 0x30_0010) == 0)
        _ = bench.device.deactivate()
        #expect(try pairs(bench.device) == 2)

        var document = StateDocument()
        try bench.device.save(to: &document, as: "n")
        bench.device.reset()
        #expect(try pairs(bench.device) == 1)
        try bench.device.restore(from: document, as: "n")
        #expect(try pairs(bench.device) == 2)
    }

    @Test(arguments: [Int.min, -1, 0, 3, .max]) func pairsThatThereAreNot(_ count: Int) throws {
        let bench = try NetBench(features: NetBench.mergeable | 1 << 17 | 1 << 22, pairs: 2)
        let text = #"{"format":1,"devices":{"n":{"kind":"virtio-net","version":1,"state":{"pairs":\#(count)}}}}"#
        let document = try StateDocument(Array(text.utf8), file: "state.json")
        let error = #expect(throws: SnapshotError.self) { try bench.device.restore(from: document, as: "n") }
        #expect(error?.field == "devices.n.state.pairs")
    }
}
