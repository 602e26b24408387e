import Host
import KVM
import Memory
import Synchronization

/// The guest's RAM on its way into the VM's memory slots, beside what else is built.
///
/// For each slot KVM waits until no vCPU can look at the table of before. That takes milliseconds on some hosts, and next
/// to no processor time. So a thread asks for it, while the payload, the devices and the vCPUs are made, none of which
/// needs the slots; the guest does, and so do notifications of queues (both wait for one lock).
final class MemoryRegistration: Sendable {
    private let outcome: Outcome
    /// Nil where no thread could be had, and the slots were set at once.
    private let thread: Thread?

    private final class Outcome: Sendable {
        let failure = Mutex<KVMError?>(nil)
    }

    /// Begins to register each range of the memory in the slot of its number.
    init(of memory: GuestMemory, in machine: VMHandle) {
        let outcome = Outcome()
        self.outcome = outcome
        let register: @Sendable () -> Void = {
            do throws(KVMError) {
                for (slot, range) in memory.ranges.enumerated() {
                    try machine.setMemory(
                        slot: UInt32(slot), address: range.address, size: range.size,
                        hostAddress: memory.hostAddress(ofRegion: slot))
                }
            } catch {
                outcome.failure.withLock { $0 = error }
            }
        }
        thread = try? Thread("memory", register)
        if thread == nil { register() }
    }

    /// Waits until every slot is set.
    ///
    /// - Throws: what KVM said of the slot that it refused.
    func finish() throws(KVMError) {
        thread?.join()
        if let failure = outcome.failure.withLock({ $0 }) { throw failure }
    }
}
