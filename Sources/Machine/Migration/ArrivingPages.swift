import Host
import Memory
import Migration
import Snapshot

/// A machine whose memory follows it, at its destination.
extension ArrivingMachine: PostcopySink {
    /// Why the memory of such a machine could not follow it here.
    static func obstaclesToPostcopy(_ plan: MachinePlan) -> [String] {
        var found: [String] = []
        if let size = plan.backing.hugePageSize, size != Mapping.hugePage {
            found.append(
                "memory_mode Postcopy: the VM has huge pages of \(size >> 20) MiB ($.memory.hugepage_size), for each of which "
                    + "its guest would stand still too long; use Precopy")
        }
        do throws(HostError) { _ = try UserFault() } catch {
            found.append(
                "memory_mode Postcopy: \(error); allow it there (sysctl vm.unprivileged_userfaultfd=1, access to "
                    + "/dev/userfaultfd, or run as root), or use Precopy")
        }
        return found
    }

    var target: DemandPager.Target? {
        let (memory, backing) = state.withLock { ($0.memory, $0.backing) }
        guard let memory, let backing else { return nil }
        return DemandPager.Target(
            memory.snapshotRegions, isShared: backing.shared,
            pageSize: Int(backing.hugePageSize ?? GuestMemory.pageSize))
    }

    func take(_ pager: PostcopyPager) {
        let memory = state.withLock { state in
            state.pager = pager
            return state.memory
        }
        memory?.arrival.begin()
        // It may have been over before.
        if let over = pager.over { paged(over) }
    }

    func paged(_ over: PostcopyPager.Over) {
        let memory = state.withLock { $0.memory }
        switch over {
        case .complete: memory?.arrival.complete()
        case .stopped: memory?.arrival.lose()
        }
    }

    func hold(_ reason: String) {
        post { [self] vmm in
            guard let vm = vmm.vm, let instance = vm.instance, !vm.isPaused else { return }
            for runner in instance.runners { runner.askToPark() }
            vm.isPaused = true
            state.withLock { $0.isHeld = true }
            vmm.publish()
            vmm.logger.warning("the guest stands still until its memory comes: \(reason)")
            vmm.options.emit(.paused, ["reason": reason])
        }
    }

    func letGo() {
        post { [self] vmm in
            let wasHeld = state.withLock { state in
                defer { state.isHeld = false }
                return state.isHeld
            }
            guard wasHeld, let vm = vmm.vm, let instance = vm.instance, vm.isPaused else { return }
            for runner in instance.runners { runner.unpark() }
            vm.isPaused = false
            vmm.publish()
            vmm.logger.notice("the guest runs on: its memory comes again")
            vmm.options.emit(.resumed, [:])
        }
    }

    /// Has the control thread do something, without waiting for it: it may itself wait for a page.
    private func post(_ body: @escaping @Sendable (VMM) throws -> Void) {
        guard let errand = try? ControlErrand(body) else { return }
        controller.send(errand)
    }
}
