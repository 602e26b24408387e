// Keeps a log on the first disk without a break, for tests that look at the disk from outside or move it elsewhere.

enum DiskLog {
    /// Entries until the log begins anew, and sectors from one to the next: it is spread over 12 MiB.
    private static let slots: UInt64 = 256, stride: UInt64 = 96
    /// ms of the guest's own time between two lines.
    private static let period: UInt64 = 100
    /// VIRTIO_BLK_F_WRITE_ZEROES.
    private static let canZero: UInt64 = 1 << 14

    static func run(_ guest: Guest) -> Never {
        guest.startInterrupts()
        let bus = PCIBus(guest.acpi.mcfg)
        bus.forEach { function in
            guard function.vendor == 0x1AF4, var device = VirtioDevice(function), device.type == 2 else { return }
            guard DeviceTests.negotiate(&device, VirtioFeatures.eventIndex | canZero), var queue = device.queue(0)
            else { Result.abort("disk-log: the disk has no queue") }
            device.ready()
            keep(&queue, milliseconds: guest.number("seconds", default: 60) * 1000, zeroes: device.has(canZero))
        }
        Result.abort("disk-log: no disk")
    }

    private static func sector(_ entry: UInt64) -> UInt64 { 1 + entry % slots * stride }

    /// Entry n, from 1, fills the sector of its place with its number. The oldest one is read each time and has to be what
    /// was written. Behind every fourth entry 4 KiB are written, and cleared again two entries later.
    private static func keep(_ queue: inout Virtqueue, milliseconds: UInt64, zeroes: Bool) -> Never {
        let page = DMA.pages(3)
        request(&queue, page, 0, 0, .written(page + 4096, 512), 0)
        guard BlockTest.isMarked(page + 4096) else { Result.abort("disk-log: the disk is not meant for this") }
        let start = readTSC()
        var (line, entry): (UInt64, UInt64) = (1, 1)
        say("disk-log: begins")
        while line * period <= milliseconds {
            fill(page + 4096, 512, entry)
            request(&queue, page, 1, sector(entry), .read(page + 4096, 512), entry)
            if zeroes, entry % 4 == 0 {
                fill(page + 4096, 4096, entry)
                request(&queue, page, 1, sector(entry) + 8, .read(page + 4096, 4096), entry)
            }
            if zeroes, entry % 4 == 2, entry > 2 {
                memoryWrite64(page + 1024, sector(entry - 2) + 8)
                memoryWrite32(page + 1032, 8)
                memoryWrite32(page + 1036, entry % 8 == 2 ? 1 : 0)
                request(&queue, page, 13, 0, .read(page + 1024, 16), entry)
            }
            if entry >= slots {
                let oldest = entry - slots + 1
                request(&queue, page, 0, sector(oldest), .written(page + 8192, 512), entry)
                let (first, last) = (memoryRead64(page + 8192), memoryRead64(page + 8192 + 504))
                if first != oldest || last != oldest {
                    Result.abort("disk-log: entry \(oldest) reads as \(first) and \(last)")
                }
            }
            if readTSC() &- start >= line * period * Clock.kilohertz {
                say("disk-log: \(line * period) ms, \(entry) entries")
                line += 1
            }
            entry += 1
        }
        Result.finish()
    }

    private static func fill(_ address: UInt64, _ count: UInt64, _ value: UInt64) {
        var offset: UInt64 = 0
        while offset < count {
            memoryWrite64(address + offset, value)
            offset += 8
        }
    }

    private static func request(
        _ queue: inout Virtqueue, _ page: UInt64, _ type: UInt32, _ sector: UInt64, _ data: Buffer, _ entry: UInt64
    ) {
        memoryWrite32(page, type)
        memoryWrite32(page + 4, 0)
        memoryWrite64(page + 8, sector)
        guard queue.perform(.read(page, 16), data, .written(page + 512, 1)) != nil else {
            Result.abort("disk-log: no answer to a request of entry \(entry)")
        }
        if memoryRead8(page + 512) != 0 { Result.abort("disk-log: a request of entry \(entry) failed") }
    }
}
