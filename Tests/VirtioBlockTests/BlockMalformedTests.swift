import Memory
import TestSupport
import Testing
import Virtio
import VirtioBlock

/// Requests that the device has to refuse without harm to the image or to itself.
struct BlockMalformedTests {
    private let scratch: ScratchDirectory
    private let content = testBytes(16 * 512)
    private let path: String

    init() throws {
        scratch = try ScratchDirectory("block")
        path = try scratch.write("disk.raw", content)
    }

    private func expectUnchanged(location: SourceLocation = #_sourceLocation) throws {
        let now = try scratch.read("disk.raw")
        #expect(now == content, sourceLocation: location)
    }

    @Test(
        arguments: [
            (15, 1024), (16, 512), (17, 512), (1 << 55, 512), (.max, 512), (.max, 1024), (1 << 63, 512),
            ((1 << 55) - 1, 512),
        ] as [(UInt64, UInt32)])
    func sectorsBeyondTheDisk(sector: UInt64, bytes: UInt32) throws {
        let bench = try BlockBench(rawDisk(path))
        for type in [0, 1] as [UInt32] {
            let buffer = FakeDriver.Buffer(address: BlockBench.data, length: bytes, isWritable: type == 0)
            let result = try bench.request(type, sector: sector, [buffer])
            #expect(result.status == 1 && result.used == 1)
        }
        #expect(bench.device.reading.errors == 2)
        try expectUnchanged()
    }

    @Test(arguments: [1, 511, 513, 1000] as [UInt32])
    func partsOfSectors(bytes: UInt32) throws {
        let bench = try BlockBench(rawDisk(path))
        #expect(try bench.request(0, sector: 0, [.writable(BlockBench.data, bytes)]).status == 1)
        #expect(try bench.request(1, sector: 0, [.readable(BlockBench.data, bytes)]).status == 1)
        try expectUnchanged()
    }

    @Test func emptyTransfers() throws {
        let bench = try BlockBench(rawDisk(path))
        #expect(try bench.request(0, sector: 0).status == 0)
        #expect(try bench.request(1, sector: 16).status == 0)
        #expect(try bench.request(1, sector: 17).status == 1)
    }

    @Test func noRoomForAStatus() throws {
        let bench = try BlockBench(rawDisk(path))
        try bench.writeHeader(1, 0)
        let result = try bench.exchange([.readable(BlockBench.header, 16), .readable(BlockBench.data, 512)])
        #expect(result.used == 0 && result.status == BlockBench.pattern)
        #expect(try bench.drivers[0].exchange([.readable(0, 0)]) == 0)
        try expectUnchanged()
        // The queue goes on.
        #expect(try bench.request(4, sector: 0).status == 0)
        #expect(bench.transport.reasons.isEmpty)
    }

    @Test(arguments: [0, 1, 8, 15] as [UInt32])
    func headersThatAreTooShort(bytes: UInt32) throws {
        let bench = try BlockBench(rawDisk(path))
        try bench.writeHeader(4, 0)
        let result = try bench.exchange([.readable(BlockBench.header, bytes), .writable(BlockBench.status, 1)])
        #expect(result.status == 1 && result.used == 1)
    }

    @Test(arguments: [2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 0x8000_0000, .max] as [UInt32])
    func unknownTypes(type: UInt32) throws {
        let bench = try BlockBench(rawDisk(path))
        let result = try bench.request(type, sector: 0, [.writable(BlockBench.data, 512)])
        #expect(result.status == BlockBench.pattern || result.status == 2)
        #expect(try bench.request(type, sector: 0).status == 2)
        try expectUnchanged()
    }

