import Snapshot
import Spec

/// The memory of a guest from a snapshot, as it touches it.
extension VMM {
    /// Has a machine's memory show the snapshot's.
    func page(
        _ chain: SnapshotChain, into regions: [MemoryRegion], _ request: RestoreRequest
    ) throws -> MemoryPaging {
        let logger = logger
        return try MemoryPaging(mapping: chain, into: regions, prefetch: request.prefetch) { note, words in
            switch note {
            case .debug: logger.debug("\(words)")
            case .info: logger.info("\(words)")
            case .warning: logger.warning("\(words)")
            }
        }
    }
}
