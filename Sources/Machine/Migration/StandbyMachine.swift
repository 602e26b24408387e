import Boot
import Host
import KVM
import Migration
import Snapshot
import Spec

/// What a machine on its way is while it still runs. Some of it stays as it is until it stops: where everything lies, and
/// what the vCPUs were told that they can do. By that the destination makes the machine before its guest has to wait for
/// it. The rest is there since what codes a state takes several times as long the first time as ever after.
struct MachineOutline {
    /// Where everything lies.
    let machine: SavedMachine
    /// The CPUID leaves of each vCPU.
    let leaves: [[CPUIDEntry]]

    /// Reads one, and all that is in it.
    ///
    /// - Parameter processors: how many vCPUs the machine has by its configuration.
    init(_ bytes: [UInt8], processors: Int) throws(SnapshotError) {
        let document = try StateDocument(moved: bytes, "the outline that came")
        machine = try document.read(of: StateName.machine)
        var leaves: [[CPUIDEntry]] = []
        for index in 0..<processors {
            let name = StateName.vcpu(index)
            leaves.append(try document.read(SavedVCPU.self, of: name).cpuid)
            try StateFields(name).check(
                "cpuid", leaves[index].count <= VCPUHandle.mostLeaves,
                "\(leaves[index].count) CPUID leaves, where there are \(VCPUHandle.mostLeaves) at most")
        }
        self.leaves = leaves
        for name in document.unread where !name.hasPrefix("__vcpu") {
            let kind = try document.kind(of: name).kind
            for type in MovedState.types where type.kind == kind { try Self.read(type, name, document) }
        }
    }

    private static func read<State: SavedState>(
        _ type: State.Type, _ name: String, _ document: StateDocument
    ) throws(SnapshotError) {
        _ = try document.read(type, of: name)
    }
}

/// A machine that was made from its outline, and waits for its state. Nobody sees it, and what its source may still use it
/// has let go of: locks, taps, the paths of sockets.
///
/// It is made to save the guest time, and for nothing else: where anything is in the way of it there is none, and the machine
/// is made when its state is here, with words for whatever is wrong then.
final class StandbyMachine {
    let vm: CreatedVM
    let backends: Backends
    let instance: MachineInstance
    let outline: MachineOutline

    init(_ vm: CreatedVM, _ backends: Backends, _ instance: MachineInstance, _ outline: MachineOutline) {
        (self.vm, self.backends, self.instance, self.outline) = (vm, backends, instance, outline)
    }

    /// It is not needed any more. Its memory may be another machine's.
    func end() {
        _ = instance.endThreads()
        vm.lines.close()
    }
}

extension VMM {
    /// Makes a machine that is on its way from its outline, where that can be done without being seen.
    func standBy(_ bytes: [UInt8], _ parsed: ParsedConfig, _ source: MachineSource) {
        guard vm == nil, standby == nil else { return }
        do {
            let planned = try ArrivingMachine.plan(parsed)
            let outline = try MachineOutline(bytes, processors: planned.processors.boot)
            guard planned.isMadeUnseen else {
                throw VMError(.failed, ["its consoles would be noticed"])
            }
            let created = try make(parsed, goesOn: true, isStandby: true)
            do {
                let plan = try created.plan.placed(as: outline.machine)
                let backends = try Backends(
                    plan, selfTest: options.selfTest, lines: created.lines, isRestored: true, isStandby: true)
                created.backends = backends
                var source = source
                source.leaves = outline.leaves
                let instance = try makeInstance(backends, from: source)
                try instance.startPaused()
                standby = StandbyMachine(created, backends, instance, outline)
                logger.info("the machine stands by")
            } catch {
                created.lines.close()
                throw error
            }
        } catch {
            logger.info("the machine is not made ahead: \(MigrationError(sorting: error))")
        }
    }

    /// Makes the machine that stands by the VM, as its state says.
    ///
    /// - Parameter prepare: is called before its memory may be needed.
    /// - Returns: whether there was one, and nothing was in the way of it; else nothing is left of it.
    func takeStandby(_ document: StateDocument, _ prepare: (CreatedVM) -> Void) -> Bool {
        guard let standby = standby.take() else { return false }
        do {
            guard try document.read(SavedMachine.self, of: StateName.machine) == standby.outline.machine else {
                throw VMError(.failed, ["the machine is another one than was said"])
            }
            guard vm == nil else { throw VMError(.failed, ["VM is already created"]) }
            try standby.backends.takeBack()
            prepare(standby.vm)
            try standby.instance.take(document)
        } catch {
            logger.info("the machine that was made ahead is of no use: \(MigrationError(sorting: error))")
            standby.end()
            return false
        }
        if let problem = standby.backends.payloadProblem {
            logger.warning("the VM that came cannot reboot: \(problem)")
        }
        startLimit()
        vm = standby.vm
        begin(standby.instance, isRestored: true)
        return true
    }

    /// Drops the machine that stands by, if there is one.
    func dropStandby() { standby.take()?.end() }
}

extension MachinePlan {
    /// Whether nobody notices that the machine is there: no terminal has another state, and no file is new.
    fileprivate var isMadeUnseen: Bool {
        var modes = [serial, debugConsole?.mode].compactMap(\.self)
        for device in devices {
            if case .console(let mode) = device.kind { modes.append(mode) }
        }
        return modes.allSatisfy { mode in
            switch mode {
            case .tty: (try? FileDescriptor.duplicate(number: 0))?.isTerminal != true
            case .file(let path): FileIdentity(following: path) != nil
            case .pty, .socket, .null: true
            }
        }
    }
}
