import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioBlock

/// A running block device over an image in a scratch directory, and drivers for its queues.
final class BlockBench {
    static let header: UInt64 = 0x10000
    static let status: UInt64 = 0x11000
    static let data: UInt64 = 0x20000
    static let pattern: UInt8 = 0xEE

    let memory: GuestMemory
    let drivers: [FakeDriver]
    let device: BlockDevice
    let transport = RecordingTransport()

    /// - Parameters:
    ///   - features: what the driver takes of the device's own ones besides VERSION_1; all of them unless given.
    init(
        _ options: DiskOptions, _ settings: BlockSettings = BlockSettings(), features: UInt64? = nil,
        queueSize: UInt16 = 32
    ) throws {
        let memory = try GuestMemory([MemoryRange(address: 0, size: 8 << 20)])
        let drivers = try (0..<settings.queues).map {
            try FakeDriver(memory, size: queueSize, base: 0x40_0000 + UInt64($0) * 0x10000)
        }
        self.memory = memory
        self.drivers = drivers
        device = BlockDevice(id: "_disk0", try DiskImage(options), settings)
        try device.activate(
            VirtioActivation(
                memory: memory, features: (features ?? device.features) | VirtioFeatures.transport.rawValue ^ 1 << 29,
                queues: drivers.enumerated().map { $1.resources(index: $0) }, transport: transport))
    }

    deinit { _ = device.deactivate() }

    /// Writes a request's header.
    func writeHeader(_ type: UInt32, _ sector: UInt64, at address: UInt64 = BlockBench.header) throws {
        try memory.write(type, at: address)
        try memory.write(0 as UInt32, at: address + 4)
        try memory.write(sector, at: address + 8)
        try memory.write(Self.pattern, at: Self.status)
    }

    /// Does a request with a usual chain: header, data, status. Answers the status byte and the used length.
    func request(
        _ type: UInt32, sector: UInt64, _ data: [FakeDriver.Buffer] = [], queue: Int = 0
    ) throws -> (status: UInt8, used: UInt32) {
        try writeHeader(type, sector)
        return try exchange([.readable(Self.header, 16)] + data + [.writable(Self.status, 1)], queue: queue)
    }

    /// Offers any chain and answers the byte at the status' place.
    func exchange(_ buffers: [FakeDriver.Buffer], queue: Int = 0) throws -> (status: UInt8, used: UInt32) {
        let used = try drivers[queue].exchange(buffers)
        return (try memory.read(at: Self.status), used)
    }

    /// Writes sectors with a byte.
    func write(_ byte: UInt8, sector: UInt64, count: UInt32 = 1) throws -> UInt8 {
        try memory.write([UInt8](repeating: byte, count: Int(count) * 512), at: Self.data)
        return try request(1, sector: sector, [.readable(Self.data, count * 512)]).status
    }
}

/// An image that is known to be raw.
func rawDisk(_ path: String, _ change: (inout DiskOptions) -> Void = { _ in }) -> DiskOptions {
    var options = DiskOptions(path: path, field: "$.disks[0]")
    options.declaredRaw = true
    change(&options)
    return options
}

/// Bytes that differ from sector to sector and within.
func testBytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 9 &* 31) } }
