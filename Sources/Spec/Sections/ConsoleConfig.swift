/// `console` and `serial`: where a console's bytes go.
package struct ConsoleConfig: Sendable, Equatable {
    /// Where the bytes go.
    package var mode: ConsoleMode
    /// The file of mode `File`; in mode `Pty`, the pty's path, which the VM fills in.
    package var file: String?
    /// The Unix socket of mode `Socket`.
    package var socket: String?
    /// The name of the virtio console in the API; nil until one is assigned, and always for the serial port.
    package var id: String?

    /// A console of a mode that needs no path.
    package init(mode: ConsoleMode) { self.mode = mode }

    /// A console that writes to a file.
    package init(file: String) {
        mode = .file
        self.file = file
    }

    /// A console behind a Unix socket that the VM listens on.
    package init(socket: String) {
        mode = .socket
        self.socket = socket
    }
}

/// Where a console's bytes go.
package enum ConsoleMode: String, Sendable, CaseIterable {
    /// There is no device.
    case off = "Off"
    /// The device is there; its output is dropped.
    case null = "Null"
    /// The monitor's own terminal.
    case tty = "Tty"
    /// A file, for output only.
    case file = "File"
    /// A pseudo-terminal that the monitor opens.
    case pty = "Pty"
    /// A Unix socket that the monitor listens on.
    case socket = "Socket"
}

/// `debug_console`: an output-only port, 0xe9 by custom.
package struct DebugConsoleConfig: Sendable, Equatable {
    /// Where the bytes go; a socket is not possible.
    package var mode = ConsoleMode.off
    /// The file of mode `File`; in mode `Pty`, the pty's path, which the VM fills in.
    package var file: String?
    /// The I/O port.
    package var ioBase: UInt16 = 0xe9

    /// A debug console that is off.
    package init() {}
}

extension ConsoleConfig {
    /// Reads a console; the serial port, which is not on the PCI bus, has fewer fields.
    init(_ reader: SectionReader, onPCI: Bool) {
        self.init(mode: reader.consoleMode())
        file = reader.string("file", "a path")
        socket = reader.string("socket", "a path")
        if onPCI { id = reader.string("id") }
        let supported = ["mode", "file", "socket"]
        if onPCI {
            reader.finish(supported + ["id"], unsupported: Harmless.pciPlacement)
        } else {
            // Versions before the serial port left the PCI bus's common fields still send iommu.
            reader.finish(supported, unsupported: ["iommu": .nothing])
        }
    }

    /// The virtio console as Cloud Hypervisor's format has it.
    package var json: JSONValue { members([("id", id.map { .string($0) }), ("pci_segment", .integer(0))]) }

    /// The serial port as Cloud Hypervisor's format has it.
    package var serialJSON: JSONValue { members([]) }

    private func members(_ placement: [(String, JSONValue?)]) -> JSONValue {
        .members(
            [
                ("file", file.map { .string($0) }), ("mode", .string(mode.rawValue)),
                ("socket", socket.map { .string($0) }),
            ] + placement)
    }

    func validate(_ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.id(id, fixed: DeviceNames.console)
        checks.filePath("file", file)
        checks.filePath("socket", socket, limit: Limits.socketPathLength)
        if mode == .file, file == nil { checks.report(.missing, "file", "missing; mode File needs the file's path") }
        if mode == .socket, socket == nil {
            checks.report(.missing, "socket", "missing; mode Socket needs the socket's path")
        }
    }
}

extension DebugConsoleConfig {
    init(_ reader: SectionReader) {
        self.init()
        mode = reader.consoleMode()
        file = reader.string("file", "a path")
        ioBase = reader.integer("iobase", 0...UInt16.max) ?? ioBase
        reader.finish(["mode", "file", "iobase"])
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("file", file.map { .string($0) }), ("mode", .string(mode.rawValue)), ("iobase", .integer(ioBase)),
        ])
    }

    func validate(_ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.filePath("file", file)
        switch mode {
        case .file where file == nil: checks.report(.missing, "file", "missing; mode File needs the file's path")
        case .socket:
            checks.invalid("mode", "Socket is not possible for a debug console; use Pty, Tty or File")
        default: break
        }
        if mode != .off, let owner = Self.takenPorts.first(where: { $0.ports.contains(ioBase) })?.owner {
            checks.invalid("iobase", "port \(ioBase) belongs to \(owner); choose another, like 233 (0xe9)")
        }
    }

    /// Ports of the PC platform that a debug console cannot have.
    private static let takenPorts: [(ports: ClosedRange<UInt16>, owner: String)] = [
        (0x20...0x21, "the interrupt controller"), (0x40...0x43, "the timer"), (0x60...0x64, "the keyboard controller"),
        (0x70...0x71, "the clock"), (0x80...0x80, "the debug port"), (0xa0...0xa1, "the interrupt controller"),
        (0x3f8...0x3ff, "the serial port"), (0x600...0x60f, "ACPI"), (0xcf8...0xcff, "the PCI bus"),
        (0x1000...0xffff, "PCI devices"),
    ]
}

extension SectionReader {
    fileprivate func consoleMode() -> ConsoleMode {
        if value("mode") == nil {
            missing("mode", "one of \(ConsoleMode.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return choice("mode", default: ConsoleMode.off)
    }
}
