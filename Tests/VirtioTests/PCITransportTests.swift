import Host
import KVM
import Memory
import PCI
import Synchronization
import TestSupport
import Testing
import Virtio

/// A device that remembers how it was used.
final class FakeDevice: VirtioDevice {
    struct State {
        var activation: VirtioActivation?
        var activations = 0, deactivations = 0
        var written: [String] = []
        var failure: VirtioError?
    }
    let type = VirtioType.block
    let id = "_fake0"
    let features: UInt64 = 0x5
    let queueSizes: [UInt16]
    let configurationSize = 12
    let state = Mutex(State())

    init(queues: Int = 2) { queueSizes = Array(repeating: 8, count: queues) }

    func configuration() -> [UInt8] { Array(1...12) }
    func writeConfiguration(offset: Int, bytes: [UInt8]) { state.withLock { $0.written.append("\(offset) \(bytes)") } }
    func activate(_ activation: VirtioActivation) throws(VirtioError) {
        let failure = state.withLock { state in
            state.activations += 1
            state.activation = activation
            return state.failure
        }
        if let failure { throw failure }
    }
    func deactivate() -> [Int: QueueProgress] {
        state.withLock { state in
            state.activation = nil
            state.deactivations += 1
        }
        return [:]
    }
}

/// A function, its device and what is around it.
struct TransportBench {
    let device: FakeDevice
    let interrupts = FakeInterrupts()
    let notifications = FakeNotifications()
    let reports: Reports
    let memory: GuestMemory
    let transport: PCITransport
    static let base: UInt64 = 0x10_0000_8000

    final class Reports: Sendable {
        let lines = Mutex<[String]>([])
        let notes = Mutex<[String]>([])
    }

    init(queues: Int = 2) throws {
        device = FakeDevice(queues: queues)
        memory = try makeMemory()
        let reports = Reports()
        self.reports = reports
        var environment = PCITransportEnvironment(
            memory: memory, connector: interrupts, notifier: notifications,
            report: { id, what in reports.lines.withLock { $0.append("\(id): \(what)") } })
        environment.note = { id, what in reports.notes.withLock { $0.append("\(id): \(what)") } }
        transport = try PCITransport(device, at: Self.base, environment)
    }

    func read(_ offset: UInt64, _ size: Int) -> UInt64 { transport.read(bar: 0, offset: offset, size: size) }
    func write(_ offset: UInt64, _ size: Int, _ value: UInt64) {
        transport.write(bar: 0, offset: offset, size: size, value: value)
    }
    var status: UInt64 { read(0x14, 1) }
    func setStatus(_ value: UInt64) { write(0x14, 1, value) }

    /// Writes the driver's features, both halves.
    func take(_ features: UInt64) {
        write(0x08, 4, 0)
        write(0x0C, 4, features & 0xFFFF_FFFF)
        write(0x08, 4, 1)
        write(0x0C, 4, features >> 32)
    }

    func setUpQueue(_ index: UInt64, vector: UInt64 = 0xFFFF) {
        write(0x16, 2, index)
        write(0x1A, 2, vector)
        write(0x20, 4, 0x1000)
        write(0x24, 4, 0)
        write(0x28, 8, 0x2000)
        write(0x30, 4, 0x3000)
        write(0x1C, 2, 1)
    }

    /// Goes through the initialisation of section 3.1.1.
    func start(_ features: UInt64 = 1 << 32) {
        setStatus(0)
        setStatus(1)
        setStatus(3)
        take(features)
        setStatus(0xB)
        setUpQueue(0, vector: 1)
        setStatus(0xF)
    }
}

/// The capabilities and registers of section 4.1 as a driver finds them, and drivers that use them wrongly.
struct PCITransportTests {
    private func capabilities(_ bench: TransportBench) -> [[UInt8]] {
        func byte(_ offset: Int) -> UInt8 {
            UInt8(truncatingIfNeeded: bench.transport.readConfiguration(offset, size: 1))
        }
        var list: [[UInt8]] = []
        var place = Int(byte(0x34))
        while place != 0, list.count < 20 {
            let length = byte(place) == 0x11 ? 12 : Int(byte(place + 2))
            list.append((0..<length).map { $0 == 1 ? 0 : byte(place + $0) })
            place = Int(byte(place + 1))
        }
        return list
    }

