// Each virtio device that is there, driven once.

/// What the command line says about the network.
struct NetAddresses {
    let host: UInt32
    let guest: UInt32

    init?(_ commandLine: CommandLine) {
        guard let host = commandLine.value("net_host")?.ipv4, let guest = commandLine.value("net_guest")?.ipv4 else {
            return nil
        }
        self.host = host
        self.guest = guest
    }
}

enum DeviceTests {
    static func run(_ bus: PCIBus, _ addresses: NetAddresses?) {
        var count = 0
        bus.forEach { function in
            guard function.vendor == 0x1AF4 else { return }
            count += 1
            guard let device = VirtioDevice(function) else {
                function.tellName()
                Result.check(false, " virtio: structures of the modern transport, assigned BARs")
                return
            }
            test(device, addresses)
        }
        say("virtio: \(count) devices")
    }

    /// Drives the device by its type.
    static func test(_ device: VirtioDevice, _ addresses: NetAddresses?) {
        switch device.type {
        case 1: NetTest.run(device, addresses)
        case 2: BlockTest.run(device)
        case 3: ConsoleTest.run(device)
        case 4: EntropyTest.run(device)
        default:
            device.tellName()
            say("no test for this type")
        }
        device.stop()
    }

    /// Negotiates, and says what went wrong if something did.
    static func negotiate(_ device: inout VirtioDevice, _ wanted: UInt64) -> Bool {
        guard let problem = device.negotiate(wanted) else { return true }
        fail(device, problem)
        return false
    }

    @inline(never)
    static func fail(_ device: VirtioDevice, _ problem: StaticString) {
        device.tellName()
        Result.check(false, "\(problem)")
    }

    /// Checks that the queue's interrupt has arrived.
    static func checkInterrupt(_ device: VirtioDevice, _ queue: Virtqueue, since before: UInt32) {
        let arrived = queue.hasInterrupted(since: before)
        device.tellName()
        Result.check(arrived, "interrupt of queue \(queue.index) by MSI-X")
    }
}

/// The entropy device (virtio 1.2, 5.4).
enum EntropyTest {
    static func run(_ given: VirtioDevice) {
        var device = given
        guard DeviceTests.negotiate(&device, 0) else { return }
        guard var queue = device.queue(0) else { return DeviceTests.fail(device, "queue 0") }
        device.ready()
        let buffer = DMA.pages()
        let interrupts = Interrupts.count(queue.vector)
        guard let first = queue.perform(.written(buffer, 64)), let second = queue.perform(.written(buffer + 64, 64))
        else { return DeviceTests.fail(device, "no answer") }
        var zero = true
        var same = true
        for offset in stride(from: UInt64(0), to: 64, by: 8) {
            if memoryRead64(buffer + offset) != 0 { zero = false }
            if memoryRead64(buffer + offset) != memoryRead64(buffer + 64 + offset) { same = false }
        }
        device.tellName()
        // A device may give fewer bytes than asked for, but not none (5.4.6.1).
        Result.check(
            first > 0 && second > 0 && first <= 64 && second <= 64 && !zero && !same,
            "\(first) and \(second) bytes, not zero, not the same")
        DeviceTests.checkInterrupt(device, queue, since: interrupts)
    }
}

/// The console (5.3): a line to port 0.
enum ConsoleTest {
    static func run(_ given: VirtioDevice) {
        var device = given
        guard DeviceTests.negotiate(&device, 0) else { return }
        guard device.queue(0) != nil, var transmit = device.queue(1) else {
            return DeviceTests.fail(device, "queues 0 and 1")
        }
        device.ready()
        let text: StaticString = "swiftlet self-test: virtio console\r\n"
        let buffer = DMA.pages()
        let source = UInt64(UInt(bitPattern: text.utf8Start))
        for offset in 0..<UInt64(text.utf8CodeUnitCount) {
            memoryWrite8(buffer + offset, memoryRead8(source + offset))
        }
        let interrupts = Interrupts.count(transmit.vector)
        let written = transmit.perform(.read(buffer, UInt32(text.utf8CodeUnitCount)))
        device.tellName()
        if Result.check(written == 0, "a line of \(text.utf8CodeUnitCount) bytes") {
            DeviceTests.checkInterrupt(device, transmit, since: interrupts)
        }
    }
}
