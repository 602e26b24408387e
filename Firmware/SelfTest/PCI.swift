// PCI functions on the first bus of each segment: through ECAM (PCI Firmware Specification 3.3, 4.1.2) where the
// MCFG table names a window, and through the ports 0xCF8 and 0xCFC.

/// A base address register and what it decodes.
struct BAR {
    var address: UInt64 = 0
    var size: UInt64 = 0
    var isMemory = false
    var is64Bit = false
    var isPrefetchable = false
}

/// A PCI function.
struct PCIFunction {
    let segment: UInt16
    /// Device and function, as in the configuration address: device << 3 | function.
    let slot: UInt32
    let bus: UInt32
    /// The configuration space's address, or 0 where only the ports lead there.
    let window: UInt64

    private func portAddress(_ offset: UInt32) -> UInt32 { 1 << 31 | bus << 16 | slot << 8 | offset & 0xFC }

    @inline(never) func portRead(_ offset: UInt32) -> UInt32 {
        portWrite32(0xCF8, portAddress(offset))
        return portRead32(0xCFC)
    }

    @inline(never) func read32(_ offset: UInt32) -> UInt32 {
        window != 0 ? memoryRead32(window + UInt64(offset)) : portRead(offset)
    }

    @inline(never) func write32(_ offset: UInt32, _ value: UInt32) {
        if window != 0 {
            memoryWrite32(window + UInt64(offset), value)
        } else {
            portWrite32(0xCF8, portAddress(offset))
            portWrite32(0xCFC, value)
        }
    }

    func read16(_ offset: UInt32) -> UInt16 {
        UInt16(truncatingIfNeeded: read32(offset & ~3) >> (8 * (offset & 2)))
    }

    func read8(_ offset: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: read32(offset & ~3) >> (8 * (offset & 3))) }

    /// Writes half a word and leaves the other half as it was read.
    func write16(_ offset: UInt32, _ value: UInt16) {
        let shift = 8 * (offset & 2)
        write32(offset & ~3, read32(offset & ~3) & ~(0xFFFF << shift) | UInt32(value) << shift)
    }

    var vendor: UInt16 { UInt16(truncatingIfNeeded: read32(0)) }
    var device: UInt16 { UInt16(truncatingIfNeeded: read32(0) >> 16) }
    var headerType: UInt8 { UInt8(truncatingIfNeeded: read32(12) >> 16) }
    /// The command register. The status register beside it clears what is written as one, so it is written as zero.
    var command: UInt16 {
        get { UInt16(truncatingIfNeeded: read32(4)) }
        nonmutating set { write32(4, UInt32(newValue)) }
    }

    /// Registers of the header: a bridge has two.
    var barCount: UInt32 { headerType & 0x7F == 0 ? 6 : headerType & 0x7F == 1 ? 2 : 0 }

    /// Reads and sizes the register; decoding must be off.
    @inline(never) func bar(_ index: UInt32) -> BAR {
        let offset = 0x10 + index * 4
        let low = read32(offset)
        var bar = BAR()
        bar.isMemory = low & 1 == 0
        bar.is64Bit = bar.isMemory && low & 6 == 4
        bar.isPrefetchable = bar.isMemory && low & 8 != 0
        let flags: UInt32 = bar.isMemory ? 15 : 3
        write32(offset, ~0)
        var mask = UInt64(read32(offset) & ~flags)
        write32(offset, low)
        guard mask != 0 || bar.is64Bit else { return bar }
        bar.address = UInt64(low & ~flags)
        if bar.is64Bit {
            let high = read32(offset + 4)
            write32(offset + 4, ~0)
            mask |= UInt64(read32(offset + 4)) << 32
            write32(offset + 4, high)
            bar.address |= UInt64(high) << 32
        } else {
            mask |= 0xFFFF_FFFF_0000_0000
        }
        bar.size = ~mask &+ 1
        if !bar.isMemory { bar.size &= 0xFFFF }
        return bar
    }

    /// The BAR's address alone, without touching it.
    func barAddress(_ index: UInt32) -> UInt64 {
        let low = read32(0x10 + index * 4)
        guard low & 1 == 0 else { return 0 }
        return UInt64(low & ~15) | (low & 6 == 4 ? UInt64(read32(0x14 + index * 4)) << 32 : 0)
    }

    func setBARAddress(_ index: UInt32, _ address: UInt64) {
        let is64Bit = read32(0x10 + index * 4) & 6 == 4
        write32(0x10 + index * 4, UInt32(truncatingIfNeeded: address))
        if is64Bit { write32(0x14 + index * 4, UInt32(truncatingIfNeeded: address >> 32)) }
    }

    /// Calls `body` with each capability's identifier and offset.
    func forEachCapability(_ body: (UInt8, UInt32) -> Void) {
        guard read32(4) >> 20 & 1 == 1 else { return }
        var offset = UInt32(read8(0x34)) & 0xFC
        var left = 48
        while offset >= 0x40, left > 0 {
            let header = read32(offset)
            body(UInt8(truncatingIfNeeded: header), offset)
            offset = header >> 8 & 0xFC
            left -= 1
        }
    }

    func tellName() {
        tell("pci \(digits: segment, 4):\(digits: bus, 2):\(digits: slot >> 3, 2).\(slot & 7)")
    }
}

