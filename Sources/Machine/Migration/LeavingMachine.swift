import Host
import KVM
import Legacy
import Memory
import Migration
import PCI
import Snapshot
import Spec
import Synchronization
import Virtio
import VirtioBlock
import VirtioConsole
import VirtioNet

/// The machine that runs here, as a migration's source. All that changes it is done by the control thread.
final class LeavingMachine: MigrationSource {
    private let controller: VMController
    private let instance: MachineInstance
    private let writer: String
    private let throttle = VCPUThrottle()
    /// Whether it stands still already.
    let wasPaused: Bool
    /// Whether it stands still now. Ordering: relaxed; the sender's threads begin after it is set.
    private let standsStill = Atomic<Bool>(false)
    let token = Hello.newToken()
    /// What the control thread found out, or is to, before it was asked for.
    private struct Found {
        /// The pages that were written last before the machine stood still.
        var lastPages: [[UInt64]]?
        var state: Result<AwaitedAnswer<[UInt8]>, MigrationError>?
    }
    private let found = Mutex(Found())
    /// The disks whose images come along; nil where the destination has them already.
    private let leavingDisks: LeavingDisks?
    var mirror: (any MirrorSource)? { leavingDisks }

    /// - Parameters:
    ///   - wasPaused: whether it stands still already, and is to stand still there.
    ///   - disks: those whose images come along; nil where the destination has them already.
    init(
        _ controller: VMController, _ instance: MachineInstance, writer: String, wasPaused: Bool,
        disks: LeavingDisks?
    ) {
        (self.controller, self.instance, self.writer) = (controller, instance, writer)
        (self.wasPaused, leavingDisks) = (wasPaused, disks)
    }

    /// Does something with the machine as long as it is the one that is to leave.
    @discardableResult
    private func onControl<Answer: Sendable>(
        _ body: @escaping @Sendable (VMM, CreatedVM) throws -> Answer
    ) throws(MigrationError) -> Answer {
        try begin(body).wait()
    }

    /// Begins to do something with it so.
    private func begin<Answer: Sendable>(
        _ body: @escaping @Sendable (VMM, CreatedVM) throws -> Answer
    ) throws(MigrationError) -> AwaitedAnswer<Answer> {
        try controller.begin { [instance] vmm in
            guard let vm = vmm.vm, vm.instance === instance else {
                throw MigrationError(.machine, "the guest ended or rebooted meanwhile")
            }
            return try body(vmm, vm)
        }
    }

    func describe() throws(MigrationError) -> Hello {
        let (writer, token, wasPaused) = (writer, token, wasPaused)
        let list = try leavingDisks?.list()
        let isShared = leavingDisks == nil
        return try onControl { vmm, vm in
            guard let instance = vm.instance, let backends = vm.backends else { throw VMError.notBooted }
            try instance.refuseRemovals()
            var hello = Hello(
                token: token, writer: writer, config: vm.config.json.text(), needs: instance.needs,
                states: MovedState.written)
            let plan = backends.plan
            hello.devices = plan.devices.map { device in
                var listed = Hello.Device(id: device.id, kind: device.kind.name)
                if vm.taps[device.id] != nil { listed.isAdopted = true }
                if isShared { listed.size = backends.disk(device.id)?.size }
                return listed
            }
            hello.memory = plan.memory.ranges.map { Hello.Region(address: $0.address, size: $0.size) }
            (hello.isPaused, hello.disks) = (wasPaused, list)
            return hello
        }
    }

    /// Refuses to go on without a disk that was there when it began.
    private func checkDisks(_ vm: CreatedVM) throws(MigrationError) {
        guard let leavingDisks, !leavingDisks.areAll(of: vm) else { return }
        throw MigrationError(.machine, "the guest let go of a disk while it was copied")
    }

    var regions: [MemoryRegion] { instance.memory.snapshotRegions }
    var memoryDescriptor: Int32? { instance.memory.fileDescriptor }

    // MARK: While it runs

    func beginLogging() throws(MigrationError) { try onControl { [instance] _, _ in try instance.beginLeaving() } }

    func takeWritten() throws(MigrationError) -> [[UInt64]] {
        if let last = found.withLock({ $0.lastPages.take() }) { return last }
        return try onControl { [instance] _, _ in try instance.pagesWrittenWhileLeaving() }
    }

