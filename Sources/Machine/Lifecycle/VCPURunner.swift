import Host
import KVM
import Synchronization

/// Why a vCPU stopped by itself.
enum VCPUFailure: Equatable, Sendable {
    /// With the instruction pointer, where KVM still tells it.
    case tripleFault(UInt64?)
    case failedEntry(UInt64)
    case internalError(VMExit.InternalError)
    /// KVM asks us for bytes at this address, which are RAM: it cannot have the page.
    case lostRAM(UInt64)
    case unexpected(String)

    /// One line for the user.
    func message(vcpu: Int) -> String {
        switch self {
        case .tripleFault(let address):
            "vCPU \(vcpu) took a triple fault" + (address.map { " at RIP 0x\(String($0, radix: 16))" } ?? "")
        case .failedEntry(let reason):
            "KVM cannot enter the guest on vCPU \(vcpu): hardware entry failure 0x\(String(reason, radix: 16))"
        case .internalError(let error) where error.suberror == 1:
            "KVM cannot emulate an instruction of vCPU \(vcpu)"
                + (error.instruction.isEmpty
                    ? ""
                    : " (bytes "
                        + error.instruction.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
                        .joined(separator: " ") + ")")
        case .internalError(let error): "KVM gave up on vCPU \(vcpu): internal error \(error.suberror)"
        case .lostRAM(let address): "vCPU \(vcpu): KVM cannot reach the guest's RAM at 0x\(String(address, radix: 16))"
        case .unexpected(let what): "vCPU \(vcpu): \(what)"
        }
    }
}

