// Reads from the first disk without a break, for tests that look at a guest at work from outside.

enum DiskLoad {
    /// ms of the guest's own time between two lines.
    private static let period: UInt64 = 100

    static func run(_ guest: Guest) -> Never {
        guest.startInterrupts()
        let bus = PCIBus(guest.acpi.mcfg)
        bus.forEach { function in
            guard function.vendor == 0x1AF4, var device = VirtioDevice(function), device.type == 2 else { return }
            guard DeviceTests.negotiate(&device, VirtioFeatures.eventIndex), var queue = device.queue(0) else {
                Result.abort("disk-load: the disk has no queue")
            }
            device.ready()
            read(&queue, milliseconds: guest.number("seconds", default: 60) * 1000)
        }
        Result.abort("disk-load: no disk")
    }

    /// One request at a time, each of the disk's first 2 KiB, which every disk has.
    private static func read(_ queue: inout Virtqueue, milliseconds: UInt64) -> Never {
        let page = DMA.pages()
        memoryWrite32(page, 0)
        memoryWrite32(page + 4, 0)
        memoryWrite64(page + 8, 0)
        let start = readTSC()
        var (line, requests): (UInt64, UInt64) = (1, 0)
        say("disk-load: begins")
        while line * period <= milliseconds {
            guard queue.perform(.read(page, 16), .written(page + 1024, 2048), .written(page + 512, 1)) != nil else {
                Result.abort("disk-load: no answer to request \(requests)")
            }
            if memoryRead8(page + 512) != 0 { Result.abort("disk-load: request \(requests) failed") }
            requests += 1
            if readTSC() &- start >= line * period * Clock.kilohertz {
                say("disk-load: \(line * period) ms, \(requests) requests")
                line += 1
            }
        }
        Result.finish()
    }
}
