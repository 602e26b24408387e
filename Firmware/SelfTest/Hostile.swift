// Breaks the rules of virtio on purpose (virtio 1.2, 2.7 and 4.1.4). A device may answer a malformed chain or ask for a
// reset (DEVICE_NEEDS_RESET, 2.1); it may not take the monitor down, fall silent, or stay broken after the reset.

/// A way to break a queue.
private enum Malformation: UInt8, CaseIterable {
    case headOutside, nextOutside, loop, bufferOutside, bufferWraps, bufferEmpty, bufferHuge, readBehindWritten
    case indexJump, shortRequest, noRoomForStatus
    case tableOutside, tableEmpty, tableUneven, tableTooLong, tableInTable, tableAndNext
    case ringsOutside

    var name: StaticString {
        switch self {
        case .headOutside: "head outside the table"
        case .nextOutside: "next outside the table"
        case .loop: "loop"
        case .bufferOutside: "buffer outside memory"
        case .bufferWraps: "buffer around the end of addresses"
        case .bufferEmpty: "empty buffer"
        case .bufferHuge: "buffer longer than memory"
        case .readBehindWritten: "read behind written"
        case .indexJump: "index too far ahead"
        case .shortRequest: "request of one byte"
        case .noRoomForStatus: "nothing to write an answer to"
        case .tableOutside: "indirect table outside memory"
        case .tableEmpty: "indirect table of no bytes"
        case .tableUneven: "indirect table of 17 bytes"
        case .tableTooLong: "indirect table of 4 GiB"
        case .tableInTable: "indirect table in an indirect table"
        case .tableAndNext: "indirect table with a next"
        case .ringsOutside: "rings outside memory"
        }
    }

    var needsIndirect: Bool { rawValue >= Self.tableOutside.rawValue && rawValue <= Self.tableAndNext.rawValue }
}

enum Hostile {
    /// An address that no machine has memory at: below 2^39, so that every CPU can name it.
    private static let nowhere: UInt64 = 0x7F_FFFF_F000
    private static let next: UInt16 = 1
    private static let written: UInt16 = 2
    private static let indirect: UInt16 = 4

    static func run(_ guest: Guest) -> Never {
        guest.startInterrupts()
        let addresses = NetAddresses(guest.commandLine)
        let bus = PCIBus(guest.acpi.mcfg)
        var count = 0
        bus.forEach { function in
            guard let device = VirtioDevice(function), let index = requestQueue(device) else { return }
            count += 1
            for malformation in Malformation.allCases { attack(device, index, malformation) }
            abuseRegisters(device)
            device.stop()
        }
        Result.check(count > 0, "hostile: \(count) devices")
        DeviceTests.run(bus, addresses)
        Result.finish()
    }

    /// The queue that carries requests to the device.
    private static func requestQueue(_ device: VirtioDevice) -> UInt16? {
        switch device.type {
        case 1, 3: 1
        case 2, 4: 0
        default: nil
        }
    }

    @inline(never)
    private static func attack(_ given: VirtioDevice, _ index: UInt16, _ malformation: Malformation) {
        var device = given
        device.stop()
        guard DeviceTests.negotiate(&device, 0) else { return }
        if malformation.needsIndirect, !device.has(VirtioFeatures.indirect) { return }
        // Devices with a pair of queues start when both are there.
        if index > 0, device.queue(index - 1) == nil { return DeviceTests.fail(device, "receive queue") }
        guard let queue = device.queue(index) else { return DeviceTests.fail(device, "request queue") }
        if malformation == .ringsOutside { moveRings(device, index) }
        device.ready()
        let page = DMA.pages()
        let offered = fill(queue, page, malformation)
        memoryFence()
        memoryWrite16(queue.available + 2, offered)
        memoryFence()
        memoryWrite16(queue.doorbell, index)
        let answered = Clock.wait(milliseconds: 1000) {
            device.status & 0x40 != 0 || memoryRead16(queue.used + 2) != 0
        }
        let status = device.status
        device.tellName()
        tell("\(malformation.name): ")
        Result.check(
            answered, status & 0x40 != 0 ? "needs a reset" : answered ? "answered" : "silent, status \(hex: status)")
    }

