import Virtio

/// Counts why a vCPU left the guest: on its own thread, without a lock; anybody reads.
final class VCPUExits: Sendable {
    /// The reasons, by the names of their metrics.
    enum Reason: Int, CaseIterable, Sendable {
        case port, memory, interrupted, dirtyRingFull, halt, shutdown, failedEntry, internalError, systemEvent, other

        /// As a label: KVM's word for it.
        var name: String {
            switch self {
            case .port: "io"
            case .memory: "mmio"
            case .interrupted: "interrupted"
            case .dirtyRingFull: "dirty_ring_full"
            case .halt: "halt"
            case .shutdown: "shutdown"
            case .failedEntry: "failed_entry"
            case .internalError: "internal_error"
            case .systemEvent: "system_event"
            case .other: "other"
            }
        }
    }

    /// The counters lie behind a cache line of nothing and before another: no other vCPU writes near them.
    private let counters = InlineArray<26, SoloCounter> { _ in SoloCounter() }
    private static let margin = 8

    /// Notes an exit; on the vCPU's thread only.
    @inline(__always)
    func count(_ reason: Reason) { counters[Self.margin + reason.rawValue].add() }

    /// The exits for a reason so far.
    subscript(reason: Reason) -> UInt64 { counters[Self.margin + reason.rawValue].value }
}
