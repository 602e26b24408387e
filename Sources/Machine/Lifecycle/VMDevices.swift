import Host
import PCI
import Spec
import VirtioBlock
import VirtioNet

/// Devices that come and go, on the control thread: with the guest off they change the configuration, and in a guest that
/// is on they are plugged in and asked to leave as well.
extension VMM {
    func add(_ parsed: Parsed<DiskConfig>) throws -> VMReply {
        let vm = try created()
        var (disk, names) = (parsed.config, vm.names)
        disk.id = disk.id ?? names.next("_disk")
        try refuseTaken(disk.id, vm)
        try refuseLeaving(disk.id, vm)
        try refuseImageInUse(disk, vm)
        guard vm.snapshot?.have(disk.path) != true else {
            throw VMError(
                .conflict,
                [
                    "$.path: \"\(disk.path)\" lies in the snapshot that the VM's memory comes from, which must not change; "
                        + "use a copy"
                ])
        }
        return try change(vm, DeviceChange(names: names, section: "disks[\(vm.config.disks.count)]")) {
            $0.disks.append(disk)
        } plan: { plan in
            try MachinePlanner().plan(plan, adding: disk)
        }
    }

    func add(_ parsed: Parsed<NetConfig>, _ descriptors: ReceivedDescriptors) throws -> VMReply {
        let vm = try created()
        var (net, names) = (parsed.config, vm.names)
        net.id = net.id ?? names.next("_net")
        try refuseTaken(net.id, vm)
        try refuseLeaving(net.id, vm)
        try refuseTapInUse(net, vm)
        net.mac = net.mac ?? .random()
        var change = DeviceChange(names: names, section: "net[\(vm.config.net.count)]")
        if descriptors.count > 0 {
            if let tap = net.tap {
                throw VMError(
                    .invalid,
                    [
                        "$.tap: \"\(tap)\" cannot be named beside \(descriptors.count) descriptors of a tap's queues; "
                            + "send one or the other"
                    ])
            }
            change.taps = (net.id ?? "", try adopt(descriptors, net, vm))
        }
        return try self.change(vm, change) {
            $0.net.append(net)
        } plan: { plan in
            try MachinePlanner().plan(plan, adding: net)
        }
    }

    /// Takes over the queues of a tap that a client opened.
    private func adopt(
        _ descriptors: ReceivedDescriptors, _ net: NetConfig, _ vm: CreatedVM
    ) throws(VMError) -> AdoptedTaps {
        let taps: AdoptedTaps
        do throws(NetError) {
            taps = try AdoptedTaps(descriptors, at: "$.fds")
            try taps.check(pairs: Int(net.queueCount) / 2, at: "$.num_queues")
        } catch {
            throw VMError(.invalid, ["\(error)"])
        }
        let here = taps.identity.isHere
        let user =
            vm.taps.first { $0.value.identity == taps.identity }?.key
            ?? vm.backends?.interfaces.first { here && $0.name == taps.interface && vm.taps[$0.id] == nil }?.id
        if let user {
            throw VMError(
                .conflict,
                [
                    "$.fds: the descriptors are of \(taps.interface), which is the tap of the network card \"\(user)\"; "
                        + "send another tap's"
                ])
        }
        try AdoptedTapSettings.setMTU(net, taps)
        for line in AdoptedTapSettings.ignored(net) { logger.warning("vm.add-net: \(line)") }
        return taps
    }

