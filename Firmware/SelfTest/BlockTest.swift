// The block device (virtio 1.2, 5.2). A disk is written only when its first sector says that it is meant for this.

enum BlockTest {
    private static let readOnly: UInt64 = 1 << 5
    private static let blockSize: UInt64 = 1 << 6
    private static let flush: UInt64 = 1 << 9
    static let magic: StaticString = "SWIFTLET-SELFTEST"

    private enum Request: UInt32 {
        case read = 0
        case write = 1
        case flush = 4
        case identify = 8
    }

    static func run(_ given: VirtioDevice) {
        var device = given
        guard DeviceTests.negotiate(&device, readOnly | blockSize | flush) else { return }
        guard var queue = device.queue(0) else { return DeviceTests.fail(device, "queue 0") }
        device.ready()
        let capacity = UInt64(memoryRead32(device.config)) | UInt64(memoryRead32(device.config + 4)) << 32
        device.tellName()
        tell("\(capacity) sectors")
        if device.has(blockSize) { tell(", blocks of \(memoryRead32(device.config + 20))") }
        if device.has(readOnly) { tell(", read-only") }
        if device.has(flush) { tell(", flush") }
        if device.has(VirtioFeatures.indirect) { tell(", indirect descriptors") }
        say(device.has(VirtioFeatures.eventIndex) ? ", event index" : "")

        let page = DMA.pages(2)
        let interrupts = Interrupts.count(queue.vector)
        check(device, request(&queue, .identify, page, length: 20), "identify")
        device.tellName()
        say("id \"\(bytes: page + 512, count: 20)\"")
        guard capacity > 0 else { return DeviceTests.fail(device, "no sectors") }
        check(device, request(&queue, .read, page), "read sector 0")
        DeviceTests.checkInterrupt(device, queue, since: interrupts)
        // The first requests were chains in the ring, the others have tables where the device takes them.
        queue.usesIndirect = device.has(VirtioFeatures.indirect)
        if !device.has(readOnly), capacity > 1, isMarked(page + 512) {
            writeAndCompare(device, &queue, page, capacity - 1)
        }
        // The sector after the last one has to be refused.
        let outside = request(&queue, .read, page, sector: capacity)
        device.tellName()
        Result.check(outside == 1, "read behind the end is an error, status \(outside ?? 255)")
    }

    private static func check(_ device: VirtioDevice, _ status: UInt8?, _ what: StaticString) {
        device.tellName()
        if let status {
            Result.check(status == 0, "\(what), status \(status)")
        } else {
            Result.check(false, "\(what), no answer")
        }
    }

    /// Header at the page's start, data at 512, status behind the data of at most 512 bytes.
    /// - Returns: the status byte, or nil when the device did not answer.
    private static func request(
        _ queue: inout Virtqueue, _ kind: Request, _ page: UInt64, sector: UInt64 = 0, length: UInt32 = 512
    ) -> UInt8? {
        memoryWrite32(page, kind.rawValue)
        memoryWrite32(page + 4, 0)
        memoryWrite64(page + 8, sector)
        let status = page + 1024
        memoryWrite8(status, 0xFF)
        let answered: UInt32?
        if kind == .flush {
            answered = queue.perform(.read(page, 16), .written(status, 1))
        } else {
            let data = kind == .write ? Buffer.read(page + 512, length) : Buffer.written(page + 512, length)
            answered = queue.perform(.read(page, 16), data, .written(status, 1))
        }
        return answered == nil ? nil : memoryRead8(status)
    }

    static func isMarked(_ data: UInt64) -> Bool {
        let text = UInt64(UInt(bitPattern: magic.utf8Start))
        for offset in 0..<UInt64(magic.utf8CodeUnitCount) where memoryRead8(data + offset) != memoryRead8(text + offset)
        {
            return false
        }
        return true
    }

    private static func writeAndCompare(
        _ device: VirtioDevice, _ queue: inout Virtqueue, _ page: UInt64, _ sector: UInt64
    ) {
        let data = page + 512
        let seed = readTSC() | 1
        for index in 0..<UInt64(64) { memoryWrite64(data + index * 8, seed &* (2 * index + 1)) }
        check(device, request(&queue, .write, page, sector: sector), "write the last sector")
        if device.has(flush) { check(device, request(&queue, .flush, page), "flush") }
        memoryFill(data, 64, 0)
        check(device, request(&queue, .read, page, sector: sector), "read it back")
        var differing = 0
        for index in 0..<UInt64(64) where memoryRead64(data + index * 8) != seed &* (2 * index + 1) { differing += 1 }
        device.tellName()
        Result.check(differing == 0, "the same 512 bytes")
    }
}
