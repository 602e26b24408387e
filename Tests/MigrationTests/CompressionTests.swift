import Host
import TestSupport
import Testing

@testable import Migration

/// Pages that are compressed on their way, and ends that do not agree on that.
@Suite(.timeLimit(.minutes(10))) struct CompressionTests {
    private func refusal(_ setting: Move.Setting) throws -> MigrationError {
        let scratch = try ScratchDirectory("compression")
        let move = try Move(scratch, setting)
        #expect(move.problem == nil)
        _ = scratch
        guard case .returned(let error, nil) = move.sent else { throw MigrationError(.invalid, "\(move.sent)") }
        return error
    }

    @Test func whatIsNotKnownIsRefusedByName() throws {
        let ledger = Ledger()
        var hello = try FakeSource(ledger).hello
        #expect(hello.compressionProblem == nil)
        hello.compression = "Lz4"
        #expect(hello.compressionProblem?.contains(#""Lz4""#) == true)
        hello.compression = "Zstd"
        #expect((hello.compressionProblem == nil) == Zstd.isBuiltIn)
    }

    /// Nobody said that compressed pages would come.
    @Test func compressedPagesThatWereNotAgreedUponAreRefused() throws {
        let head = PagesHead(address: 0, round: 1, present: PageSet(lowest: 1), zero: PageSet())
        let error = #expect(throws: MigrationError.self) { try Self.receive(head, [1, 2, 3], unpacks: false) }
        #expect(error?.description.contains("none were to come") == true)
    }

    /// An older destination takes the hello for one without compression, and does not say that it has it.
    @Test func aDestinationThatDoesNotKnowItIsToldApart() throws {
        let scratch = try ScratchDirectory("older")
        let listener = try StreamListener(.unix(scratch.path("there")))
        let thread = try Thread("older") {
            for _ in 0..<2 {
                guard let connection = try? listener.accept(within: 10_000, heeding: nil),
                    let channel = try? FrameChannel(connection)
                else { continue }
                _ = try? channel.receive(within: 10_000)
                try? channel.send(.welcome, Array(#"{"format":1}"#.utf8), within: 10_000)
                _ = try? channel.receive(within: 10_000)
            }
        }
        let ledger = Ledger()
        let source = try FakeSource(ledger)
        var options = SenderOptions(listener.address)
        options.compresses = true
        let progress = MigrationProgress(.init(.source, token: "", peer: "", state: "connecting"))
        let sender = MigrationSender(options, source, progress, try MigrationStop())
        let reasons = try MigrationSender(options, source, progress, try MigrationStop()).check()
        #expect(reasons.count == 1 && reasons[0].contains("leave compression out"), "\(reasons)")
        guard case .returned(let error, nil) = sender.run() else { throw MigrationError(.invalid, "it moved") }
        #expect(error.reasons == reasons && ledger.sourceRuns && ledger.problems.isEmpty)
        thread.join()
    }

    /// Puts a frame of compressed pages on a line.
    ///
    /// - Returns: what a channel takes it for, and the memory that it went into.
    @discardableResult
    private static func receive(
        _ head: PagesHead, _ data: [UInt8], unpacks: Bool = true
    ) throws -> (frame: Frame, memory: FakeMemory) {
        let memory = try FakeMemory()
        let payload = head.bytes + data
        let header = FrameHeader(
            .packedPages, sequence: 0, length: payload.count, checksum: Checksum.crc32c(payload))
        let (near, far) = try StreamConnection.pair()
        let channel = try FrameChannel(far)
        if unpacks { try channel.unpackPages() }
        let sender = try Thread("sender") { try? near.send(header.bytes + payload, within: 10_000) }
        defer {
            near.shutDown()
            sender.join()
        }
        do {
            return (try channel.receive(within: 10_000, into: ArrivingMemory(memory.regions)), memory)
        } catch {
            // What is refused before it is unpacked leaves nothing; else at most the pages that it names.
            #expect(memory.bytes[1].allSatisfy { $0 == 0 })
            throw error
        }
    }

    #if !Zstd
        @Test func withoutLibzstdItIsRefused() throws {
            var setting = Move.Setting()
            setting.compresses = true
            setting.patience = 5000
            let error = try refusal(setting)
            #expect(error.kind == .refused && error.description.contains("swift build --traits Zstd"), "\(error)")
            #expect(throws: HostError.self) { try ZstdCompressor() }
            #expect(throws: HostError.self) { try ZstdDecompressor() }
        }
    #else
        /// Pages that are not all of one byte, and not noise.
        private static func page(_ number: Int) -> [UInt8] {
            (0..<HostRange.pageSize).map { UInt8(truncatingIfNeeded: $0 / 8 &* (number + 3)) }
        }

        private static func noise(_ number: Int) -> [UInt8] {
            var state = UInt64(number)
            return (0..<HostRange.pageSize).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 56)
            }
        }

        private static func compressed(_ bytes: [UInt8]) throws -> [UInt8] {
            let (from, to) = (try ScratchMemory(count: bytes.count), try ScratchMemory(count: 2 * bytes.count + 4096))
            from.fill(bytes)
            let count = try #require(try ZstdCompressor().compress(from.range, into: to.range))
            return to.bytes(0..<count)
        }

        /// One run of pages, some, and many: what arrives is what was sent, in fewer bytes; and what cannot be compressed
        /// goes as it is.
        @Test(arguments: [1, 4, 5, 64, 256], [false, true]) func pagesComeBack(_ runs: Int, _ isNoise: Bool) throws {
            let (memory, arrived) = (try FakeMemory(), try FakeMemory())
            var head = PagesHead(address: 0, round: 1, present: PageSet(), zero: PageSet())
            for run in 0..<runs {
                let page = 512 / runs * run
                head.present[page / 64] |= 1 << UInt64(page % 64)
                memory.scratch[0].fill(isNoise ? Self.noise(page) : Self.page(page), at: page * 4096)
            }
            // A page that the guest has made zero goes as a bit.
            head.zero[7] |= 1 << 63
            arrived.fill(0, 511, 9)
            let (near, far) = try StreamConnection.pair()
            let (sending, receiving) = (try FrameChannel(near), try FrameChannel(far))
            try sending.packPages()
            try receiving.unpackPages()
            let frame = sending.ready(head, of: memory.regions[0].host)
            let plain = PagesHead.dataStart + runs * 4096
            #expect(isNoise ? frame.count == plain : frame.count < plain / 2, "\(frame.count)")
            let thread = try Thread("sender") { try? sending.send(frame, within: 10_000, heeding: nil) }
            defer { thread.join() }
            let came = try receiving.receive(within: 10_000, into: ArrivingMemory(arrived.regions))
            #expect(came.kind == .pages && came.length == frame.count && came.pageBytes == runs * 4096)
            #expect(arrived.bytes == memory.bytes)
        }

        @Test func whatCannotBeReadIsRefused() throws {
            let head = PagesHead(address: 0, round: 1, present: PageSet(lowest: 4), zero: PageSet())
            let bytes = (0..<4).flatMap(Self.page)
            let good = try Self.compressed(bytes)
            let (frame, memory) = try Self.receive(head, good)
            #expect(frame.pageBytes == bytes.count && Array(memory.bytes[0][..<bytes.count]) == bytes)
            // Cut off, something behind it, nothing, garbage, and not fewer bytes than the pages have.
            var wrong: [[UInt8]] = [[], [0], good + [0], good + good, [UInt8](repeating: 0xFF, count: 1000)]
            wrong += stride(from: 1, to: good.count, by: 7).map { Array(good[..<$0]) }
            wrong.append(good + [UInt8](repeating: 0, count: bytes.count - good.count))
            wrong.append([UInt8](repeating: 7, count: 2 << 20))
            // More bytes than the pages have, and fewer: none, a byte, a page.
            wrong.append(try Self.compressed(bytes + Self.page(5)))
            wrong.append(try Self.compressed([UInt8](repeating: 0, count: 4 << 20)))
            wrong.append(try Self.compressed(Array(bytes.dropLast())))
            wrong.append(try Self.compressed(Array(bytes[..<4096])))
            for data in wrong {
                #expect(throws: MigrationError.self, "\(data.count) bytes") { try Self.receive(head, data) }
            }
            // No pages at all, those of nowhere, and both there and zero.
            for (address, present, zero): (UInt64, PageSet, PageSet) in [
                (0, PageSet(), PageSet(lowest: 4)), (4096, PageSet(lowest: 4), PageSet()),
                (1 << 40, PageSet(lowest: 4), PageSet()), (0, PageSet(lowest: 4), PageSet(lowest: 1)),
            ] {
                let stray = PagesHead(address: address, round: 1, present: present, zero: zero)
                #expect(throws: MigrationError.self) { try Self.receive(stray, good) }
            }
        }

        @Test(arguments: [1, 3]) func aMachineMoves(_ connections: Int) throws {
            var setting = Move.Setting()
            (setting.connections, setting.compresses, setting.patience) = (connections, true, 5000)
            let scratch = try ScratchDirectory("move")
            let move = try Move(scratch, setting)
            #expect(move.problem == nil)
            #expect(move.sent == .moved && move.received == .arrived(nil), "\(move.sent)")
            let (here, there) = (move.sourceReport, move.sinkReport)
            #expect(here.isCompressed && there.isCompressed)
            // What is counted is what went over, at both ends.
            #expect(here.pages > 170 && here.bytes < here.pages * 2048 && there.pages == here.pages)
            #expect(there.bytes == here.bytes)
            _ = scratch
        }

        /// Its disks come along as they are.
        @Test func aMachineMovesWithItsDisks() throws {
            var setting = Move.Setting()
            (setting.hasDisks, setting.compresses, setting.patience, setting.connections) = (true, true, 5000, 2)
            let scratch = try ScratchDirectory("disks")
            let move = try Move(scratch, setting)
            #expect(move.problem == nil)
            #expect(move.sent == .moved, "\(move.sent)")
            _ = scratch
        }

        @Test(arguments: LineFault.allCases) func noFrameMatters(_ fault: LineFault) throws {
            let scratch = try ScratchDirectory("frames")
            var setting = Move.Setting()
            (setting.compresses, setting.patience) = (true, 5000)
            let frames = try Move(scratch, setting).frames
            setting.patience = 120
            for frame in 1...frames {
                setting.fault = (frame, fault)
                let problem = try Move(scratch, setting).problem
                #expect(problem == nil, "\(fault) at frame \(frame): \(problem ?? "")")
            }
        }

        /// Memory that follows comes compressed too, also on a further connection.
        @Test(arguments: [nil, 13]) func theMemoryFollowsTheMachine(_ cutEvery: Int?) throws {
            let scratch = try ScratchDirectory("postcopy")
            var setting = PagedMove.Setting()
            (setting.compresses, setting.patience, setting.cutEvery) = (true, 3000, cutEvery)
            setting.reconnect = 20_000
            let move = try PagedMove(scratch, setting)
            let received = move.end()
            #expect(move.problem(received) == nil)
            if cutEvery != nil, case .returned = move.sent { return }
            #expect(move.sent == .moved && received == .arrived(nil), "\(move.sent)")
            let (here, there) = (move.sourceProgress.now, move.sinkProgress.now)
            #expect(here.isCompressed && there.isCompressed && there.pages >= 150)
            #expect(here.bytes < here.pages * 2048 && there.bytes < there.pages * 2048)
        }

        /// What is judged by is how much memory goes over, and what is limited how many bytes.
        @Test func aRoundCountsMemoryAndTheLineBytes() throws {
            let source = try FakeSource(Ledger(), isEmpty: true)
            for page in 0..<512 { source.memory.fill(0, page, UInt8(page % 255 + 1)) }
            let (here, there) = try StreamConnection.pair()
            let (channel, other) = (try FrameChannel(here), try FrameChannel(there))
            try channel.packPages()
            try other.unpackPages()
            let reader = try Thread("reader") { for _ in 0..<8 { _ = try? other.receive(within: 10_000) } }
            var options = SenderOptions(.unix("/none"))
            // Uncompressed it would take two seconds.
            options.bandwidth = 1 << 20
            let progress = MigrationProgress(.init(.source, token: "", peer: "", state: "copying"))
            let sender = RoundSender(source, [channel], options, progress, try MigrationStop())
            let start = HostClock.monotonic
            let sent = try sender.send(
                round: 1, RoundSender.everything(source.regions), isFirst: true, isLimited: true, heeding: false)
            #expect(HostClock.monotonic - start < 1_000_000_000)
            reader.join()
            let report = progress.now
            #expect(report.pages == 512 && sent == UInt64(8 * PagesHead.dataStart + (2 << 20)))
            #expect(report.bytes < 2 << 17 && report.bytes > 8 * UInt64(PagesHead.dataStart))
        }
    #endif
}
