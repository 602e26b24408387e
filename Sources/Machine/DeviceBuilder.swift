import Boot
import CharBackend
import Host
import KVM
import Legacy
import Memory
import PCI
import Virtio
import VirtioBlock
import VirtioConsole
import VirtioNet
import VirtioRandom
import VirtioVsock

/// Makes the virtio devices of a plan over their backends.
struct DeviceBuilder {
    let backends: Backends

    /// Makes a device that no transport has yet.
    func make(_ planned: PlannedDevice) throws -> any VirtioDevice {
        switch planned.kind {
        case .entropy(let source): return try RandomDevice(id: planned.id, path: source)
        case .block(_, let settings):
            guard let image = backends.disk(planned.id) else { throw missing(planned) }
            return BlockDevice(id: planned.id, image, settings)
        case .net(let settings):
            guard let backend = backends.net(planned.id) else { throw missing(planned) }
            return NetDevice(id: planned.id, backend, settings)
        case .vsock:
            guard let backend = backends.vsock(planned.id) else { throw missing(planned) }
            return try VsockDevice(id: planned.id, backend)
        case .console(let mode):
            guard let port = backends.lines.consoles[planned.id] else { throw missing(planned) }
            let size = mode == .tty ? Terminal.size(1) : nil
            return try ConsoleDevice(id: planned.id, port, size: size ?? (0, 0))
        }
    }

    private func missing(_ planned: PlannedDevice) -> MachineError {
        .host("\(planned.id): its backend was not opened")
    }
}

/// The devices at I/O ports.
struct LegacyDevices: Sendable {
    let ports: PortBus
    let pci: PCIPorts
    let acpi: ACPIRegisters
    let hotPlug: HotPlugRegisters
    let debugPort: DebugPort
    let serial: Serial16550A?
    let clock = CMOSClock()
    let keyboard: I8042

    init(
        _ plan: MachinePlan, _ backends: Backends, machine: VMHandle, slots: DeviceSlots, _ events: InstanceEvents
    ) throws {
        var ports = PortBus()
        func line(_ gsi: UInt32) throws -> EventFD {
            let event = try EventFD()
            try machine.raise(gsi, on: event, assign: true)
            return event
        }
        serial = try backends.lines.serial.map { port in
            Serial16550A(port, interrupt: try line(MachineLayout.serialGSI))
        }
        // In the order of how often a guest uses them: the list is searched from its start.
        if let serial { ports.add(serial, at: MachineLayout.serial, count: MachineLayout.serialPortCount) }
        pci = PCIPorts(slots.root)
        ports.add(pci, at: MachineLayout.pciConfigAddress, count: 8)
        debugPort = DebugPort()
        ports.add(debugPort, at: MachineLayout.debugPort, count: 1)
        let base = MachineLayout.sleepControl
        acpi = ACPIRegisters(
            ACPIRegisters.Layout(
                sleepControl: 0, sleepStatus: MachineLayout.sleepStatus - base, reset: MachineLayout.reset - base,
                events: MachineLayout.eventRegister - base,
                values: (MachineLayout.sleepControlS5, MachineLayout.resetValue)),
            // The chip is there as long as the VM is.
            interrupt: { high in try? machine.setInterruptLine(MachineLayout.eventGSI, high: high) },
            request: events.request)
        ports.add(acpi, at: base, count: 8)
        hotPlug = HotPlugRegisters { slot in
            if slots.letGo(slot) { events.ejected(slot) }
        }
        ports.add(hotPlug, at: MachineLayout.pciHotPlug, count: MachineLayout.pciHotPlugSize)
        ports.add(clock, at: MachineLayout.cmosIndex, count: 2)
        keyboard = I8042(request: events.request)
        ports.add(keyboard, at: MachineLayout.i8042Data, count: 5)
        if let planned = plan.debugConsole, let port = backends.lines.debugConsole {
            ports.add(DebugConsole(port), at: planned.port, count: 1)
        }
        if plan.isSelfTest { ports.add(DebugExit(request: events.request), at: MachineLayout.debugExit, count: 1) }
        self.ports = ports
    }
}
