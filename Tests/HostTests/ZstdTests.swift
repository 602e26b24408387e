#if Zstd
    import Testing

    @testable import Host

    /// Bytes that were compressed come back, and nothing else is taken for them.
    struct ZstdTests {
        private let room: ScratchMemory
        private let packed: ScratchMemory
        private let target: ScratchMemory
        private let decompressor: ZstdDecompressor
        private static let size = 16 * HostRange.pageSize

        init() throws {
            (room, packed) = (try ScratchMemory(count: Self.size), try ScratchMemory(count: 2 * Self.size))
            // What lies before and behind the bytes is not to be touched.
            target = try ScratchMemory(count: Self.size + 2 * HostRange.pageSize)
            target.fill([UInt8](repeating: 0xA5, count: target.range.count))
            decompressor = try ZstdDecompressor()
        }

        /// Bytes like those of a guest: runs, words, and a page of noise.
        private func fill(_ seed: UInt64) -> [UInt8] {
            var state = seed
            var bytes: [UInt8] = []
            while bytes.count < Self.size {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let byte = UInt8(truncatingIfNeeded: state >> 33)
                let isNoise = bytes.count / HostRange.pageSize == 3
                bytes += [UInt8](repeating: byte, count: isNoise ? 1 : Int(state >> 48) % 90 + 1)
            }
            bytes.removeLast(bytes.count - Self.size)
            room.fill(bytes)
            return bytes
        }

        private func decompress(_ bytes: [UInt8], size: Int = Self.size) -> [UInt8]? {
            packed.fill(bytes)
            let page = HostRange.pageSize
            let part = target.range.part(page..<page + size)
            let isGood = decompressor.decompress(packed.range.part(0..<bytes.count), into: part)
            let around = target.bytes(0..<page) + target.bytes(page + size..<target.range.count)
            #expect(around.allSatisfy { $0 == 0xA5 })
            let result = part.bytes
            target.fill([UInt8](repeating: 0xA5, count: target.range.count))
            return isGood ? result : nil
        }

        private func compressed(_ seed: UInt64 = 1) throws -> (bytes: [UInt8], packed: [UInt8]) {
            let bytes = fill(seed)
            let count = try #require(try ZstdCompressor().compress(room.range, into: packed.range))
            return (bytes, packed.bytes(0..<count))
        }

        @Test func bytesComeBack() throws {
            let compressor = try ZstdCompressor()
            for seed in 0..<50 as Range<UInt64> {
                let bytes = fill(seed)
                let count = try #require(compressor.compress(room.range, into: packed.range))
                #expect(count < Self.size / 2)
                #expect(decompress(packed.bytes(0..<count)) == bytes)
            }
        }

        @Test func whatDoesNotFitIsNoFrame() throws {
            let (_, frame) = try compressed()
            let compressor = try ZstdCompressor()
            #expect(compressor.compress(room.range, into: packed.range.part(0..<frame.count - 1)) == nil)
            #expect(compressor.compress(room.range, into: packed.range.part(0..<0)) == nil)
            // And the next one is as good as ever.
            let count = try #require(compressor.compress(room.range, into: packed.range))
            #expect(packed.bytes(0..<count) == frame)
        }

        @Test func onlyOneFrameOfTheRightSizeIsTaken() throws {
            let (bytes, frame) = try compressed()
            #expect(decompress(frame) == bytes)
            for count in 0..<frame.count { #expect(decompress(Array(frame[..<count])) == nil, "\(count)") }
            #expect(decompress(frame + [0]) == nil && decompress(frame + frame) == nil)
            #expect(decompress(frame, size: Self.size - 1) == nil && decompress(frame, size: HostRange.pageSize) == nil)
            #expect(decompress(frame, size: 0) == nil)
            // A frame that is skipped, alone and before one that counts; formats 0.1 to 0.7 of zstd; no zstd at all.
            let skipped: [UInt8] = [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]
            #expect(decompress(skipped) == nil && decompress(skipped + frame) == nil)
            for version in 0x1E...0x27 as ClosedRange<UInt8> {
                #expect(decompress([version, 0xB5, 0x2F, 0xFD] + frame.dropFirst(4)) == nil)
            }
            #expect(decompress([UInt8](repeating: 0, count: 5000)) == nil)
            #expect(decompress([UInt8](repeating: 0xFF, count: 5000)) == nil)
        }

        /// A peer writes what it likes: some of it is a frame of other bytes, and none of it reaches beyond its place.
        @Test func damagedFramesStayInTheirPlace() throws {
            var refused = 0
            for seed in 0..<3 as Range<UInt64> {
                let (_, frame) = try compressed(seed)
                var state = seed &+ 99
                for _ in 0..<2000 {
                    var broken = frame
                    for _ in 0..<3 {
                        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                        // Heads of frame and blocks more often than what is in them.
                        let limit = state >> 62 == 0 ? frame.count : 64
                        broken[Int(state >> 33) % limit] = UInt8(truncatingIfNeeded: state >> 20)
                    }
                    if decompress(broken) == nil { refused += 1 }
                }
            }
            // Other bytes of a page are as good as those, so that not all can be told from them.
            #expect(refused > 2000)
        }
    }
#endif
