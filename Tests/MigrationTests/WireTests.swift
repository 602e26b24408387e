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
        func put(
            _ address: UInt64, _ present: PageSet, _ zero: PageSet = PageSet(), round: UInt64 = 1, bytes: Int? = nil
        ) -> Bool {
            let head = PagesHead(address: address, round: round, present: present, zero: zero)
            #expect(PagesHead(head.bytes) == head)
            return receives(head, [UInt8](repeating: 9, count: bytes ?? present.pageCount * 4096), arriving)
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

    /// Few runs of pages are received where they belong, many by way of the channel's own memory.
    @Test(arguments: [1, 4, 5, 64, 256]) func pagesComeWhereTheyBelong(_ runs: Int) throws {
        let memory = try FakeMemory()
        let arriving = ArrivingMemory(memory.regions)
        var (present, data) = (PageSet(), [UInt8]())
        var expected = memory.bytes
        for run in 0..<runs {
            let page = 512 / runs * run
            present[page / 64] |= 1 << UInt64(page % 64)
            let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: run + 1), count: 4096)
            data += bytes
            expected[0].replaceSubrange(page * 4096..<(page + 1) * 4096, with: bytes)
        }
        #expect(receives(PagesHead(address: 0, round: 1, present: present, zero: PageSet()), data, arriving))
        #expect(memory.bytes == expected)
    }

    /// Whether a memory takes pages that come over a line.
    private func receives(_ head: PagesHead, _ data: [UInt8], _ memory: ArrivingMemory) -> Bool {
        let payload = head.bytes + data
        let header = FrameHeader(.pages, sequence: 0, length: payload.count, checksum: Checksum.crc32c(payload))
        guard let (near, far) = try? StreamConnection.pair(), let channel = try? FrameChannel(far),
            let sender = try? Thread("sender", { try? near.send(header.bytes + payload, within: 10_000) })
        else { return false }
        defer {
            near.shutDown()
            sender.join()
        }
        return (try? channel.receive(within: 10_000, into: memory)) != nil
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