    /// The queue's addresses are written again before the device may use them.
    private static func moveRings(_ device: VirtioDevice, _ index: UInt16) {
        memoryWrite16(device.common + 22, index)
        for offset: UInt64 in stride(from: 32, to: 56, by: 8) {
            memoryWrite32(device.common + offset, UInt32(truncatingIfNeeded: nowhere))
            memoryWrite32(device.common + offset + 4, UInt32(nowhere >> 32))
        }
    }

    /// Writes the descriptors and the first entry of the available ring.
    /// - Returns: the available index to publish.
    private static func fill(_ queue: Virtqueue, _ page: UInt64, _ malformation: Malformation) -> UInt16 {
        let table = queue.descriptors
        var head: UInt16 = 0
        switch malformation {
        case .headOutside: head = queue.size
        case .nextOutside: describe(table, 0, page, 16, next, queue.size)
        case .loop:
            describe(table, 0, page, 16, next, 1)
            describe(table, 1, page, 16, next, 0)
        case .bufferOutside: request(table, page, nowhere, 512)
        case .bufferWraps: request(table, page, ~7, 64)
        case .bufferEmpty: request(table, page, page + 512, 0)
        case .bufferHuge: request(table, page, page + 512, 0xFFFF_FFFF)
        case .readBehindWritten:
            describe(table, 0, page, 16, next | written, 1)
            describe(table, 1, page + 512, 16, 0, 0)
        case .indexJump:
            describe(table, 0, page, 16, written, 0)
            return queue.size + 1
        case .shortRequest:
            describe(table, 0, page, 1, next, 1)
            describe(table, 1, page + 512, 1, written, 0)
        case .noRoomForStatus: describe(table, 0, page, 16, 0, 0)
        case .tableOutside: describe(table, 0, nowhere, 32, indirect, 0)
        case .tableEmpty: describe(table, 0, page, 0, indirect, 0)
        case .tableUneven: describe(table, 0, page, 17, indirect, 0)
        case .tableTooLong: describe(table, 0, page, 0xFFFF_FFF0, indirect, 0)
        case .tableInTable:
            describe(table, 0, page, 16, indirect, 0)
            describe(page, 0, page + 1024, 16, indirect, 0)
            describe(page + 1024, 0, page + 2048, 16, written, 0)
        case .tableAndNext:
            describe(table, 0, page, 16, indirect | next, 1)
            describe(table, 1, page + 2048, 16, written, 0)
            describe(page, 0, page + 2048, 16, written, 0)
        case .ringsOutside: break
        }
        memoryWrite16(queue.available + 4, head)
        return 1
    }

    /// A header of 16 bytes to read, the buffer to write, a byte for the status.
    private static func request(_ table: UInt64, _ page: UInt64, _ buffer: UInt64, _ length: UInt32) {
        describe(table, 0, page, 16, next, 1)
        describe(table, 1, buffer, length, next | written, 2)
        describe(table, 2, page + 1024, 1, written, 0)
    }

    @inline(never)
    private static func describe(
        _ table: UInt64, _ index: UInt64, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16
    ) {
        let entry = table + index * 16
        memoryWrite64(entry, address)
        memoryWrite32(entry + 8, length)
        memoryWrite16(entry + 12, flags)
        memoryWrite16(entry + 14, next)
    }

    /// Values that the common structure's registers may not take (4.1.4.3.1).
    private static func abuseRegisters(_ given: VirtioDevice) {
        var device = given
        device.stop()
        guard DeviceTests.negotiate(&device, 0) else { return }
        let common = device.common
        memoryWrite16(common + 22, 0xFFFF)
        let missing = memoryRead16(common + 24)
        for offset: UInt64 in stride(from: 24, to: 56, by: 4) { memoryWrite32(common + offset, ~0) }
        memoryWrite16(common + 22, 0)
        // A vector that the device does not have is answered with VIRTIO_MSI_NO_VECTOR.
        memoryWrite16(common + 26, 0x7FF)
        let vector = memoryRead16(common + 26)
        memoryWrite32(common, 0xFFFF_FFFF)
        let features = memoryRead32(common + 4)
        memoryWrite8(common + 20, 0xFF)
        device.status = 0
        let reset = Clock.wait(milliseconds: 1000) { device.status == 0 }
        device.tellName()
        Result.check(
            missing == 0 && vector == 0xFFFF && features == 0 && reset,
            "registers: a queue that is not there \(missing), its vector \(hex: vector), features \(hex: features), reset"
        )
    }
}