    func beginReading(_ region: Int, _ pages: Range<Int>) throws(MigrationError) {
        // Nobody writes any more who would have to be noted: the guest does not wait for that.
        guard !standsStill.load(ordering: .relaxed) else { return }
        do throws(KVMError) {
            try instance.dirtyLog.clear(region, pages)
        } catch { throw MigrationError(sorting: error) }
    }

    func endLogging() { try? onControl { [instance] _, _ in try instance.endLeaving() } }

    func throttle(_ percent: Int) { throttle.set(percent, instance.runners) }

    // MARK: Handing over

    func pause() throws(MigrationError) {
        if wasPaused { return }
        try onControl { [self, instance] vmm, vm in
            try instance.refuseRemovals()
            try checkDisks(vm)
            try instance.pause()
            vm.isPaused = true
            vmm.publish()
            // Its last word is on its way to the control thread, and would not be heard there.
            guard !instance.stopping.isSet else {
                throw MigrationError(.machine, "the guest ends or reboots at this moment")
            }
            standsStill.store(true, ordering: .relaxed)
            // What is asked for next.
            guard instance.leavingPages.isNoting else { return }
            let pages = try instance.pagesWrittenWhileLeaving()
            found.withLock { $0.lastPages = pages }
        }
    }

    func rehearse() {
        guard leavingDisks == nil else { return }
        _ = try? outline()
    }

    func beginState(packed: Bool) {
        let state = Result { [self] () throws(MigrationError) in
            try begin { [instance] _, vm in
                guard let backends = vm.backends else { throw VMError.notBooted }
                let document = try instance.saveState(backends.plan, adopted: Set(vm.taps.keys))
                return packed ? try document.packed() : try document.encoded()
            }
        }
        found.withLock { $0.state = state }
    }

    func outline() throws(MigrationError) -> [UInt8]? {
        // The images of disks that come along are not at their places there before the state is.
        if leavingDisks != nil { return nil }
        return try onControl { [instance] _, vm in
            guard let backends = vm.backends else { throw VMError.notBooted }
            return try instance.outline(backends.plan, adopted: Set(vm.taps.keys)).packed()
        }
    }

    func state() throws(MigrationError) -> [UInt8] {
        guard let state = found.withLock({ $0.state.take() }) else {
            throw MigrationError(.machine, "nobody has begun to take the machine's state")
        }
        return try state.get().wait()
    }

    func release() throws(MigrationError) {
        try onControl { vmm, vm in
            try vmm.checkMemory()
            try vm.backends?.letGo()
        }
    }

    func takeBack() throws(MigrationError) {
        try onControl { _, vm in try vm.backends?.takeBack() }
    }

    func resume() throws(MigrationError) {
        if wasPaused { return }
        try onControl { [self, instance] vmm, vm in
            guard vm.isPaused else { return }
            standsStill.store(false, ordering: .relaxed)
            found.withLock { $0 = Found() }
            try instance.resume()
            vm.isPaused = false
            vmm.publish()
        }
    }

    func end() {
        try? onControl { vmm, _ in
            vmm.logger.info("the guest is at its destination")
            vmm.delete()
        }
    }
}

/// The kinds of state that a machine is made of, with the versions that are written and read. A sort of device that keeps
/// nothing beside its transport, like vsock and rng, has none of its own.
enum MovedState {
    static let types: [any SavedState.Type] = [
        SavedMachine.self, ClockReading.self, SavedInterruptChips.self, SavedVCPU.self, SavedTransport.self,
        PCIRootState.self, ACPIState.self, HotPlugState.self, CMOSState.self, SerialState.self, I8042State.self,
        DebugPortState.self, BlockState.self, NetState.self, ConsoleState.self,
    ]

    /// The version of each that is written here.
    static var written: [String: Int] {
        var versions: [String: Int] = [:]
        for type in types { versions[type.kind] = type.version }
        return versions
    }

    /// What of a source's states cannot be read here, in words.
    static func unreadable(_ states: [String: Int]) -> [String] {
        states.sorted { $0.key < $1.key }.compactMap { kind, version in
            guard let type = types.first(where: { $0.kind == kind }) else { return nil }
            guard type.version != version, !type.readableVersions.contains(version) else { return nil }
            let known = type.readableVersions.map(String.init).joined(separator: ", ")
            return
                "version \(version) of the state of kind \(kind) is none that this version of swiftlet reads (\(known))"
        }
    }
}
