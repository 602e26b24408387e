import Host
import Testing

@testable import Migration

/// Frames and pages whose bytes are not what they should be.
struct WireTests {
    @Test func aHeaderComesBack() throws {
        for kind in FrameKind.allCases {
            let header = FrameHeader(kind, sequence: 0x0102_0304_0506_0708, length: kind.limit, checksum: 0xDEAD_BEEF)
            #expect(header.bytes.count == FrameHeader.size)
            #expect(try FrameHeader(header.bytes, sequence: header.sequence) == header)
        }
    }

    @Test func everyBitOfAHeaderCounts() {
        let bytes = FrameHeader(.state, sequence: 5, length: 1000, checksum: 77).bytes
        for bit in 0..<bytes.count * 8 {
            var broken = bytes
            broken[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: MigrationError.self) { try FrameHeader(broken, sequence: 5) }
        }
        #expect(throws: MigrationError.self) { try FrameHeader(bytes, sequence: 6) }
        #expect(throws: MigrationError.self) { try FrameHeader(Array(bytes.dropLast()), sequence: 5) }
    }

    @Test func aLengthBeyondItsKindIsRefused() {
        for kind in FrameKind.allCases {
            let header = FrameHeader(kind, sequence: 0, length: kind.limit + 1, checksum: 0)
            #expect(throws: MigrationError.self) { try FrameHeader(header.bytes, sequence: 0) }
        }
    }

    /// What pages may not be: outside of the memory, twice, of another round, more or fewer than are said.
    @Test func pagesThatCannotBeAreRefused() throws {
        let memory = try FakeMemory()
        let arriving = ArrivingMemory(memory.regions)
        let data = try ScratchMemory(count: PagesHead.chunkSize)
        data.fill([UInt8](repeating: 9, count: 8192))
        func put(
            _ address: UInt64, _ present: PageSet, _ zero: PageSet = PageSet(), round: UInt64 = 1, bytes: Int? = nil
        )
            -> Bool
        {
            let head = PagesHead(address: address, round: round, present: present, zero: zero)
            #expect(PagesHead(head.bytes) == head)
            return (try? arriving.put(head, data.range, dataBytes: bytes ?? present.pageCount * 4096)) != nil
        }
        let one = PageSet(lowest: 1)
        var far = PageSet()
        far[7] = 1 << 63
        let before = memory.bytes
        for address: UInt64 in [2 << 20, 4096, (1 << 32) - (2 << 20), (1 << 32) + 4096, (1 << 32) + (4 << 20), .max, 1]
        {
            #expect(!put(address, one), "\(address)")
        }
        // The last chunk of the second region has 20 pages.
        #expect(!put((1 << 32) + (2 << 20), far) && !put((1 << 32) + (2 << 20), PageSet(lowest: 21)))
        #expect(!put(0, one, one) && !put(0, one, round: 2) && !put(0, one, round: 0) && !put(0, one, bytes: 8192))
        #expect(memory.bytes == before)
        #expect(put((1 << 32) + (2 << 20), PageSet(lowest: 20)))
        #expect(put(0, far) && !put(0, far) && !put(0, PageSet(), far))
        arriving.begin(round: 2)
        #expect(put(0, PageSet(), far, round: 2) && !put(0, far, round: 1))
        #expect(memory.bytes[0].allSatisfy { $0 == 0 } && memory.bytes[1][2 << 20] == 9)
    }

    @Test func addresses() {
        #expect(StreamAddress("unix:/tmp/x") == .unix("/tmp/x"))
        #expect(StreamAddress("tcp:10.0.0.1:77") == .tcp(host: "10.0.0.1", port: 77))
        #expect(StreamAddress("tcp:[::1]:1") == .tcp(host: "::1", port: 1))
        #expect(StreamAddress("tcp:localhost:65535") != nil)
        for text in [
            "", "unix:", "tcp:", "tcp:1.2.3.4", "tcp:1.2.3.4:65536", "tcp::5", "file:///x", "tcp:no.such.host:1",
        ] {
            #expect(StreamAddress(text) == nil, "\(text)")
        }
    }
}
