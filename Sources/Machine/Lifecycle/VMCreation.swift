import Boot
import Host
import KVM
import Memory
import Synchronization

/// The VM of KVM in the making, beside what else is built.
///
/// KVM gives each VM a thread of the kernel and has it join the control groups of this process, for which the host's
/// kernel waits until all its processors have passed a quiet state: ten milliseconds and more, and next to no processor
/// time. So a thread asks for the VM, and has it take the memory, while the payload is loaded or a snapshot is looked at,
/// which need neither.
final class VMCreation: Sendable {
    /// The open `/dev/kvm`.
    let system: KVMFile
    private let progress: Progress
    /// Nil where no thread could be had, and the VM was made at once.
    private let thread: Thread?

    private final class Progress: Sendable {
        private struct State {
            var machine: Result<VMHandle, KVMError>?
            var memory: GuestMemory?
            var registration: MemoryRegistration?

            /// Has the VM take the memory as soon as there are both.
            mutating func register() {
                guard registration == nil, case .success(let machine)? = machine, let memory else { return }
                registration = MemoryRegistration(of: memory, in: machine)
            }
        }

        private let state = Mutex(State())

        func made(_ machine: Result<VMHandle, KVMError>) {
            state.withLock { state in
                state.machine = machine
                state.register()
            }
        }

        func take(_ memory: GuestMemory) {
            state.withLock { state in
                state.memory = memory
                state.register()
            }
        }

        func end() throws(KVMError) -> (machine: VMHandle, registration: MemoryRegistration) {
            let (machine, registration) = state.withLock { ($0.machine, $0.registration) }
            guard let machine else { throw .request("create a VM", .interrupted) }
            let handle = try machine.get()
            guard let registration else { throw .request("create a VM without memory", .invalid) }
            return (handle, registration)
        }
    }

    /// Begins to make a VM.
    init(_ system: KVMFile) {
        self.system = system
        let progress = Progress()
        self.progress = progress
        let create: @Sendable () -> Void = {
            let result: Result<VMHandle, KVMError>
            do throws(KVMError) {
                let machine = try system.kvm.createVM()
                try Self.prepare(machine, system.kvm)
                result = .success(machine)
            } catch {
                result = .failure(error)
            }
            progress.made(result)
        }
        thread = try? Thread("vm", create)
        if thread == nil { create() }
    }

    /// Whether a machine was made with it, or was to be: it makes no other one then. Ordering: nothing is ordered by it.
    var isUsed: Bool { used.load(ordering: .relaxed) }
    private let used = Atomic<Bool>(false)

    /// Gives the VM the guest's memory.
    func take(_ memory: GuestMemory) { progress.take(memory) }

    /// Waits for the VM, whose memory may still be on its way; `take` comes before.
    ///
    /// - Throws: what KVM said instead of making it.
    func finish() throws(KVMError) -> (machine: VMHandle, registration: MemoryRegistration) {
        thread?.join()
        used.store(true, ordering: .relaxed)
        return try progress.end()
    }

    /// Checks what no guest runs without.
    static func check(_ system: borrowing KVMSystem) throws(KVMError) {
        for capability in KVMCapability.required where system.value(of: capability) == 0 {
            throw .missing(capability: capability.name)
        }
    }

    private static func prepare(_ machine: VMHandle, _ system: borrowing KVMSystem) throws(KVMError) {
        // Only Intel hosts without unrestricted guests use these pages; setting them is harmless elsewhere.
        try machine.setIdentityMap(at: MachineLayout.kvmIdentityMap)
        try machine.setTSS(at: MachineLayout.kvmTSS)
        try machine.createInterruptChip()
        if system.value(of: .x2apicAPI) != 0 {
            // 32-bit destination ids in interrupt routes, and none of them a broadcast by accident (api.rst 7.7).
            try machine.enable(.x2apicAPI, 3)
        }
    }
}

/// The open `/dev/kvm`, shared by the threads that build a machine.
final class KVMFile: Sendable {
    let kvm: KVMSystem

    init() throws(KVMError) { kvm = try KVMSystem() }
}
