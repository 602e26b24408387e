import Boot
import Host
import Synchronization
import VirtioBlock
import VirtioNet
import VirtioVsock

/// The host resources of a plan: opened at boot, kept over the guest's reboots, closed when the VM is shut down.
package final class Backends: Sendable {
    let plan: MachinePlan
    /// What is booted, its files open so that a reboot finds them as they were.
    let payload: Payload
    private let disks: [String: DiskImage]
    private let nets: [String: NetBackend]
    private let vsocks: [String: VsockBackend]
    /// The lines of the guest's character devices, which outlive these resources.
    let lines: ConsoleBackends

    /// Opens everything that the plan names besides the consoles.
    ///
    /// - Parameters:
    ///   - selfTest: the image of the self-test guest, asked for when the plan boots it.
    ///   - lines: the consoles of the same plan, open.
    init(_ plan: MachinePlan, selfTest: SelfTestGuest, lines: ConsoleBackends) throws {
        self.lines = lines
        self.plan = plan
        payload = try Self.open(plan.payload, selfTest)
        var disks: [String: DiskImage] = [:]
        var nets: [String: NetBackend] = [:]
        var vsocks: [String: VsockBackend] = [:]
        for device in plan.devices {
            switch device.kind {
            case .block(let options, _): disks[device.id] = try DiskImage(options)
            case .net(let settings): nets[device.id] = try NetBackend(settings)
            case .vsock(let settings): vsocks[device.id] = try FieldErrors.openVsock(settings)
            case .entropy(let source): try FieldErrors.checkEntropy(source)
            case .console: break
            }
        }
        (self.disks, self.nets, self.vsocks) = (disks, nets, vsocks)
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
    func vsock(_ id: String) -> VsockBackend? { vsocks[id] }

    /// The interfaces in use, by device.
    package var interfaces: [(id: String, name: String)] {
        nets.map { ($0.key, $0.value.interface) }.sorted { $0.0 < $1.0 }
    }

    /// Removes what others see of the resources: the files of listening sockets. The machine must have stopped.
    func close() {
        for vsock in vsocks.values { vsock.close() }
    }

    deinit { close() }
}