    @Test func capabilitiesByteByByte() throws {
        let bench = try TransportBench()
        #expect(
            capabilities(bench) == [
                [0x11, 0, 2, 0, 0x00, 0x40, 0, 0, 0x00, 0x60, 0, 0],
                [0x09, 0, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x38, 0, 0, 0],
                [0x09, 0, 20, 2, 0, 0, 0, 0, 0, 0x30, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0],
                [0x09, 0, 16, 3, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 0, 0, 0],
                [0x09, 0, 16, 4, 0, 0, 0, 0, 0, 0x10, 0, 0, 12, 0, 0, 0],
                [0x09, 0, 20, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ])
        #expect(bench.transport.readConfiguration(0, size: 4) == 0x1042_1AF4)
        #expect(bench.transport.readConfiguration(8, size: 4) == 0x0180_0001)
        #expect(bench.transport.readConfiguration(0x2C, size: 4) == 0x1042_1AF4)
        #expect(bench.transport.readConfiguration(0x10, size: 4) == 0x0000_8004)
        #expect(bench.transport.readConfiguration(0x14, size: 4) == 0x10)
    }

    @Test(arguments: [1, 15, 255, 256, 300])
    func vectorCountInTheMessageControl(queues: Int) throws {
        // One vector more than queues; the field holds the count less one in 11 bits.
        let bench = try TransportBench(queues: queues)
        #expect(Int(bench.transport.readConfiguration(0x42, size: 2)) == queues)
    }

    @Test func registersBeforeTheDriver() throws {
        let bench = try TransportBench()
        let expected: [(UInt64, Int, UInt64)] = [
            (0x00, 4, 0), (0x04, 4, 1 << 28 | 1 << 29 | 5), (0x08, 4, 0), (0x0C, 4, 0), (0x10, 2, 0xFFFF), (0x12, 2, 2),
            (0x14, 1, 0), (0x15, 1, 0), (0x16, 2, 0), (0x18, 2, 8), (0x1A, 2, 0xFFFF), (0x1C, 2, 0), (0x1E, 2, 0),
            (0x20, 8, 0), (0x28, 8, 0), (0x30, 8, 0), (0x38, 4, 0), (0x2000, 1, 0), (0x1000, 8, 0x0807_0605_0403_0201),
            (0x100A, 4, 0x0C0B), (0x100C, 4, 0), (0x1FFF, 8, 0), (0x7FFF, 8, 0), (0x3000, 4, 0),
        ]
        for (offset, size, value) in expected {
            #expect(bench.read(offset, size) == value, "offset \(String(offset, radix: 16))")
        }
        bench.write(0, 4, 1)
        #expect(bench.read(4, 4) == 1)
        bench.write(0, 4, 2)
        #expect(bench.read(4, 4) == 0)
        bench.write(0x16, 2, 1)
        #expect(bench.read(0x1E, 2) == 1)
        bench.write(0x16, 2, 2)
        #expect(bench.read(0x18, 2) == 0 && bench.read(0x1A, 2) == 0xFFFF && bench.read(0x1E, 2) == 0)
        #expect(bench.transport.read(bar: 1, offset: 0, size: 4) == .max)
    }

    @Test func initialisation() throws {
        let bench = try TransportBench()
        bench.start(1 << 32 | 1 << 29 | 1)
        #expect(bench.status == 0xF)
        let activation = bench.device.state.withLock { $0.activation }
        #expect(activation?.features == 1 << 32 | 1 << 29 | 1)
        #expect(activation?.queues.map(\.index) == [0])
        var config = QueueConfig(size: 8)
        config.enabled = true
        (config.descriptorTable, config.availableRing, config.usedRing) = (0x1000, 0x2000, 0x3000)
        #expect(activation?.queues[0].config == config)
        #expect(activation?.queues[0].progress == QueueProgress())
        // A second DRIVER_OK does not start the device again.
        bench.setStatus(0xF)
        #expect(bench.device.state.withLock { $0.activations } == 1)
    }

    @Test(arguments: [0, 1 << 0, 1 << 32 | 1 << 1, 1 << 32 | 1 << 63, 1 << 28 | 1 << 29] as [UInt64])
    func featuresThatAreRefused(features: UInt64) throws {
        let bench = try TransportBench()
        bench.setStatus(3)
        bench.take(features)
        bench.setStatus(0xB)
        #expect(bench.status == 3)
        bench.setStatus(0xF)
        #expect(bench.device.state.withLock { $0.activations } == 0)
        #expect(bench.status & 0x40 == 0x40)
    }

