import Host
import KVM
import Memory
import Snapshot
import Spec
import Virtio
import VirtioNet

/// Snapshots of the VM, and the VM from one, on the control thread.
extension VMM {
    // MARK: Saving

    /// Writes all of the VM, which stands still, into a new directory; of its memory, for a diff, what was written since
    /// the last snapshot that one may build upon.
    ///
    /// - Throws: when the VM runs or a device is on its way out, and whatever keeps the directory from being written: there
    ///   is none then, and the VM is as it was.
    func snapshot(_ request: SnapshotRequest) throws {
        let instance = try running()
        guard let vm, let backends = vm.backends, vm.isPaused else {
            throw VMError(.failed, ["VM is not paused: pause it first"])
        }
        try instance.refuseRemovals("resume the VM and ")
        let parent = request.kind == .diff ? try diffParent(instance) : nil
        emit(.snapshotting)
        try finishMemory()
        let state = try instance.saveState(backends.plan, adopted: Set(vm.taps.keys))
        var contents = SnapshotContents(
            writer: options.writer, config: Array(vm.config.json.text().utf8), state: try state.encoded(),
            needs: instance.needs)
        contents.parent = parent?.place
        contents.disks = backends.plan.devices.compactMap { device in
            guard case .block(let options, _) = device.kind else { return nil }
            return SnapshotDisk(id: device.id, path: options.path)
        }
        if let copying = request.disks {
            contents.imageMode = copying == .reflink ? .reflink : .copy
            for disk in contents.disks { contents.images[disk.id] = disk.path }
            contents.isCancelled = { [controller] in controller.isEnding }
        }
        let written = try parent.map { try instance.pagesWrittenSinceSnapshot($0.chain) }
        let writer = try SnapshotWriter(request.path, replacesEmptyDirectory: true)
        try writer.write(contents, memory: LiveMemory(instance.memory.snapshotRegions, dirty: written))
        try checkMemory()
        let manifest = try writer.commit()
        logger.info(
            "the snapshot is complete",
            metadata: ["path": "\(request.path)", "id": "\(manifest.id)", "bytes": "\(manifest.memory.dataBytes)"])
        if request.kind != nil {
            do throws(KVMError) {
                try instance.noteWrites(since: .init(id: manifest.id, directory: request.path))
            } catch {
                logger.warning("no diff to the snapshot \(request.path) can be taken: \(error)")
            }
        }
        emit(.snapshotted)
    }

    /// The snapshot that a diff builds upon, with all that it builds upon itself.
    ///
    /// - Throws: when there is none, or it is no longer where it was.
    private func diffParent(
        _ instance: MachineInstance
    ) throws -> (place: SnapshotContents.Parent, chain: SnapshotChain) {
        guard let parent = instance.writtenPages.parent else {
            throw VMError(
                .failed,
                [
                    "$.type: a Diff builds upon a snapshot that was taken with a type since the guest's last boot, or that it "
                        + "was restored from, and there is none; take one with the type Full first"
                ])
        }
        let chain: SnapshotChain
        do throws(SnapshotError) {
            // All that it builds upon has to be there: nobody could restore the diff otherwise.
            chain = try SnapshotChain(opening: parent.directory)
        } catch {
            throw VMError(
                .failed,
                [
                    "$.type: the Diff cannot build upon \(parent.directory); bring that one back or take one with the type "
                        + "Full", error.description,
                ])
        }
        let found = chain.manifest.id
        guard found == parent.id else {
            throw VMError(
                .failed,
                [
                    "$.type: \(parent.directory) is the snapshot \(found) now, and the Diff builds upon \(parent.id), which was "
                        + "there; bring that one back or take one with the type Full"
                ])
        }
        return (parent, chain)
    }

    // MARK: Restoring

    /// Makes a VM of a snapshot; it stands still then, unless it is to go on.
    ///
    /// - Throws: with the file and the field that is wrong, or what the host lacks; nothing of the VM is left then.
    func restore(_ request: RestoreRequest, _ descriptors: ReceivedDescriptors) throws {
        guard vm == nil else { throw VMError(.failed, ["VM is already created"]) }
        emit(.restoring)
        // Whatever is wrong with KVM is said when the VM is needed.
        let creation = (try? KVMFile()).map(VMCreation.init)
        let chain = try SnapshotChain(opening: request.path)
        try checkNeeds(chain.manifest.needs, chain.top.path)
        try Self.refuseTwoTaps(request)
        var document = try chain.top.state()
        try Self.readAhead(&document)
        var parsed = try Self.configuration(chain.top, request.overrides)
        for warning in parsed.warnings { logger.warning("\(chain.top.path): \(warning)") }
        var config = parsed.config
        config.memory.prefault = request.prefault
        parsed = ParsedConfig(config: config, warnings: [])
        let files = SnapshotFiles(chain)
        try files.refuse(config)
        let images = try putImages(request, chain, config)
        do {
            // What the guest has written before is in the consoles' files.
            try create(parsed, goesOn: true)
            if request.memoryMode == .onDemand { vm?.snapshot = files }
            try restoreLife(request, (chain, document, creation), descriptors)
            emit(.restored)
            if request.resume { try resume() }
            images.keep()
        } catch {
            delete()
            throw error
        }
    }

