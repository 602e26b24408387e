import Host
import Synchronization

/// A few threads that share numbered pieces of work.
enum WorkerPool {
    /// As many threads as there are processors, up to what one disk keeps busy.
    static var usualCount: Int { min(HostProbe.processorCount, 8) }

    private final class Work: Sendable {
        let next = Atomic<Int>(0)
        let failure = Mutex<SnapshotError?>(nil)
    }

    /// Does the pieces 0 to `count` - 1, each once, on several threads, the calling one among them.
    ///
    /// - Parameters:
    ///   - workers: how many threads; nil for the usual number.
    ///   - body: does a piece. Its second argument is memory of the thread's own.
    /// - Throws: the first error that a piece ended with; no further piece is begun then.
    static func run(
        _ count: Int, workers: Int?, _ body: @escaping @Sendable (Int, ChunkScratch) throws(SnapshotError) -> Void
    ) throws(SnapshotError) {
        let work = Work()
        let loop: @Sendable () -> Void = {
            do throws(SnapshotError) {
                let scratch: ChunkScratch
                do throws(HostError) { scratch = try ChunkScratch() } catch {
                    throw SnapshotError(.host(error.errno), "\(error)")
                }
                while work.failure.withLock({ $0 == nil }) {
                    // Ordering: the number orders nothing else; joining the threads orders their work.
                    let piece = work.next.wrappingAdd(1, ordering: .relaxed).oldValue
                    if piece >= count { return }
                    try body(piece, scratch)
                }
            } catch {
                work.failure.withLock { if $0 == nil { $0 = error } }
            }
        }
        let helpers = min(workers ?? usualCount, count) - 1
        var threads: [Thread] = []
        for number in 0..<max(0, helpers) {
            // Without another thread the work takes longer, no more.
            if let thread = try? Thread("snapshot\(number)", loop) { threads.append(thread) }
        }
        loop()
        for thread in threads { thread.join() }
        if let failure = work.failure.withLock({ $0 }) { throw failure }
    }
}

/// Memory of a thread's own for three chunks.
struct ChunkScratch {
    private let memory: ScratchMemory
    /// Room for a chunk.
    let first, second, third: HostRange

    init() throws(HostError) {
        let size = MemoryGeometry.chunkSize
        let memory = try ScratchMemory(count: 3 * size)
        first = memory.range.part(0..<size)
        second = memory.range.part(size..<2 * size)
        third = memory.range.part(2 * size..<3 * size)
        self.memory = memory
    }
}
