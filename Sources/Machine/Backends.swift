import Boot
import CharBackend
import Host
import Synchronization
import VirtioBlock
import VirtioNet

/// The host resources of a plan: opened once, kept over the guest's reboots, closed with the VM.
package final class Backends: Sendable {
    let plan: MachinePlan
    /// What is booted, its files open so that a reboot finds them as they were.
    let payload: Payload
    private let loop: CharLoop
    private let disks: [String: DiskImage]
    private let nets: [String: NetBackend]
    let serial: CharPort?
    let debugConsole: CharPort?
    let consoles: [String: CharPort]
    /// The other end of each pseudo-terminal, by the name of its device (`serial`, `console`, `debug_console`).
    package let terminals: [String: String]

    /// What the backends tell the VM.
    package struct Events: Sendable {
        /// Trouble with a backend, for the log.
        let report: @Sendable (String) -> Void
        /// The terminal's user ends the VM.
        let quit: @Sendable () -> Void
    }

    /// Opens everything that the plan names.
    ///
    /// - Parameter selfTest: the image of the self-test guest, asked for when the plan boots it.
    init(_ plan: MachinePlan, selfTest: SelfTestGuest, _ events: Events) throws {
        self.plan = plan
        payload = try Self.open(plan.payload, selfTest)
        var disks: [String: DiskImage] = [:]
        var nets: [String: NetBackend] = [:]
        for device in plan.devices {
            switch device.kind {
            case .block(let options, _): disks[device.id] = try DiskImage(options)
            case .net(let settings): nets[device.id] = try NetBackend(settings)
            case .entropy(let source): try FieldErrors.checkEntropy(source)
            case .console: break
            }
        }
        (self.disks, self.nets) = (disks, nets)
        // The terminal comes last: nothing after it can fail and leave a message on a raw line.
        let loop = try CharLoop(report: events.report, onQuit: events.quit)
        var terminals: [String: String] = [:]
        func open(_ mode: CharMode, _ name: String) throws -> CharPort {
            let opened: CharLoop.Opened
            do throws(HostError) { opened = try loop.open(mode) } catch {
                throw FieldErrors.console(name, mode, error)
            }
            if let path = opened.ptyPath { terminals[name] = path }
            return opened.port
        }
        do {
            var consoles: [String: CharPort] = [:]
            debugConsole = try plan.debugConsole.map { try open($0.mode, "debug_console") }
            serial = try plan.serial.map { try open($0, "serial") }
            for device in plan.devices {
                if case .console(let mode) = device.kind { consoles[device.id] = try open(mode, "console") }
            }
            self.consoles = consoles
        } catch {
            loop.stop(deadlineMilliseconds: 0)
            throw error
        }
        self.terminals = terminals
        self.loop = loop
    }

    private static func open(_ planned: PlannedPayload, _ selfTest: SelfTestGuest) throws(BootError) -> Payload {
        switch planned {
        case .selfTest:
            let image = PayloadSource(bytes: selfTest.image(), name: "the self-test guest", field: "$.payload")
            return Payload(kernel: image, initramfs: nil, commandLine: selfTest.commandLine)
        case .kernel(let path, let field, let initramfs, let commandLine):
            let kernel = try PayloadSource(path: path, field: field)
            let archive = try initramfs.map { path throws(BootError) in
                try PayloadSource(path: path, field: "$.payload.initramfs")
            }
            return Payload(kernel: kernel, initramfs: archive, commandLine: commandLine)
        }
    }

    func disk(_ id: String) -> DiskImage? { disks[id] }
    func net(_ id: String) -> NetBackend? { nets[id] }

    /// The interfaces in use, by device.
    package var interfaces: [(id: String, name: String)] {
        nets.map { ($0.key, $0.value.interface) }.sorted { $0.0 < $1.0 }
    }

    /// Writes what the guest's consoles still hold and closes them; the terminal gets its state back.
    package func close() { loop.stop() }
}