    /// Reads what takes longest while KVM makes the VM.
    private static func readAhead(_ document: inout StateDocument) throws(SnapshotError) {
        for name in document.devices {
            switch try document.kind(of: name).kind {
            case SavedMachine.kind: try document.readAhead(SavedMachine.self, of: name)
            case SavedInterruptChips.kind: try document.readAhead(SavedInterruptChips.self, of: name)
            case SavedVCPU.kind: try document.readAhead(SavedVCPU.self, of: name)
            case SavedTransport.kind: try document.readAhead(SavedTransport.self, of: name)
            default: break
            }
        }
    }

    private func restoreLife(
        _ request: RestoreRequest, _ snapshot: (chain: SnapshotChain, document: StateDocument, creation: VMCreation?),
        _ descriptors: ReceivedDescriptors
    ) throws {
        let (chain, document, creation) = snapshot
        guard let vm else { throw VMError.notCreated }
        startLimit()
        let saved = try document.read(SavedMachine.self, of: StateName.machine)
        let plan = try vm.plan.placed(as: saved)
        vm.taps = try adopt(descriptors, request.net, plan)
        try refuseMissing(saved, vm.taps)
        let backends: Backends
        do {
            backends = try Backends(
                plan, selfTest: options.selfTest, lines: vm.lines, taps: vm.taps, isRestored: true)
        } catch { throw PlannedFiles.completed(error, plan) }
        if let problem = backends.payloadProblem {
            logger.warning("the restored VM cannot reboot: \(problem)")
        }
        vm.backends = backends
        let source = MachineSource(document: document, creation: creation) { [controller] memory in
            switch request.memoryMode {
            case .copy: try chain.copyMemory(into: memory.snapshotRegions) { controller.isEnding }
            case .onDemand: vm.paging = try self.page(chain, into: memory, plan.backing, request)
            }
        }
        do {
            try startLife(from: source)
            if let failure = vm.paging?.failure { throw VMError(failure) }
            noteOrigin(request, chain)
        } catch let error as SnapshotError {
            // The state's errors name the field; the file is known here.
            throw error.file == nil
                ? SnapshotError(error.kind, file: "\(chain.top.path)/state.json", field: error.field, error.words)
                : error
        }
    }

    /// The next diff may build upon what the guest was restored from.
    private func noteOrigin(_ request: RestoreRequest, _ chain: SnapshotChain) {
        guard !request.isPassing, let vm, let instance = vm.instance else { return }
        let isPrivate = !vm.config.memory.shared
        let memory: RestoredMemory =
            !isPrivate ? .shared : request.memoryMode == .onDemand ? .mapped : .copied
        // The request's path may be relative or a link, and this process's directory may change.
        let directory = (try? Directory.resolved(request.path)) ?? request.path
        instance.writtenPages.begin(restored: memory, from: .init(id: chain.manifest.id, directory: directory))
    }

    /// Refuses to give a guest other taps than those that its interfaces had from outside.
    private func refuseMissing(_ saved: SavedMachine, _ taps: [String: AdoptedTaps]) throws(VMError) {
        let missing = saved.devices.filter { $0.isAdopted == true && taps[$0.id] == nil }.map(\.id)
        guard !missing.isEmpty else { return }
        throw VMError(
            .invalid,
            [
                "$.net_fds: the queues of \(missing.joined(separator: ", ")) came as descriptors when the VM was made; send "
                    + "new ones with this request"
            ])
    }

    private static func configuration(
        _ snapshot: SnapshotDirectory, _ overrides: RestoreOverrides?
    ) throws(VMError) -> ParsedConfig {
        do throws(SpecError) {
            guard let overrides else { return try VMConfig.parse(snapshot.config, mode: .lenient) }
            return try VMConfig.parse(snapshot.config, overrides)
        } catch {
            if error.issues.first?.path.contains("overrides") == true { throw VMError(error) }
            if overrides != nil, (try? VMConfig.parse(snapshot.config, mode: .lenient)) != nil {
                throw VMError(error).during("$.overrides: the VM's configuration cannot be so")
            }
            throw VMError(error).during("\(snapshot.path)/config.json cannot be used")
        }
    }