struct PCIBus {
    private let mcfg: ACPITable?
    init(_ mcfg: ACPITable?) { self.mcfg = mcfg }

    /// Calls `body` with each function that answers.
    func forEach(_ body: (PCIFunction) -> Void) {
        guard let mcfg, mcfg.length >= 60 else {
            scan(segment: 0, bus: 0, window: 0, body)
            return
        }
        var offset: UInt64 = 44
        while offset + 16 <= mcfg.length {
            let bus = UInt32(mcfg.read8(offset + 10))
            // The window's base is where bus 0 would begin (PCI Firmware Specification 3.3, table 4-3).
            let window = mcfg.read64(offset) + UInt64(bus) << 20
            Paging.map(window, 1 << 20)
            scan(segment: mcfg.read16(offset + 8), bus: bus, window: window, body)
            offset += 16
        }
    }

    private func scan(segment: UInt16, bus: UInt32, window: UInt64, _ body: (PCIFunction) -> Void) {
        for device in UInt32(0)..<32 {
            var functions: UInt32 = 1
            var function: UInt32 = 0
            while function < functions {
                let slot = device << 3 | function
                let found = PCIFunction(
                    segment: segment, slot: slot, bus: bus, window: window == 0 ? 0 : window + UInt64(slot) << 12)
                if found.vendor != 0xFFFF {
                    if function == 0, found.headerType & 0x80 != 0 { functions = 8 }
                    body(found)
                }
                function += 1
            }
        }
    }

    /// Prints the functions and compares both ways to them.
    /// - Parameter expected: whether a machine without a function fails the test.
    func report(expected: Bool) {
        var count = 0
        var differing = 0
        forEach { function in
            count += 1
            function.tellName()
            say(
                " \(digits: function.vendor, 4):\(digits: function.device, 4) class \(digits: function.read32(8) >> 8, 6)"
            )
            if function.segment == 0, function.window != 0 {
                for offset: UInt32 in stride(from: 0, through: 0x2C, by: 4)
                where offset < 0x10 && offset != 4 || offset == 0x2C {
                    if function.portRead(offset) != function.read32(offset) { differing += 1 }
                }
            }
            Self.reportBARs(function)
        }
        Result.check(count > 0 || !expected, "pci: \(count) functions")
        if let mcfg, mcfg.length >= 60 { Result.check(differing == 0, "pci: ECAM and ports agree") }
    }

    private static func reportBARs(_ function: PCIFunction) {
        let command = function.command
        var index: UInt32 = 0
        function.command = command & ~3
        while index < function.barCount {
            let bar = function.bar(index)
            if bar.size != 0 {
                tell("  bar \(index): \(hex: bar.address) + \(hex: bar.size) ")
                tell(bar.isMemory ? bar.is64Bit ? "64-bit memory" : "32-bit memory" : "ports")
                if bar.isPrefetchable { tell(", prefetchable") }
                if bar.address % bar.size != 0 || bar.size & (bar.size - 1) != 0 {
                    Result.check(false, ", alignment")
                } else {
                    say(bar.address == 0 ? ", not assigned" : "")
                }
            }
            index += bar.is64Bit ? 2 : 1
        }
        function.command = command
    }
}
