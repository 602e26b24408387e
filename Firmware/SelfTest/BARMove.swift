// Moves the base address register behind a virtio device's structures, with memory decoding off, and drives the
// device at its new place (PCI Local Bus Specification 3.0, 6.2.5.1).

enum BARMove {
    static func run(_ guest: Guest) -> Never {
        guest.startInterrupts()
        let bus = PCIBus(guest.acpi.mcfg)
        var chosen: VirtioDevice?
        bus.forEach { function in
            // The entropy device, if there is one: its test needs nothing from outside.
            if let device = VirtioDevice(function), chosen == nil || device.type == 4 { chosen = device }
        }
        guard let device = chosen else { Result.abort("bar-move: no virtio device") }
        let function = device.function
        let index = device.commonBAR
        let command = function.command
        function.command = command & ~7
        let bar = function.bar(index)
        let target = guest.commandLine.value("bar_to")?.number ?? freeAddress(bus, function, bar)
        device.tellName()
        say("bar \(index) from \(hex: bar.address) to \(hex: target), \(hex: bar.size) bytes")
        guard target != 0, target % bar.size == 0, target != bar.address else {
            Result.abort("bar-move: no room, name an address with bar_to=")
        }
        function.setBARAddress(index, target)
        Result.check(function.barAddress(index) == target, "bar-move: register keeps the address")
        function.command = command | 6

        let old = device.common
        guard let moved = VirtioDevice(function), moved.common == target + (old - bar.address) else {
            Result.abort("bar-move: the device's structures are not at the new place")
        }
        // The status register is written at the new place; the old one must not show it.
        moved.status = 3
        Result.check(moved.status == 3, "bar-move: the device answers at the new place")
        Result.check(memoryRead8(old + 20) != 3, "bar-move: it does not at the old one")
        DeviceTests.test(moved, NetAddresses(guest.commandLine))

        // And back, for whoever looks at the device next.
        function.command = command & ~7
        function.setBARAddress(index, bar.address)
        function.command = command | 6
        guard let back = VirtioDevice(function) else { Result.abort("bar-move: the device is not back") }
        DeviceTests.test(back, NetAddresses(guest.commandLine))
        Result.finish()
    }

    /// The first address behind all registers on the same side of 4 GiB. Where that runs into the interrupt
    /// controllers, the last one below all of them.
    private static func freeAddress(_ bus: PCIBus, _ own: PCIFunction, _ bar: BAR) -> UInt64 {
        let high = bar.address >= 1 << 32
        var lowest = bar.address
        var end = bar.address + bar.size
        bus.forEach { function in
            let command = function.command
            function.command = command & ~3
            var index: UInt32 = 0
            while index < function.barCount {
                let other = function.bar(index)
                if other.isMemory, other.size != 0, other.address != 0, (other.address >= 1 << 32) == high {
                    lowest = min(lowest, other.address)
                    end = max(end, other.address + other.size)
                }
                index += other.is64Bit ? 2 : 1
            }
            function.command = command
        }
        let above = (end + bar.size - 1) & ~(bar.size - 1)
        if high || above + bar.size <= 0xFEC0_0000 { return above }
        return lowest >= bar.size ? (lowest - bar.size) & ~(bar.size - 1) : 0
    }
}