    /// Refuses a snapshot of a guest that uses what this host does not have.
    private func checkNeeds(_ needs: SnapshotNeeds, _ path: String) throws {
        let missing = try Self.missing(needs)
        guard !missing.isEmpty else { return }
        throw VMError(
            .failed,
            [
                "the snapshot \(path) needs what this host does not have: \(missing.joined(separator: "; ")); restore it on "
                    + "a host like the one that it was taken on"
            ])
    }

    /// What of a guest's needs this host does not have, in words.
    static func missing(_ needs: SnapshotNeeds) throws(KVMError) -> [String] {
        let system = try KVMSystem()
        let supported = try system.supportedCPUID()
        return needs.missing {
            CPUIDNeeds.value($0, $1, $2, supported)
        } hasCapability: { name in
            let known = KVMCapability.required + KVMCapability.optional + [.specialRegisters2, .xsave]
            return known.contains { $0.name == name && system.value(of: $0) != 0 }
        }
    }

    /// Refuses a request that names more descriptors than came, or fewer.
    static func checkCount(
        _ descriptors: ReceivedDescriptors, _ cards: [RestoreRequest.NetDescriptors]
    ) throws(VMError) {
        let wanted = cards.reduce(0) { $0 + $1.count }
        guard wanted == descriptors.count else {
            throw VMError(
                .invalid,
                [
                    "$.net_fds: \(wanted == 1 ? "1 descriptor is" : "\(wanted) descriptors are") named and "
                        + "\(descriptors.count) came with the request"
                ])
        }
    }

    /// Refuses a request that gives an interface's queues as descriptors and names a tap for it as well.
    private static func refuseTwoTaps(_ request: RestoreRequest) throws(VMError) {
        for (index, card) in request.net.enumerated() {
            guard let place = request.overrides?.placeOfTap(ofInterface: card.id) else { continue }
            throw VMError(
                .invalid,
                [
                    "\(place): the queues of \"\(card.id)\" come as descriptors ($.net_fds[\(index)]), whose tap is as it is; "
                        + "leave one of the two out"
                ])
        }
    }

    /// Takes over the queues that came for the VM's network interfaces.
    func adopt(
        _ descriptors: ReceivedDescriptors, _ cards: [RestoreRequest.NetDescriptors], _ plan: MachinePlan
    ) throws -> [String: AdoptedTaps] {
        try Self.checkCount(descriptors, cards)
        var taps: [String: AdoptedTaps] = [:]
        for (index, card) in cards.enumerated() {
            let place = "$.net_fds[\(index)]"
            let device = plan.devices.first { $0.id == card.id }
            guard case .net(let settings)? = device?.kind, taps[card.id] == nil else {
                throw VMError(
                    .invalid, ["\(place).id: \"\(card.id)\" is no network interface of the snapshot, or named twice"])
            }
            let own = ReceivedDescriptors()
            for _ in 0..<card.count {
                if let descriptor = descriptors.takeFirst() { own.append(owning: [descriptor.release()]) }
            }
            do throws(NetError) {
                let adopted = try AdoptedTaps(own, at: "\(place).num_fds")
                try adopted.check(pairs: settings.pairs, at: "\(place).num_fds")
                taps[card.id] = adopted
            } catch {
                throw VMError(.invalid, ["\(error)"])
            }
        }
        return taps
    }
}

extension GuestMemory {
    /// The regions as snapshots have them.
    var snapshotRegions: [MemoryRegion] {
        hostRanges.map { MemoryRegion(guestAddress: $0.address, host: $0.host, owner: self) }
    }
}

extension MachineInstance {
    /// What a host needs to go on with this guest.
    var needs: SnapshotNeeds {
        let sizes = try? VCPUStateSizes(machine)
        var names = [KVMCapability.xsave.name, KVMCapability.xcrs.name]
        if sizes?.hasSpecialRegisters2 == true { names.append(KVMCapability.specialRegisters2.name) }
        if dirtyLog.hasRings { names.append(KVMCapability.dirtyRing.name) }
        return SnapshotNeeds(cpuid: CPUIDNeeds.of(runners.first?.handle.cpuid ?? []), kvm: names)
    }
}

extension VMError {
    /// An error of a snapshot's directory.
    init(_ error: SnapshotError) {
        let kind: Kind =
            switch error.kind {
            case .exists: .conflict
            // Whatever the host does about it, that path leads nowhere.
            case .host(.linkLoop): .invalid
            case .host, .noSpace, .cancelled: .failed
            default: .invalid
            }
        self.init(kind, [error.description])
    }
}
