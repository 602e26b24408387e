import Host
import Snapshot
import Spec

/// VMs made of one that runs, each in a process of its own, which share its memory until they write to it.
///
/// The memory is written once, into files that lie in memory themselves; all of them map those privately, the VM that is
/// forked too, and the files' names are gone before anyone goes on.
extension VMM {
    /// How long all children together may take, in ns: each of them is ready in milliseconds.
    private static var patience: UInt64 { 60_000_000_000 }

    /// Makes the children, all of them or none, and leaves this VM standing unless it is to go on.
    ///
    /// - Throws: what keeps one of them from being made; this VM is as it was then.
    func fork(_ request: ForkRequest) throws -> VMReply {
        _ = try running()
        guard let vm, let arguments = options.childArguments else { throw VMError.notBooted }
        try checkForkable(vm)
        let configs = try configurations(of: request, vm)
        let wasRunning = !vm.isPaused
        if wasRunning { try pause() }
        do {
            let children = try makeChildren(request, configs, arguments)
            if request.resume { try resume() }
            return .forked(children)
        } catch {
            if wasRunning, vm.isPaused {
                do { try resume() } catch { logger.error("the VM that was to be forked cannot go on: \(error)") }
            }
            throw error
        }
    }

    private func checkForkable(_ vm: CreatedVM) throws(VMError) {
        let memory = vm.config.memory
        if memory.shared || memory.hugepages {
            let what = memory.shared ? "shared ($.memory.shared)" : "made of huge pages ($.memory.hugepages)"
            throw VMError(
                .failed,
                [
                    "the VM's memory is \(what), so children cannot have copies of it on write; take a snapshot and restore it "
                        + "with Copy"
                ])
        }
        if let card = vm.taps.keys.min() {
            throw VMError(
                .failed,
                ["the queues of \"\(card)\" came as descriptors, which children cannot have; take a snapshot"])
        }
    }

    /// What each child is: this VM with other resources of the host.
    private func configurations(of request: ForkRequest, _ vm: CreatedVM) throws(VMError) -> [VMConfig] {
        let own = Array(vm.config.json.text().utf8)
        var configs: [VMConfig] = []
        for (index, child) in request.children.enumerated() {
            do throws(SpecError) {
                let parsed =
                    if let overrides = child.overrides { try VMConfig.parse(own, overrides) } else {
                        try VMConfig.parse(own, mode: .lenient)
                    }
                configs.append(parsed.config)
            } catch {
                throw VMError(error).during("$.children[\(index)]")
            }
        }
        return configs
    }

    private func makeChildren(
        _ request: ForkRequest, _ configs: [VMConfig], _ arguments: (ForkRequest.Child) -> [String]
    ) throws -> [ForkedVM] {
        let base = request.directory ?? (Directory.exists("/dev/shm") ? "/dev/shm" : "/tmp")
        guard Directory.exists(base) else {
            throw VMError(
                .invalid,
                ["$.directory_url: there is no directory \(base); name one in memory, or leave it out for /dev/shm"])
        }
        ForkTemplate.removeStale(in: base)
        let path = "\(base)/\(ForkTemplate.prefix)\(ProcessIdentity.id)-\(Directory.newTag())"
        try snapshot(SnapshotRequest(path: path))
        let directory = try? Directory.open(path)
        defer {
            // The files live on in whoever has mapped them.
            try? Directory.removeWithFiles(path)
            withExtendedLifetime(directory) {}
        }
        _ = try? directory?.tryLock(path: path)
        var images = RestoredImages()
        for (child, config) in zip(request.children, configs) { try makeImages(child, config, &images) }
        var links: [ForkLink] = []
        var isDone = false
        defer {
            // Who is not needed ends before the answer comes, so that sockets and disks are free again.
            if !isDone {
                for link in links { try? link.send("stop") }
                let end = HostClock.monotonic + 5_000_000_000
                for link in links { while link.receive(by: end) != nil {} }
            }
        }
        for (index, child) in request.children.enumerated() {
            do {
                links.append(try start(child, path, arguments))
            } catch {
                throw VMError(.failed, ["$.children[\(index)]", "\(error)"])
            }
        }
        let deadline = HostClock.monotonic + Self.patience
        var children: [ForkedVM] = []
        for (index, link) in links.enumerated() {
            let answer = link.receive(by: deadline)
            guard let answer, answer.hasPrefix("ready "), let process = Int32(answer.dropFirst(6)) else {
                throw VMError(
                    .failed,
                    [
                        "$.children[\(index)]",
                        answer
                            ?? "the process ended, or took more than \(Self.patience / 1_000_000_000) s; its log may say why",
                    ])
            }
            children.append(ForkedVM(socket: request.children[index].socket, process: process))
        }
        shareMemory(path)
        isDone = true
        for link in links { try? link.send("go") }
        images.keep()
        return children
    }

    /// Makes a child's disks of this VM's, which stands still.
    private func makeImages(_ child: ForkRequest.Child, _ config: VMConfig, _ images: inout RestoredImages) throws {
        guard let copying = child.disks, let vm else { return }
        for disk in config.disks {
            guard let own = vm.config.disks.first(where: { $0.id == disk.id }) else { continue }
            try DiskImageFile.copy(
                own.path, of: disk.id ?? "", to: disk.path, copying == .reflink ? .reflink : .copy
            ) { [controller] in controller.isEnding }
            images.add(disk.path)
        }
    }

    private func start(
        _ child: ForkRequest.Child, _ path: String, _ arguments: (ForkRequest.Child) -> [String]
    ) throws -> ForkLink {
        let link = try UnixStream.withPair { own, other throws(HostError) in
            try Spawn.again(arguments(child), keeping: other.raw)
            return ForkLink(own)
        }
        let restore = JSONValue.members([
            ("source_url", .string("file://\(path)")), ("memory_restore_mode", .string("OnDemand")),
            // The memory was written just now, and its directory goes.
            ("prefetch", .bool(false)),
            ("overrides", child.overrides?.json),
        ])
        try link.send(restore.text())
        return link
    }

    /// Has this VM's memory be that of the files, too: so its own copy of what nobody has written since goes.
    private func shareMemory(_ path: String) {
        guard let instance = vm?.instance else { return }
        do {
            try SnapshotChain(opening: path).mapMemory(into: instance.memory.snapshotRegions)
        } catch {
            logger.warning("the VM keeps a copy of its memory of its own: \(error)")
        }
        instance.writtenPages.compareAll()
    }
}

/// A VM that was made by a fork.
package struct ForkedVM: Equatable, Sendable {
    /// Where it serves the API.
    package let socket: String
    /// The number of its process.
    package let process: Int32
}
