import Boot
import Host
import Synchronization
import VirtioBlock
import VirtioNet
import VirtioVsock

/// The host resources of a plan: opened at boot, kept over the guest's reboots, closed when the VM is shut down.
///
/// The control thread changes them when devices come and go.
package final class Backends: Sendable {
    private struct Devices: Sendable {
        var plan: MachinePlan
        var disks: [String: DiskImage] = [:]
        var nets: [String: NetBackend] = [:]
        var vsocks: [String: VsockBackend] = [:]
    }

    /// What is booted, its files open so that a reboot finds them as they were.
    private let opened: Result<Payload, BootError>
    private let devices: Mutex<Devices>
    /// The lines of the guest's character devices, which outlive these resources.
    let lines: ConsoleBackends

    /// Opens everything that the plan names besides the consoles.
    ///
    /// - Parameters:
    ///   - selfTest: the image of the self-test guest, asked for when the plan boots it.
    ///   - lines: the consoles of the same plan, open.
    ///   - isRestored: whether the guest goes on from a snapshot: its payload is then for a reboot alone and may be gone.
    ///   - isStandby: whether another process still has what one alone can have: that comes with `takeBack`.
    init(
        _ plan: MachinePlan, selfTest: SelfTestGuest, lines: ConsoleBackends, taps: [String: AdoptedTaps] = [:],
        isRestored: Bool = false, isStandby: Bool = false
    ) throws {
        try FieldErrors.provideFiles(plan)
        self.lines = lines
        do throws(BootError) {
            opened = .success(try Self.open(plan.payload, selfTest))
        } catch {
            guard isRestored else { throw error }
            opened = .failure(error)
        }
        devices = Mutex(Devices(plan: plan))
        for device in plan.devices { try open(device, taps[device.id], isStandby: isStandby) }
    }

    /// What is booted.
    ///
    /// - Throws: where its files were gone when the guest was restored.
    func payload() throws(BootError) -> Payload { try opened.get() }

    /// Why there is no payload for a reboot; nil where there is one.
    var payloadProblem: BootError? { if case .failure(let error) = opened { error } else { nil } }

    /// What the machine is now, with the devices that came and without those that went: what the next life is made of.
    package var plan: MachinePlan { devices.withLock { $0.plan } }

    /// Opens what a device needs and adds the device to the plan.
    ///
    /// - Parameter taps: tap queues that came from outside, for a network interface.
    func add(_ device: PlannedDevice, _ taps: AdoptedTaps? = nil) throws {
        try FieldErrors.provideFiles(plan.with(device))
        try open(device, taps)
        devices.withLock { $0.plan = $0.plan.with(device) }
    }

    private func open(_ device: PlannedDevice, _ taps: AdoptedTaps?, isStandby: Bool = false) throws {
        switch device.kind {
        case .block(let options, _):
            let image = try DiskImage(options, isStandby: isStandby)
            devices.withLock { $0.disks[device.id] = image }
        case .net(let settings):
            let backend = try taps.map { try NetBackend(settings, $0) } ?? NetBackend(settings, isStandby: isStandby)
            devices.withLock { $0.nets[device.id] = backend }
        case .vsock(let settings):
            let backend = try FieldErrors.openVsock(settings, isStandby: isStandby)
            devices.withLock { $0.vsocks[device.id] = backend }
        case .entropy(let source): try FieldErrors.checkEntropy(source)
        case .console: break
        }
    }

    /// Takes a device out of the plan and lets go of what it needed; that is closed with its last user.
    func remove(_ id: String) {
        // What is let go is closed outside the lock.
        let gone = devices.withLock { devices in
            devices.plan = devices.plan.removing(id)
            return (
                disk: devices.disks.removeValue(forKey: id), net: devices.nets.removeValue(forKey: id),
                vsock: devices.vsocks.removeValue(forKey: id)
            )
        }
        gone.vsock?.close()
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

    func disk(_ id: String) -> DiskImage? { devices.withLock { $0.disks[id] } }
    func net(_ id: String) -> NetBackend? { devices.withLock { $0.nets[id] } }
    func vsock(_ id: String) -> VsockBackend? { devices.withLock { $0.vsocks[id] } }

    /// The interfaces in use, by device.
    package var interfaces: [(id: String, name: String)] {
        devices.withLock { $0.nets }.map { ($0.key, $0.value.interface) }.sorted { $0.0 < $1.0 }
    }

    /// Lets another process take all of it over: locks, taps, listening sockets. The machine stands still.
    func letGo() throws {
        lines.letGo()
        let (disks, nets, vsocks) = devices.withLock { (Array($0.disks.values), $0.nets.values, $0.vsocks.values) }
        for disk in disks { try disk.letGo() }
        for net in nets { net.letGo() }
        for vsock in vsocks { vsock.close() }
    }

    /// Takes all of it again after `letGo`; nothing where it is still here.
    func takeBack() throws {
        let (disks, nets, vsocks) = devices.withLock { (Array($0.disks.values), $0.nets.values, $0.vsocks.values) }
        for disk in disks { try disk.takeBack() }
        for net in nets { try net.takeBack() }
        for vsock in vsocks { try vsock.reopen() }
        try lines.takeBack()
    }

    /// Removes what others see of the resources: the files of listening sockets. The machine must have stopped.
    func close() {
        for vsock in devices.withLock({ $0.vsocks }).values { vsock.close() }
    }

    deinit { close() }
}
