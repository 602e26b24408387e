import Foundation
import Host
import Memory
import Synchronization
import TestSupport
import Testing
import Virtio
import VirtioNet

/// A running network device over a tap of this host, and a packet socket at the tap's other side.
final class NetBench {
    static let received: UInt64 = 0x10_0000, sent: UInt64 = 0x20_0000
    static let mergeable: UInt64 = 1 << 15

    let memory: GuestMemory
    let backend: NetBackend
    let device: NetDevice
    let receive: FakeDriver, transmit: FakeDriver, control: FakeDriver
    let extra: [FakeDriver]
    let wire: PacketSocket
    let transport = RecordingTransport()

    /// - Parameter features: what the driver takes of the device's own.
    init(
        features: UInt64 = NetBench.mergeable, pairs: Int = 1, queueSize: UInt16 = 16,
        _ change: (inout NetSettings) -> Void = { _ in }
    ) throws {
        var settings = NetSettings(field: "$.net[0]", mac: [0x52, 0x54, 0, 1, 2, 3])
        settings.pairs = pairs
        settings.tap = try Self.makeTap(multiQueue: pairs > 1)
        change(&settings)
        let backend: NetBackend
        do { backend = try NetBackend(settings) } catch {
            Self.removeTap(settings.tap)
            throw error
        }
        self.backend = backend
        device = NetDevice(id: "_net0", backend, settings)
        let memory = try GuestMemory([MemoryRange(address: 0, size: 4 << 20)])
        let drivers = try (0...(2 * pairs)).map {
            try FakeDriver(memory, size: queueSize, base: 0x1000 + 0x4000 * UInt64($0))
        }
        self.memory = memory
        (receive, transmit) = (drivers[0], drivers[1])
        let multiQueue = features & 1 << 22 != 0
        control = multiQueue || pairs == 1 ? drivers[2 * pairs] : drivers[2]
        extra = Array(drivers.dropFirst(2).prefix(2 * pairs - 2))
        wire = try PacketSocket(backend.interface)
        try device.activate(
            VirtioActivation(
                memory: memory, features: features | 1 << 32,
                queues: drivers.enumerated().map { $1.resources(index: $0) }, transport: transport))
    }

    deinit {
        _ = device.deactivate()
        Self.removeTap(backend.interface)
    }

    private static let taps = Atomic<Int>(0)

    /// Makes a tap that the host says nothing on by itself: without IPv6 there is no neighbour discovery.
    private static func makeTap(multiQueue: Bool) throws -> String {
        let number = taps.wrappingAdd(1, ordering: .relaxed).newValue
        let name = "swt\(ProcessInfo.processInfo.processIdentifier)n\(number)"
        let queues = multiQueue ? ["multi_queue"] : []
        let made = try runProcess(Command("ip", ["tuntap", "add", "mode", "tap", "name", name, "vnet_hdr"] + queues))
        guard made.succeeded else { throw FakeDriverError(description: "no tap can be made here: \(made)") }
        try silence(name)
        return name
    }

    /// Keeps the host from saying anything on an interface by itself.
    static func silence(_ name: String) throws {
        try Data("1".utf8).write(to: URL(fileURLWithPath: "/proc/sys/net/ipv6/conf/\(name)/disable_ipv6"))
    }

    private static func removeTap(_ name: String) {
        _ = try? runProcess(Command("ip", ["link", "delete", "dev", name]))
    }

    /// A frame to the guest that nobody else sends: its Ethernet type is one for experiments.
    static func frame(_ length: Int, _ seed: UInt8 = 0) -> [UInt8] {
        [0x52, 0x54, 0, 1, 2, 3, 2, 0, 0, 0, 0, 9, 0x88, 0xB5]
            + (14..<length).map { UInt8(truncatingIfNeeded: $0) ^ seed }
    }

    /// Gives the device buffers of a length to receive into, one behind the other from `received` on.
    func offerBuffers(_ count: Int, _ length: UInt32, from first: Int = 0) throws {
        for index in first..<(first + count) {
            try receive.send([.writable(Self.received + UInt64(index) * UInt64(length), length)])
        }
        receive.kick()
    }

    /// Waits for the next packet of ours: the buffers it went over, and its bytes with the header.
    func nextPacket(_ bufferLength: UInt32) throws -> (buffers: Int, bytes: [UInt8]) {
        while true {
            var bytes: [UInt8] = []
            var buffers = 0
            var wanted = 1
            while buffers < wanted {
                let entry = try receive.waitUsed()
                let place = Self.received + UInt64(entry.head) * UInt64(bufferLength)
                bytes += try memory.bytes(at: place, count: Int(entry.length))
                buffers += 1
                if buffers == 1, bytes.count >= 12 { wanted = Int(bytes[10]) | Int(bytes[11]) << 8 }
            }
            // The host's own chatter (neighbour discovery) is not what was waited for.
            if bytes.count >= 26, Array(bytes[24..<26]) == [0x88, 0xB5] { return (buffers, bytes) }
        }
    }
}