    @Test func featuresStayOnceAgreedOn() throws {
        let bench = try TransportBench()
        bench.setStatus(3)
        bench.take(1 << 32)
        bench.setStatus(0xB)
        bench.take(1 << 32 | 1)
        bench.write(0x08, 4, 0)
        #expect(bench.read(0x0C, 4) == 0)
        bench.write(0x08, 4, 7)
        bench.write(0x0C, 4, .max)
        #expect(bench.read(0x0C, 4) == 0 && bench.status == 0xB)
    }

    @Test func driverOKWithoutFeatures() throws {
        let bench = try TransportBench()
        bench.setStatus(7)
        #expect(bench.status == 0x47)
        #expect(
            bench.reports.lines.withLock { $0 } == ["_fake0: DRIVER_OK came before the features were agreed on"])
        bench.setStatus(0)
        #expect(bench.status == 0)
        bench.start()
        #expect(bench.status == 0xF)
    }

    @Test func queueRegistersOfAWildDriver() throws {
        let bench = try TransportBench()
        for size in [0, 3, 16, 0xFFFF] as [UInt64] {
            bench.write(0x18, 2, size)
            #expect(bench.read(0x18, 2) == 8)
        }
        bench.write(0x18, 2, 4)
        #expect(bench.read(0x18, 2) == 4)
        for vector in [3, 0x100, 0xFFFE] as [UInt64] {
            bench.write(0x1A, 2, vector)
            bench.write(0x10, 2, vector)
            #expect(bench.read(0x1A, 2) == 0xFFFF && bench.read(0x10, 2) == 0xFFFF)
        }
        bench.write(0x1A, 2, 2)
        bench.write(0x10, 2, 0)
        #expect(bench.read(0x1A, 2) == 2 && bench.read(0x10, 2) == 0)
        bench.setUpQueue(0)
        bench.write(0x1C, 2, 0)
        bench.write(0x20, 4, 0x9000)
        bench.write(0x18, 2, 2)
        #expect(bench.read(0x1C, 2) == 1 && bench.read(0x20, 4) == 0x1000 && bench.read(0x18, 2) == 4)
        bench.write(0x16, 2, 9)
        bench.setUpQueue(9)
        #expect(bench.read(0x1C, 2) == 0)
    }

    @Test func resetStopsTheDeviceAndForgets() throws {
        let bench = try TransportBench()
        bench.start()
        bench.write(0x10, 2, 2)
        bench.transport.configurationChanged()
        bench.setStatus(0)
        #expect(bench.device.state.withLock { $0.deactivations } == 1)
        #expect(bench.status == 0 && bench.read(0x1C, 2) == 0 && bench.read(0x20, 4) == 0)
        #expect(bench.read(0x10, 2) == 0xFFFF && bench.read(0x2000, 1) == 0)
        bench.setStatus(0)
        #expect(bench.device.state.withLock { $0.deactivations } == 1)
        bench.start()
        #expect(bench.device.state.withLock { $0.activations } == 2)
    }

    @Test func aDeviceThatCannotStart() throws {
        let bench = try TransportBench()
        bench.device.state.withLock { $0.failure = .badQueue("the ring is in the moon") }
        bench.start()
        #expect(bench.status == 0x4F)
        #expect(
            bench.reports.lines.withLock { $0 }
                == ["_fake0: the guest's driver broke a rule of virtio: the ring is in the moon"])
        bench.setStatus(0)
        #expect(bench.device.state.withLock { $0.deactivations } == 0)
    }

    @Test func configurationChangesAreToldEachTime() throws {
        let bench = try TransportBench()
        bench.start()
        bench.write(0x10, 2, 2)
        // The generation is a byte that goes round.
        for change in 1...600 {
            bench.transport.configurationChanged()
            #expect(bench.read(0x15, 1) == UInt64(change % 256))
        }
        #expect(bench.read(0x6000, 8) == 1 << 2)
        #expect(bench.read(0x2000, 1) == 2)
        #expect(bench.read(0x2000, 1) == 0)
    }

    @Test func notificationsAreWatchedWhereTheRangeLies() throws {
        let bench = try TransportBench()
        bench.transport.placed(bar: 0, at: 0x20_0000)
        #expect(bench.notifications.addresses == [0x20_3000, 0x20_3004])
        bench.transport.placed(bar: 0, at: 0x40_0000)
        #expect(bench.notifications.addresses == [0x40_3000, 0x40_3004])
        bench.transport.placed(bar: 0, at: nil)
        #expect(bench.notifications.addresses.isEmpty)
        bench.start()
        bench.write(0x3000, 2, 0)
        let kick = bench.device.state.withLock { $0.activation?.queues[0].kick }
        #expect(kick?.isPending == true)
        bench.write(0x3008, 2, 0)
        bench.transport.placed(bar: 0, at: 0x40_0000)
        bench.transport.shutDown()
        #expect(bench.notifications.addresses.isEmpty && bench.interrupts.connectedCount == 0)
    }

    @Test func interruptsOfQueuesGoThroughTheirVectors() throws {
        let bench = try TransportBench()
        bench.transport.writeConfiguration(0x42, size: 2, value: 0x8000)
        bench.write(0x4010, 4, 0xFEE0_0000)
        bench.write(0x4018, 4, 0x31)
        bench.write(0x401C, 4, 0)
        bench.start()
        let queue = bench.device.state.withLock { $0.activation?.queues[0] }
        queue?.interrupt.signal()
        bench.interrupts.deliverAll()
        #expect(bench.interrupts.delivered == [MSIMessage(addressLow: 0xFEE0_0000, addressHigh: 0, data: 0x31)])
        bench.transport.writeConfiguration(0x42, size: 2, value: 0)
        #expect(bench.interrupts.connectedCount == 0)
    }

    @Test func deviceConfigurationWrites() throws {
        let bench = try TransportBench()
        bench.write(0x1002, 2, 0xBBAA)
        bench.write(0x1008, 4, 0x0403_0201)
        bench.write(0x100A, 4, 1)
        bench.write(0x100C, 1, 1)
        bench.write(0x1000, 16, 1)
        #expect(bench.device.state.withLock { $0.written } == ["2 [170, 187]", "8 [1, 2, 3, 4]"])
    }

    @Test func theAccessWindowInConfigurationSpace() throws {
        let bench = try TransportBench()
        let window = try #require(
            stride(from: 0x40, to: 0xF0, by: 4).first {
                bench.transport.readConfiguration($0, size: 1) == 9
                    && bench.transport.readConfiguration($0 + 3, size: 1) == 5
            })
        func aim(bar: UInt32 = 0, _ offset: UInt32, _ length: UInt32) {
            bench.transport.writeConfiguration(window + 4, size: 1, value: bar)
            bench.transport.writeConfiguration(window + 8, size: 4, value: offset)
            bench.transport.writeConfiguration(window + 12, size: 4, value: length)
        }
        func look(_ size: Int) -> UInt32 { bench.transport.readConfiguration(window + 16, size: size) }
        aim(0x12, 2)
        #expect(look(2) == 2)
        aim(0x14, 1)
        bench.transport.writeConfiguration(window + 16, size: 1, value: 3)
        #expect(bench.status == 3 && look(1) == 3)
        // The first three bytes of the capability are as they were.
        #expect(bench.transport.readConfiguration(window + 2, size: 2) == 0x0514)
        for (bar, offset, length) in [
            (0, 0x13, 2), (0, 0x14, 3), (0, 0x14, 0), (1, 0x14, 1), (0, 0x8000, 4), (0, 0x7FFE, 4), (0, .max, 1),
            (0, 0x14, .max),
        ] as [(UInt32, UInt32, UInt32)] {
            aim(bar: bar, offset, length)
            #expect(look(4) == 0, "bar \(bar), offset \(offset), length \(length)")
            bench.transport.writeConfiguration(window + 16, size: 4, value: 0)
        }
        #expect(bench.status == 3)
    }

    @Test func randomAccessesNeverTrap() throws {
        let bench = try TransportBench()
        var random = SeededGenerator(seed: 3)
        for round in 0..<40_000 {
            let size = [1, 2, 4, 8].randomElement(using: &random) ?? 4
            var value = UInt64.random(in: 0 ... .max, using: &random)
            if round % 2 == 0 { value %= 64 }
            var offset = UInt64.random(in: 0..<0x8000, using: &random)
            if round % 3 == 0 { offset %= 0x40 }
            if round % 101 == 0 { offset = .max - offset }
            switch Int.random(in: 0..<5, using: &random) {
            case 0: _ = bench.read(offset, size)
            case 1, 2: bench.write(offset, size, value)
            case 3:
                bench.transport.writeConfiguration(
                    Int(offset % 0x1000), size: min(size, 4), value: UInt32(truncatingIfNeeded: value))
            default: _ = bench.transport.readConfiguration(Int(offset % 0x1000), size: min(size, 4))
            }
        }
        bench.setStatus(0)
        bench.start()
        #expect(bench.status == 0xF)
    }
}
