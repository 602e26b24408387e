import Host
import KVM
import Synchronization

/// Why a vCPU stopped by itself.
enum VCPUFailure: Equatable, Sendable {
    case tripleFault
    case failedEntry(UInt64)
    case internalError(VMExit.InternalError)
    case unexpected(String)

    /// One line for the user.
    func message(vcpu: Int) -> String {
        switch self {
        case .tripleFault: "vCPU \(vcpu) took a triple fault"
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
    /// Shared by all vCPUs: they leave the guest when it is set.
    private let stopping: StopFlag
    private let failed: @Sendable (Int, VCPUFailure) -> Void
    private let ended = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)

    init(
        _ index: Int, _ handle: VCPUHandle, buses: (PortBus, MemoryBus), stopping: StopFlag,
        failed: @escaping @Sendable (Int, VCPUFailure) -> Void
    ) {
        (self.index, self.handle) = (index, handle)
        (ports, memory) = buses
        self.stopping = stopping
        self.failed = failed
    }

    /// Starts the thread `vcpuN`, on the given processors if there are any.
    func start(on processors: [Int]?) throws {
        let started = try Thread("vcpu\(index)") { [self] in
            run()
            ended.store(true, ordering: .releasing)
        }
        thread.withLock { $0 = started }
        guard let processors else { return }
        do throws(HostError) { try started.pin(to: processors) } catch {
            throw FieldErrors.affinity(index, processors, error)
        }
    }

    /// Makes the thread leave the guest; `stopping` is set before.
    func kick() {
        handle.setImmediateExit(true)
        thread.withLock { $0 }?.kick()
    }

    /// Whether the thread is through.
    var hasEnded: Bool { ended.load(ordering: .acquiring) || thread.withLock { $0 == nil } }

    /// Waits for the thread, which has ended or is about to.
    func join() { thread.withLock { $0 }?.join() }

    private func run() {
        while !stopping.isSet {
            do throws(KVMError) {
                switch try handle.runOnce() {
                case .port(let access): port(access)
                case .memory(let access):
                    if access.isWrite {
                        memory.write(access.address, size: Int(access.size), value: access.value)
                    } else {
                        handle.answerMemoryRead(memory.read(access.address, size: Int(access.size)))
                    }
                case .interrupted: continue
                case .shutdown: return failed(index, .tripleFault)
                case .failedEntry(let reason): return failed(index, .failedEntry(reason))
                case .internalError(let error): return failed(index, .internalError(error))
                case .halt: return failed(index, .unexpected("halted outside the interrupt chip"))
                case .systemEvent(let type): return failed(index, .unexpected("system event \(type)"))
                case .other(let reason): return failed(index, .unexpected("unknown exit \(reason)"))
                }
            } catch {
                return failed(index, .unexpected("\(error)"))
            }
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