/// A vCPU's thread: runs the guest, carries its port and memory accesses to the buses, and does nothing else.
final class VCPURunner: Sendable {
    let index: Int
    let handle: VCPUHandle
    private let ports: PortBus
    private let memory: MemoryBus
    private let log: DirtyLog
    /// Shared by all vCPUs: they leave the guest when it is set.
    private let stopping: StopFlag
    private let failed: @Sendable (Int, VCPUFailure) -> Void
    private let ended = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)
    private let errands: VCPUErrands
    /// Why it left the guest so far.
    let exits = VCPUExits()

    /// - Parameter log: what notes the pages that it writes.
    init(
        _ index: Int, _ handle: VCPUHandle, buses: (PortBus, MemoryBus), log: DirtyLog, stopping: StopFlag,
        failed: @escaping @Sendable (Int, VCPUFailure) -> Void
    ) throws(HostError) {
        errands = try VCPUErrands()
        (self.index, self.handle) = (index, handle)
        (ports, memory) = buses
        self.log = log
        self.stopping = stopping
        self.failed = failed
    }

    /// Starts the thread `vcpuN`, on the host processors that the plan binds it to if there are any.
    func start(_ plan: PlannedProcessors) throws {
        let started = try Thread("vcpu\(index)") { [self] in
            run()
            ended.store(true, ordering: .releasing)
        }
        thread.withLock { $0 = started }
        guard let processors = plan.affinity[index] else { return }
        do throws(HostError) { try started.pin(to: processors) } catch {
            throw FieldErrors.affinity(index, plan, error)
        }
    }

    /// Makes the thread leave the guest and look at what is asked of it; `stopping` or an errand is set before.
    func kick() {
        handle.setImmediateExit(true)
        thread.withLock { $0 }?.kick()
        errands.wake()
    }

    /// Asks the thread to stand still; `isParked` tells when it does. Its guest's last access is complete then.
    func askToPark() {
        errands.add(.park)
        kick()
    }

    /// Whether the thread stands still, so that the vCPU's state may be read and written.
    var isParked: Bool { errands.isParked || hasEnded }

    /// Lets a thread that stands still go on.
    func unpark() { errands.unpark() }

    /// Has the thread raise a non-maskable interrupt in its vCPU, at once or when it goes on.
    func askForNMI() {
        errands.add(.nmi)
        kick()
    }

    /// Asks the thread to leave the guest alone for so long.
    func askToRest(microseconds: Int) {
        errands.rest.store(microseconds, ordering: .relaxed)
        errands.add(.rest)
        kick()
    }

    /// The processor time of the thread in ns; nil when it does not run.
    var processorTime: UInt64? { thread.withLock { $0 }?.processorTime }

    /// Whether the thread is through.
    var hasEnded: Bool { ended.load(ordering: .acquiring) || thread.withLock { $0 == nil } }

    /// Waits for the thread, which has ended or is about to.
    func join() { thread.withLock { $0 }?.join() }

    private func run() {
        while !stopping.isSet {
            if errands.isPending {
                guard attend() else { return }
            } else {
                let last = step()
                if last == .failed { return }
                // What was asked may be taken back before it was looked at, and would keep the guest out for ever. Whoever
                // asks for something else does so before setting it again.
                if last == .interrupted { handle.setImmediateExit(false) }
            }
        }
    }

    private enum Step { case handled, interrupted, failed }

    /// Runs the guest up to its next exit and carries that out.
    @inline(__always)
    private func step() -> Step {
        do throws(KVMError) {
            switch try handle.runOnce() {
            // The guest's memory may be lost, and with it what the guest says.
            case .port where stopping.isSet, .memory where stopping.isSet: return .interrupted
            case .port(let access):
                exits.count(.port)
                port(access)
            case .memory(let access):
                exits.count(.memory)
                if access.isWrite {
                    guard memory.write(access.address, size: Int(access.size), value: access.value) else {
                        return fail(.lostRAM(access.address))
                    }
                } else {
                    guard let value = memory.read(access.address, size: Int(access.size)) else {
                        return fail(.lostRAM(access.address))
                    }
                    handle.answerMemoryRead(value)
                }
            case .interrupted:
                exits.count(.interrupted)
                return .interrupted
            case .dirtyRingFull:
                exits.count(.dirtyRingFull)
                try log.makeRoom()
            case .shutdown: return fail(.tripleFault(try? handle.registers().rip), .shutdown)
            case .failedEntry(let reason): return fail(.failedEntry(reason), .failedEntry)
            case .internalError(let error): return fail(.internalError(error), .internalError)
            case .halt: return fail(.unexpected("halted outside the interrupt chip"), .halt)
            case .systemEvent(let type): return fail(.unexpected("system event \(type)"), .systemEvent)
            case .other(let reason): return fail(.unexpected("unknown exit \(reason)"), .other)
            }
            return .handled
        } catch {
            return fail(.unexpected("\(error)"))
        }
    }

    private func fail(_ failure: VCPUFailure, _ exit: VCPUExits.Reason? = nil) -> Step {
        if let exit { exits.count(exit) }
        failed(index, failure)
        return .failed
    }

    /// Does what is asked of the thread; false when the vCPU cannot go on.
    private func attend() -> Bool {
        // Cleared before the errands are looked at: one that comes now sets it again.
        handle.setImmediateExit(false)
        if errands.take(.nmi) {
            do throws(KVMError) { try handle.injectNMI() } catch {
                return fail(.unexpected("\(error)")) != .failed
            }
        }
        if errands.take(.rest), !errands.has(.park) { rest() }
        guard errands.has(.park) else { return true }
        // KVM finishes the instruction whose access the last exit was: it enters, and leaves before the guest goes on
        // (api.rst 5, immediate_exit). An instruction has several accesses at times, and each is carried out.
        var last = Step.handled
        while last == .handled {
            handle.setImmediateExit(true)
            last = step()
        }
        guard last == .interrupted else { return false }
        errands.park(while: { !stopping.isSet })
        handle.setImmediateExit(false)
        return true
    }

    /// Sleeps in small parts, so that whoever wants the thread to stand still or to end does not wait.
    private func rest() {
        var left = errands.rest.load(ordering: .relaxed)
        while left > 0, !stopping.isSet, !errands.has(.park) {
            HostClock.sleep(microseconds: min(left, 2000))
            left -= 2000
        }
    }

    @inline(__always)
    private func port(_ access: VMExit.PortAccess) {
        let size = Int(access.size)
        var element: UInt32 = 0
        while element < access.count {
            if access.isWrite {
                ports.write(access.port, size: size, value: handle.portValue(access, element: element))
            } else {
                handle.answer(access, element: element, ports.read(access.port, size: size))
            }
            element += 1
        }
    }
}

/// A wish that all vCPU threads look at before they enter the guest.
final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    /// Ordering: the kick that follows the store makes each vCPU look again.
    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}
