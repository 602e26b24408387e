import Host
import TestSupport
import Testing
import Virtio

@testable import VirtioBlock

/// Disks that become longer and shorter while their guest uses them.
struct DiskResizeTests {
    private let scratch: ScratchDirectory
    private let path: String
    private let content = testBytes(64 * 512)

    init() throws {
        scratch = try ScratchDirectory("resize")
        path = try scratch.write("disk.raw", content)
    }

    private func refusal(_ image: DiskImage, _ bytes: UInt64) -> String? {
        do throws(DiskError) {
            try image.resize(to: bytes) {}
            return nil
        } catch {
            return error.description
        }
    }

    /// The capacity in sectors that the guest reads.
    private func capacity(_ device: BlockDevice) -> UInt64 {
        device.configuration().prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    @Test func growing() throws {
        let bench = try BlockBench(rawDisk(path))
        #expect(capacity(bench.device) == 64)
        #expect(try bench.write(0x11, sector: 64) == 1)
        try bench.device.image.resize(to: 128 * 512) { Issue.record("nothing has to end before a disk grows") }
        #expect(capacity(bench.device) == 128)
        #expect(try bench.write(0x22, sector: 64) == 0 && bench.write(0x33, sector: 127) == 0)
        #expect(try bench.write(0x44, sector: 128) == 1 && bench.write(0x44, sector: 127, count: 2) == 1)
        let file = try scratch.read("disk.raw")
        #expect(file.count == 128 * 512 && Array(file[..<content.count]) == content)
        #expect(file[64 * 512] == 0x22 && file[127 * 512] == 0x33 && file[100 * 512] == 0)
    }

    @Test func shrinking() throws {
        let bench = try BlockBench(rawDisk(path))
        var drained = false
        try bench.device.image.resize(to: 8 * 512) {
            // Nothing beyond the new end is accepted any more, and the file still has what was accepted before.
            drained = true
            #expect(capacity(bench.device) == 8)
            #expect((try? scratch.read("disk.raw").count) == content.count)
        }
        #expect(drained)
        #expect(try scratch.read("disk.raw") == Array(content[..<(8 * 512)]))
        #expect(try bench.write(0x11, sector: 7) == 0 && bench.write(0x11, sector: 8) == 1)
        #expect(try bench.request(0, sector: 8, [.writable(BlockBench.data, 512)]).status == 1)
        #expect(try scratch.read("disk.raw").count == 8 * 512)
        // Growing again shows zeroes, not what was there.
        try bench.device.image.resize(to: 16 * 512) {}
        #expect(try bench.request(0, sector: 9, [.writable(BlockBench.data, 512)]).status == 0)
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 512) == [UInt8](repeating: 0, count: 512))
    }

    @Test func aReadOnlyImageHasTheSizeThatItHas() throws {
        let image = try DiskImage(rawDisk(path) { $0.readOnly = true })
        #expect(refusal(image, 32768 + 512)?.contains("is read-only and has 32768 bytes") == true)
        #expect(image.size == 32768)
        try scratch.sparse("disk.raw", bytes: 65536)
        #expect(refusal(image, 65536) == nil && image.size == 65536)
    }

    @Test func aSizeThatTheHostRefusesChangesNothing() throws {
        let image = try DiskImage(rawDisk(path))
        let refused = refusal(image, UInt64(Int64.max) / 512 * 512)
        #expect(refused?.contains("cannot get 9223372036854775296 bytes: ") == true, "\(refused ?? "accepted")")
        #expect(image.size == 32768)
        #expect(try scratch.read("disk.raw") == content)
    }
}
