import Host
import Memory
import Snapshot
import Spec

/// The memory of a guest from a snapshot, as it touches it.
extension VMM {
    /// Refuses to make anything of memory that was read while pages of it were lost: they were read as zeroes.
    func checkMemory() throws(VMError) {
        if let failure = vm?.paging?.failure { throw VMError(.failed, [failure.description]) }
    }

    /// Waits until all of the memory is there, for whoever reads all of it.
    func finishMemory() throws(VMError) {
        do throws(SnapshotError) { try vm?.paging?.finish() } catch { throw VMError(.failed, [error.description]) }
    }

    /// Has a machine's memory show the snapshot's: by a private mapping of the files, or, where others share it or it is
    /// made of huge pages, page by page.
    func page(
        _ chain: SnapshotChain, into memory: GuestMemory, _ backing: MemoryBacking, _ request: RestoreRequest
    ) throws -> MemoryPaging {
        let logger = logger
        let tell: PagingNotes = { note, words in
            switch note {
            case .debug: logger.debug("\(words)")
            case .info: logger.info("\(words)")
            case .warning: logger.warning("\(words)")
            }
        }
        let regions = memory.snapshotRegions
        guard backing.shared || backing.hugePageSize != nil else {
            try memory.guardPages(controller.mailbox.event)
            let arrival = memory.arrival
            return try MemoryPaging(mapping: chain, into: regions, prefetch: request.prefetch, tell) { arrival.isLost }
        }
        if let size = backing.hugePageSize, size != Mapping.hugePage {
            throw VMError(
                .invalid,
                [
                    "$.memory_restore_mode: the VM has huge pages of \(size >> 20) MiB ($.memory.hugepage_size), which come "
                        + "as slowly one by one as all at once; use Copy"
                ])
        }
        let target = DemandPager.Target(
            regions, isShared: backing.shared, pageSize: Int(backing.hugePageSize ?? GuestMemory.pageSize))
        let (controller, arrival) = (controller, memory.arrival)
        arrival.begin()
        do throws(SnapshotError) {
            return try MemoryPaging(paging: chain, into: target, prefetch: request.prefetch, tell) { end in
                switch end {
                case .complete: arrival.complete()
                case .failed(let error):
                    logger.error("the guest's memory is lost: \(error)")
                    arrival.lose()
                    controller.status.read { $0.instance }?.halt()
                    controller.mailbox.event.signal()
                }
            }
        } catch {
            arrival.complete()
            // What the host refuses is no mistake of the snapshot's.
            throw error.file == nil ? VMError(.failed, ["$.memory_restore_mode: \(error)"]) : VMError(error)
        }
    }
}
