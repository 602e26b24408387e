import Boot
import Host
import KVM
import Memory
import Synchronization

/// The VM of KVM in the making, beside what else is built.
///
/// KVM gives each VM a thread of the kernel and has it join the control groups of this process, for which the host's
/// kernel waits until all its processors have passed a quiet state: ten milliseconds and more, and next to no processor
/// time. So a thread asks for the VM, and has it take the memory, while the payload is loaded, which needs neither.
struct VMCreation: ~Copyable {
    private let outcome: Outcome
    /// Nil where no thread could be had, and the VM was made at once.
    private let thread: Thread?

    private typealias Made = (machine: VMHandle, registration: MemoryRegistration)

    private final class Outcome: Sendable {
        let made = Mutex<Result<Made, KVMError>>(.failure(.request("create a VM", .interrupted)))
    }

    /// Begins to make a VM with the guest's memory.
    init(_ system: KVMFile, with memory: GuestMemory) {
        let outcome = Outcome()
        self.outcome = outcome
        let create: @Sendable () -> Void = {
            let result: Result<Made, KVMError>
            do throws(KVMError) {
                let machine = try system.kvm.createVM()
                try Self.prepare(machine, system.kvm)
                result = .success((machine, MemoryRegistration(of: memory, in: machine)))
            } catch {
                result = .failure(error)
            }
            outcome.made.withLock { $0 = result }
        }
        thread = try? Thread("vm", create)
        if thread == nil { create() }
    }

    /// Waits for the VM, whose memory may still be on its way.
    ///
    /// - Throws: what KVM said instead of making it.
    consuming func finish() throws(KVMError) -> (machine: VMHandle, registration: MemoryRegistration) {
        thread?.join()
        return try outcome.made.withLock { $0 }.get()
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