    @Test func readOnlyDisk() throws {
        let bench = try BlockBench(rawDisk(path) { $0.readOnly = true })
        #expect(try bench.write(1, sector: 1) == 1)
        for type in [11, 13] as [UInt32] {
            try bench.memory.write([UInt8](repeating: 0, count: 8) + [1, 0, 0, 0, 0, 0, 0, 0], at: BlockBench.data)
            #expect(try bench.request(type, sector: 0, [.readable(BlockBench.data, 16)]).status == 1)
        }
        #expect(try bench.request(4, sector: 0).status == 0)
        #expect(try bench.request(0, sector: 1, [.writable(BlockBench.data, 512)]).status == 0)
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 512) == Array(content[512..<1024]))
        try expectUnchanged()
    }

    @Test func firstSectorOfAnUndeclaredImage() throws {
        let bench = try BlockBench(rawDisk(path) { $0.declaredRaw = false })
        #expect(try bench.write(0x51, sector: 0) == 1)
        #expect(try bench.write(0x51, sector: 0, count: 2) == 1)
        try bench.memory.write([UInt8](repeating: 0, count: 8) + [1, 0, 0, 0, 0, 0, 0, 0], at: BlockBench.data)
        #expect(try bench.request(13, sector: 0, [.readable(BlockBench.data, 16)]).status == 1)
        #expect(try bench.request(11, sector: 0, [.readable(BlockBench.data, 16)]).status == 1)
        try expectUnchanged()
        #expect(try bench.write(0x51, sector: 1) == 0)
        #expect(try bench.request(0, sector: 0, [.writable(BlockBench.data, 512)]).status == 0)
    }

    @Test func aFileThatWasCut() throws {
        let bench = try BlockBench(rawDisk(path))
        try scratch.write("disk.raw", Array(content[..<1000]))
        #expect(try bench.request(0, sector: 1, [.writable(BlockBench.data, 512)]).status == 1)
        #expect(try bench.request(0, sector: 0, [.writable(BlockBench.data, 512)]).status == 0)
    }

    @Test func brokenRingStopsItsQueueAlone() throws {
        var settings = BlockSettings()
        settings.queues = 2
        let bench = try BlockBench(rawDisk(path), settings)
        try bench.drivers[0].offer(999)
        bench.drivers[0].kick()
        #expect(Deadline.seconds(10).wait { !bench.transport.reasons.isEmpty })
        #expect(
            bench.transport.reasons.first?.hasPrefix("queue 0: the guest's driver broke a rule of virtio: ") == true)
        #expect(try bench.request(4, sector: 0, queue: 1).status == 0)
    }

    @Test func ringsThatCannotBe() throws {
        let device = BlockDevice(id: "_disk0", try DiskImage(rawDisk(path)), BlockSettings())
        let memory = try GuestMemory([MemoryRange(address: 0, size: 0x10000)])
        let driver = try FakeDriver(memory, size: 8, base: 0)
        let resources = driver.resources()
        var config = resources.config
        config.usedRing = 0x10000
        let bad = QueueResources(
            index: 0, config: config, progress: QueueProgress(), kick: resources.kick, interrupt: resources.interrupt)
        #expect(throws: VirtioError.self) {
            try device.activate(
                VirtioActivation(memory: memory, features: 0, queues: [bad], transport: RecordingTransport()))
        }
        #expect(device.deactivate().isEmpty)
    }

    @Test func randomRequests() throws {
        let bench = try BlockBench(rawDisk(path))
        var random = SeededGenerator(seed: 11)
        for _ in 0..<2000 {
            let sector = [UInt64.random(in: 0...20, using: &random), .random(in: 0 ... .max, using: &random)]
            try bench.writeHeader(.random(in: 0...15, using: &random), sector.randomElement(using: &random) ?? 0)
            try bench.memory.write(
                (0..<64).map { _ in UInt8.random(in: 0...255, using: &random) }, at: BlockBench.data + 0x8000)
            var buffers: [FakeDriver.Buffer] = []
            for index in 0..<Int.random(in: 1...6, using: &random) {
                let lengths: [UInt32] = [16, 1, 512, .random(in: 0...1100, using: &random)]
                let length = lengths.randomElement(using: &random) ?? 0
                let place = index == 0 ? BlockBench.header : BlockBench.data + 0x8000
                buffers.append(
                    FakeDriver.Buffer(address: place, length: length, isWritable: Bool.random(using: &random)))
            }
            let (readable, writable) = (buffers.filter { !$0.isWritable }, buffers.filter(\.isWritable))
            _ = try bench.drivers[0].exchange(readable + writable)
        }
        #expect(bench.transport.reasons.isEmpty)
        #expect(try scratch.read("disk.raw").count == content.count)
    }
}
