import Boot
import CharBackend
import Memory
import PCI

/// A plan in words, for people and for scripts.
package struct PlanReport: Encodable, Sendable {
    /// A range of guest-physical addresses.
    package struct Range: Encodable, Sendable {
        let name: String
        let address: String
        let size: UInt64
    }

    /// A function on the PCI bus.
    package struct Device: Encodable, Sendable {
        let bdf: String
        let id: String?
        let type: String
        /// What the host has behind it; the host bridge has nothing, and no registers or vectors either.
        let backend: String?
        let registers: String?
        let vectors: Int
    }

    /// An interrupt input of the IOAPIC.
    package struct Interrupt: Encodable, Sendable {
        let gsi: UInt32
        let device: String
    }

    /// The vCPUs.
    package struct Processors: Encodable, Sendable {
        let boot: Int
        let max: Int
        let topology: Topology
        let apicIDs: [UInt32]

        private enum CodingKeys: String, CodingKey {
            // The second word as one: in snake case it is `apic_ids`.
            case boot, max, topology, apicIDs = "apicIds"
        }
    }

    /// How vCPUs are grouped, with the names of the spec.
    package struct Topology: Encodable, Sendable {
        let packages: UInt32, diesPerPackage: UInt32, coresPerDie: UInt32, threadsPerCore: UInt32
    }

    let memory: [Range]
    let backing: String
    let cpus: Processors
    let pci: [Device]
    let interrupts: [Interrupt]
    let serial: String
    let payload: String

    package init(_ plan: MachinePlan) {
        memory = Self.ranges(plan)
        backing = Self.words(plan.backing) + (plan.dirtyLog == .ring ? ", dirty rings" : "")
        let topology = plan.processors.topology
        cpus = Processors(
            boot: plan.processors.boot, max: plan.processors.maximum,
            topology: Topology(
                packages: topology.packages, diesPerPackage: topology.dies, coresPerDie: topology.cores,
                threadsPerCore: topology.threads), apicIDs: plan.processors.apicIDs)
        let bridge = Device(
            bdf: "\(PCIAddress(device: 0))", id: nil, type: "host bridge", backend: nil, registers: nil, vectors: 0)
        pci = [bridge] + plan.devices.map(Self.device)
        var lines = [Interrupt(gsi: MachineLayout.eventGSI, device: "ACPI events")]
        if plan.serial != nil { lines.insert(Interrupt(gsi: MachineLayout.serialGSI, device: "ttyS0"), at: 0) }
        interrupts = lines
        serial = plan.serial.map(Self.words) ?? "off"
        switch plan.payload {
        case .selfTest: payload = "the embedded self-test guest"
        case .kernel(let path, _, let initramfs, let commandLine):
            payload =
                path + (initramfs.map { ", initramfs \($0)" } ?? "")
                + (commandLine.isEmpty ? "" : ", command line \"\(commandLine)\"")
        }
    }

    private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

    private static func ranges(_ plan: MachinePlan) -> [Range] {
        func range(_ name: String, _ range: Swift.Range<UInt64>) -> Range {
            Range(name: name, address: hex(range.lowerBound), size: range.upperBound - range.lowerBound)
        }
        var ranges = plan.memory.entries.filter { $0.kind == .usable }.map {
            Range(name: "RAM", address: hex($0.address), size: $0.size)
        }
        // RAM on the host, and reserved in the map that the guest gets.
        let (area, tables) = (MachineLayout.biosArea, MachineLayout.acpiTables)
        ranges.append(range("reserved", area.lowerBound..<tables.lowerBound))
        ranges.append(range("ACPI tables", tables))
        ranges.append(range("reserved (reset vector)", tables.upperBound..<area.upperBound))
        ranges.append(range("PCI 32-bit window", plan.windows.memory32))
        ranges.append(range("PCI configuration (ECAM)", MachineLayout.ecam))
        if !plan.windows.memory64.isEmpty { ranges.append(range("PCI 64-bit window", plan.windows.memory64)) }
        return ranges.sorted {
            UInt64($0.address.dropFirst(2), radix: 16) ?? 0 < UInt64($1.address.dropFirst(2), radix: 16) ?? 0
        }
    }

    private static func words(_ backing: MemoryBacking) -> String {
        var parts = [backing.shared ? "shared memfd" : "anonymous memory"]
        if let size = backing.hugePageSize { parts.append("huge pages of \(size >> 10) KiB") }
        if backing.prefault { parts.append("allocated ahead") }
        if backing.mergeable { parts.append("mergeable") }
        return parts.joined(separator: ", ")
    }

    private static func words(_ mode: CharMode) -> String {
        switch mode {
        case .tty: "standard input and output"
        case .file(let path): "file \(path)"
        case .pty: "a new pseudo-terminal"
        case .socket(let path): "Unix socket \(path)"
        case .null: "discarded"
        }
    }

    private static func device(_ device: PlannedDevice) -> Device {
        let (type, backend): (String, String) =
            switch device.kind {
            case .console(let mode): ("virtio-console", words(mode))
            case .entropy(let source): ("virtio-rng", source)
            case .block(let options, _):
                (
                    "virtio-block",
                    options.path + (options.readOnly ? ", read-only" : "") + (options.direct ? ", direct" : "")
                )
            case .vsock(let settings): ("virtio-vsock", "CID \(settings.cid), Unix socket \(settings.socket)")
            case .net(let settings):
                (
                    "virtio-net",
                    "tap \(settings.tap.isEmpty ? "(a new one)" : settings.tap), MAC "
                        + settings.mac.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
                )
            }
        return Device(
            bdf: "\(device.address)", id: device.id, type: type, backend: backend, registers: hex(device.registers),
            vectors: device.kind.queueCount + 1)
    }

    /// The report as lines of text.
    package var lines: [String] {
        var lines = ["memory map (\(backing))"]
        for range in memory {
            lines.append("  " + Self.columns([(range.address, 18), (Self.size(range.size), 12)]) + range.name)
        }
        let topology = cpus.topology
        lines.append(
            "vCPUs  \(cpus.boot) at boot, \(cpus.max) at most: \(topology.packages) package(s), "
                + "\(topology.diesPerPackage) die(s) each, \(topology.coresPerDie) core(s) each, "
                + "\(topology.threadsPerCore) thread(s) each")
        lines.append("PCI functions")
        for device in pci {
            let head = "  " + Self.columns([(device.bdf, 14), (device.id ?? "", 14)])
            guard let registers = device.registers, let backend = device.backend else {
                lines.append(head + device.type)
                continue
            }
            lines.append(
                head + Self.columns([(device.type, 15), (registers, 15)])
                    + "\(device.vectors) MSI-X vectors, \(backend)")
        }
        lines.append("interrupts")
        for line in interrupts { lines.append("  GSI \(line.gsi)  \(line.device)") }
        lines.append("serial port  \(serial)")
        lines.append("payload  \(payload)")
        return lines
    }

    private static func columns(_ cells: [(String, Int)]) -> String {
        cells.map { $0 + String(repeating: " ", count: max(1, $1 - $0.utf8.count)) }.joined()
    }

    private static func size(_ bytes: UInt64) -> String {
        for (shift, name) in [(UInt64(30), "GiB"), (20, "MiB"), (10, "KiB")]
        where bytes >> shift > 0 && bytes % (1 << shift) == 0 {
            return "\(bytes >> shift) \(name)"
        }
        return "\(bytes) B"
    }
}
