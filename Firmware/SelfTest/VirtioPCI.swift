// virtio over PCI, the modern transport (virtio 1.2, 4.1): capabilities, negotiation, queues, MSI-X.

/// Features of every device (virtio 1.2, 6).
enum VirtioFeatures {
    static let indirect: UInt64 = 1 << 28
    static let eventIndex: UInt64 = 1 << 29
    static let version1: UInt64 = 1 << 32
}

struct VirtioDevice {
    private(set) var function: PCIFunction
    private(set) var type: UInt16
    /// Addresses of the structures that the capabilities name; 0 where there is none.
    private(set) var common: UInt64 = 0
    private(set) var notify: UInt64 = 0
    private(set) var config: UInt64 = 0
    private(set) var interruptStatus: UInt64 = 0
    private(set) var multiplier: UInt64 = 0
    private(set) var commonBAR: UInt32 = 0
    private(set) var features: UInt64 = 0
    private var msix: UInt32 = 0
    private var table: UInt64 = 0
    private(set) var vectors: UInt32 = 0

    /// - Returns: nil when the function is no virtio device or lacks a structure of the modern transport.
    init?(_ function: PCIFunction) {
        let device = function.device
        guard function.vendor == 0x1AF4, device >= 0x1000, device <= 0x107F else { return nil }
        self.function = function
        // A transitional device has its type in the subsystem identifier.
        type = device >= 0x1040 ? device - 0x1040 : function.read16(0x2E)
        function.command = function.command | 6
        var found = self
        function.forEachCapability { identifier, offset in
            if identifier == 0x09 { found.note(offset) }
            if identifier == 0x11 { found.noteMSIX(offset) }
        }
        guard found.common != 0, found.notify != 0 else { return nil }
        self = found
    }

    private func place(_ bar: UInt32, _ offset: UInt64, _ length: UInt64) -> UInt64 {
        guard bar < 6 else { return 0 }
        let base = function.barAddress(bar)
        guard base != 0 else { return 0 }
        Paging.map(base + offset, max(length, 4))
        return base + offset
    }

    /// struct virtio_pci_cap (4.1.4).
    private mutating func note(_ offset: UInt32) {
        let kind = function.read32(offset) >> 24
        let bar = function.read32(offset + 4) & 0xFF
        let address = place(bar, UInt64(function.read32(offset + 8)), UInt64(function.read32(offset + 12)))
        switch kind {
        case 1 where common == 0:
            common = address
            commonBAR = bar
        case 2 where notify == 0:
            notify = address
            multiplier = UInt64(function.read32(offset + 16))
        case 3 where interruptStatus == 0: interruptStatus = address
        case 4 where config == 0: config = address
        default: break
        }
    }

    private mutating func noteMSIX(_ offset: UInt32) {
        msix = offset
        vectors = function.read32(offset) >> 16 & 0x7FF + 1
        let location = function.read32(offset + 4)
        table = place(location & 7, UInt64(location & ~7), UInt64(vectors) * 16)
    }

    var status: UInt8 {
        get { memoryRead8(common + 20) }
        nonmutating set { memoryWrite8(common + 20, newValue) }
    }
    var queueCount: UInt16 { memoryRead16(common + 18) }

    /// The initialisation of 3.1.1 up to FEATURES_OK.
    /// - Parameter wanted: the type's own features to take if they are offered, beside those of every device.
    /// - Returns: nil, or what went wrong.
    @inline(never)
    mutating func negotiate(_ wanted: UInt64) -> StaticString? {
        status = 0
        guard Clock.wait(milliseconds: 1000, until: { status == 0 }) else { return "reset did not end" }
        status = 1
        status = 3
        memoryWrite32(common, 0)
        var offered = UInt64(memoryRead32(common + 4))
        memoryWrite32(common, 1)
        offered |= UInt64(memoryRead32(common + 4)) << 32
        guard offered & VirtioFeatures.version1 != 0 else { return "VERSION_1 is not offered" }
        features =
            offered & (wanted | VirtioFeatures.version1 | VirtioFeatures.indirect | VirtioFeatures.eventIndex)
        memoryWrite32(common + 8, 0)
        memoryWrite32(common + 12, UInt32(truncatingIfNeeded: features))
        memoryWrite32(common + 8, 1)
        memoryWrite32(common + 12, UInt32(truncatingIfNeeded: features >> 32))
        status = 11
        guard status & 8 != 0 else { return "FEATURES_OK was not kept" }
        guard msix != 0, table != 0, vectors > 0 else { return "MSI-X is missing" }
        // Enabled, not masked as a whole.
        function.write32(msix, function.read32(msix) & 0x3FFF_FFFF | 1 << 31)
        memoryWrite16(common + 16, 0xFFFF)
        return nil
    }

    func has(_ feature: UInt64) -> Bool { features & feature != 0 }

    /// Sets up a queue with the interrupt vector of its own.
    /// - Returns: nil when the device does not have it or refuses the interrupt.
    @inline(never)
    func queue(_ index: UInt16) -> Virtqueue? {
        memoryWrite16(common + 22, index)
        let most = memoryRead16(common + 24)
        guard most > 0 else { return nil }
        let entry = index % UInt16(truncatingIfNeeded: vectors)
        let vector = Vector.queues + UInt32(entry)
        let slot = table + UInt64(entry) * 16
        memoryWrite32(slot, 0xFEE0_0000 | (LocalAPIC.id & 0xFF) << 12)
        memoryWrite32(slot + 4, 0)
        memoryWrite32(slot + 8, vector)
        memoryWrite32(slot + 12, 0)
        let queue = Virtqueue(
            index: index, size: min(most, Virtqueue.largest),
            doorbell: notify + UInt64(memoryRead16(common + 30)) * multiplier, vector: vector,
            features: features)
        memoryWrite16(common + 24, queue.size)
        memoryWrite16(common + 26, entry)
        guard memoryRead16(common + 26) == entry else { return nil }
        write64(32, queue.descriptors)
        write64(40, queue.available)
        write64(48, queue.used)
        memoryWrite16(common + 28, 1)
        return queue
    }

    /// A 64-bit field of the common structure is two 32-bit accesses (4.1.3.1).
    private func write64(_ offset: UInt64, _ value: UInt64) {
        memoryWrite32(common + offset, UInt32(truncatingIfNeeded: value))
        memoryWrite32(common + offset + 4, UInt32(truncatingIfNeeded: value >> 32))
    }

    func ready() { status = 15 }

    /// Reset, and its buffers back: nothing of the device's is in use any more.
    func stop() {
        status = 0
        _ = Clock.wait(milliseconds: 1000) { status == 0 }
        DMA.reset()
    }

    func tellName() {
        function.tellName()
        tell(" virtio-")
        switch type {
        case 1: tell("net")
        case 2: tell("block")
        case 3: tell("console")
        case 4: tell("entropy")
        default: tell("\(type)")
        }
        tell(": ")
    }
}