    func add(_ parsed: Parsed<VsockConfig>) throws -> VMReply {
        let vm = try created()
        guard vm.config.vsock == nil else {
            throw VMError(.conflict, ["the VM has a vsock device already; remove that one first"])
        }
        // What the configuration has no more, and the machine still has, was asked to leave.
        if let device = vm.backends?.plan.devices.first(where: { if case .vsock = $0.kind { true } else { false } }) {
            throw VMError(
                .conflict,
                [
                    "the guest was asked to let the vsock device \"\(device.id)\" go and still has it; wait for the event "
                        + "device-removed"
                ])
        }
        var (vsock, names) = (parsed.config, vm.names)
        vsock.id = vsock.id ?? names.next("_vsock")
        try refuseTaken(vsock.id, vm)
        try refuseLeaving(vsock.id, vm)
        return try change(vm, DeviceChange(names: names, section: "vsock")) {
            $0.vsock = vsock
        } plan: { plan in
            try MachinePlanner().plan(plan, adding: vsock)
        }
    }

    /// Refuses an id that another device has, of whatever kind.
    private func refuseTaken(_ id: String?, _ vm: CreatedVM) throws(VMError) {
        guard let id, let place = vm.config.place(ofID: id) else { return }
        throw VMError(.conflict, ["$.id: \"\(id)\" is already the id of \(place); choose another"])
    }

    /// Refuses a tap by the name of one that another card of the guest's has, made for it perhaps.
    private func refuseTapInUse(_ net: NetConfig, _ vm: CreatedVM) throws(VMError) {
        guard let tap = net.tap, let user = vm.backends?.interfaces.first(where: { $0.name == tap })?.id,
            vm.taps[user]?.identity.isHere != false
        else { return }
        throw VMError(
            .conflict, ["$.tap: \"\(tap)\" is the tap of the network card \"\(user)\"; name another or none"])
    }

    /// Refuses an id whose device was asked to leave and is still there.
    private func refuseLeaving(_ id: String?, _ vm: CreatedVM) throws(VMError) {
        guard let id, vm.instance?.pendingRemovals.contains(id) == true else { return }
        throw VMError(
            .conflict,
            [
                "$.id: \"\(id)\" is a device that the guest was asked to let go and still has; wait for the event "
                    + "device-removed, or choose another id"
            ])
    }

    /// Refuses an image that a disk of this VM has already, by whatever name, unless both only read it.
    private func refuseImageInUse(_ disk: DiskConfig, _ vm: CreatedVM) throws(VMError) {
        guard let wanted = FileIdentity(following: disk.path) else { return }
        if let own = options.files.first(where: { $0.identity == wanted }) {
            throw VMError(.conflict, ["$.path: \(own.problem(disk.path))"])
        }
        let leaving = vm.instance?.pendingRemovals ?? []
        for device in (vm.backends?.plan ?? vm.plan).devices {
            guard case .block(let options, _) = device.kind, !(options.readOnly && disk.readonly),
                FileIdentity(following: options.path) == wanted
            else { continue }
            let user = "the image of the disk \"\(device.id)\""
            let remedy =
                leaving.contains(device.id)
                ? ", which the guest was asked to let go and still has; wait for the event device-removed"
                : "; set readonly on both or use a copy"
            throw VMError(.conflict, ["$.path: \"\(disk.path)\" is \(user)\(remedy)"])
        }
    }

    /// A device that comes.
    private struct DeviceChange {
        /// The ids that are given out, with the device's.
        let names: DeviceNames
        /// Where the configuration gets the device: what the client sent is that section alone.
        let section: String
        /// Tap queues that came with the request, and the interface that they are for.
        var taps: (id: String, queues: AdoptedTaps)?
    }

    private func created() throws(VMError) -> CreatedVM {
        guard let vm else { throw .notCreated }
        return vm
    }

