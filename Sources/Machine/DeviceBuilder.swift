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

/// Makes the PCI devices of a plan.
struct DeviceBuilder {
    let plan: MachinePlan
    let backends: Backends
    let machine: VMHandle
    let memory: GuestMemory

    func build(
        on root: PCIRoot, report: @escaping @Sendable (String, String) -> Void
    ) throws -> ([PCITransport], [ConsoleDevice]) {
        let environment = PCITransportEnvironment(
            memory: memory, connector: KVMInterruptConnector(machine, InterruptRouter(machine)),
            notifier: KVMNotificationConnector(machine), report: report)
        var transports: [PCITransport] = []
        var consoles: [ConsoleDevice] = []
        for planned in plan.devices {
            let device = try make(planned)
            if let console = device as? ConsoleDevice { consoles.append(console) }
            let transport = try PCITransport(device, at: planned.registers, environment)
            guard root.insert(transport, device: Int(planned.address.device)) else {
                throw MachineError.spec("\(planned.id): the PCI slot \(planned.address) is taken")
            }
            transports.append(transport)
        }
        return (transports, consoles)
    }

    private func make(_ planned: PlannedDevice) throws -> any VirtioDevice {
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
struct LegacyDevices {
    let ports: PortBus
    let acpi: ACPIRegisters
    let debugPort: DebugPort
    let serial: Serial16550A?

    init(
        _ plan: MachinePlan, _ backends: Backends, machine: VMHandle, root: PCIRoot,
        request: @escaping @Sendable (GuestRequest) -> Void
    ) throws {
        var ports = PortBus()
        func line(_ gsi: UInt32) throws -> EventFD {
            let event = try EventFD()
            try machine.raise(gsi, on: event, assign: true)
            return event
        }
        serial = try backends.lines.serial.map { port in
            let serial = Serial16550A(port, interrupt: try line(MachineLayout.serialGSI))
            port.connect(serial)
            return serial
        }
        // In the order of how often a guest uses them: the list is searched from its start.
        if let serial { ports.add(serial, at: MachineLayout.serial, count: MachineLayout.serialPortCount) }
        ports.add(PCIPorts(root), at: MachineLayout.pciConfigAddress, count: 8)
        debugPort = DebugPort()
        ports.add(debugPort, at: MachineLayout.debugPort, count: 1)
        let base = MachineLayout.sleepControl
        acpi = ACPIRegisters(
            ACPIRegisters.Layout(
                sleepControl: 0, sleepStatus: MachineLayout.sleepStatus - base, reset: MachineLayout.reset - base,
                events: MachineLayout.eventRegister - base,
                values: (MachineLayout.sleepControlS5, MachineLayout.resetValue)),
            interrupt: try line(MachineLayout.eventGSI), request: request)
        ports.add(acpi, at: base, count: 8)
        ports.add(CMOSClock(), at: MachineLayout.cmosIndex, count: 2)
        ports.add(I8042(request: request), at: MachineLayout.i8042Data, count: 5)
        if let planned = plan.debugConsole, let port = backends.lines.debugConsole {
            ports.add(DebugConsole(port), at: planned.port, count: 1)
        }
        if plan.isSelfTest { ports.add(DebugExit(request: request), at: MachineLayout.debugExit, count: 1) }
        self.ports = ports
    }
}