    /// Adds a device to the configuration of a VM, and to its guest if that is on; on a failure all stays as it was.
    private func change(
        _ vm: CreatedVM, _ change: DeviceChange, _ body: (inout VMConfig) -> Void,
        plan: (MachinePlan) throws -> (plan: MachinePlan, device: PlannedDevice)
    ) throws -> VMReply {
        var (config, names) = (vm.config, change.names)
        body(&config)
        names.reserve(config.ids)
        var reply = VMReply.done
        do {
            try config.validate()
            if let instance = vm.instance, let backends = vm.backends {
                let device = try plan(backends.plan).device
                let next = try MachinePlanner().plan(config)
                let address = try instance.addDevice(device, backends, change.taps?.queues)
                vm.plan = next
                reply = .device(id: device.id, bdf: "\(address)")
                logger.info("a device came", metadata: ["id": "\(device.id)", "bdf": "\(address)"])
            } else {
                vm.plan = try MachinePlanner().plan(config)
            }
        } catch let error as SpecError {
            throw VMError(error).replacing("$.\(change.section)", by: "$")
        } catch {
            throw VMError(MachineError(sorting: error)).replacing("$.\(change.section)", by: "$")
        }
        if let taps = change.taps { vm.taps[taps.id] = taps.queues }
        (vm.config, vm.names) = (config, names)
        publish()
        return reply
    }

    // MARK: Going

    /// Takes a device out of the configuration at once, and out of a guest that is on as soon as that lets go.
    func removeDevice(_ id: String) throws {
        let vm = try created()
        var config = vm.config
        let isKnown = config.removeDevice(id)
        let isLeaving = vm.instance?.pendingRemovals.contains(id) == true
        guard isKnown || isLeaving else {
            throw VMError(.notFound, ["There is no device \(id) that can be removed"])
        }
        let plan = try MachinePlanner().plan(config)
        if let instance = vm.instance {
            guard instance.requestRemoval(id) else {
                throw VMError(.notFound, ["The guest has no device \(id)"])
            }
            logger.info("the guest is asked to let a device go", metadata: ["id": "\(id)"])
        }
        (vm.config, vm.plan) = (config, plan)
        vm.taps[id] = nil
        publish()
    }

    /// The guest let go of the device in a slot.
    func deviceEjected(_ slot: UInt8) {
        guard let vm, let instance = vm.instance, let backends = vm.backends,
            let id = instance.finishRemoval(slot, backends)
        else { return }
        // Before anybody is told: who reads the device's counters has finished then, and its backend is closed.
        publish()
        noteRemoved(id, "\(PCIAddress(device: slot))")
    }

    /// Devices that were to leave when the guest's life ended are gone in the next one.
    func finishRemovals(_ vm: CreatedVM, _ instance: MachineInstance) {
        guard let backends = vm.backends else { return }
        let places = Dictionary(
            backends.plan.devices.map { ($0.id, "\($0.address)") }, uniquingKeysWith: { first, _ in first })
        for id in instance.finishRemovals(backends) { noteRemoved(id, places[id] ?? "") }
    }

    private func noteRemoved(_ id: String, _ bdf: String) {
        logger.info("a device is gone", metadata: ["id": "\(id)", "bdf": "\(bdf)"])
        emit(.deviceRemoved, ["id": id, "bdf": bdf])
    }

    // MARK: Changing

    /// Changes a disk's size; the guest is told.
    func resizeDisk(_ id: String, to size: UInt64) throws {
        let instance = try running()
        do {
            guard try instance.resizeDisk(id, to: size) else {
                throw VMError(.notFound, ["There is no disk \(id)"])
            }
        } catch let error as DiskError {
            let remedy = error.remedy.map { "; \($0)" } ?? ""
            throw VMError(.invalid, ["$.desired_size: the disk \(id), \(error.path), \(error.problem)\(remedy)"])
        }
        logger.info("a disk has another size", metadata: ["id": "\(id)", "bytes": "\(size)"])
        // A file is longer or shorter at once, and what refuses that is found on the way: a change that has begun is one
        // that is made.
        emit(.resizing)
        emit(.resized)
    }
}

extension VMError {
    /// The same with another place at the start of its lines: the client's own.
    fileprivate func replacing(_ prefix: String, by other: String) -> VMError {
        VMError(kind, chain.map { $0.hasPrefix(prefix) ? other + $0.dropFirst(prefix.count) : $0 })
    }
}
