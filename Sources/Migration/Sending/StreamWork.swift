import Host
import Synchronization

/// Work that all the streams share, each on a thread of its own.
enum StreamWork {
    private final class Shared: Sendable {
        let bytes = Atomic<UInt64>(0)
        let failure = Mutex<MigrationError?>(nil)
    }

    /// Has each stream's thread do one step after another, until there is none or one of them fails.
    ///
    /// - Parameters:
    ///   - name: the threads', with a number behind it.
    ///   - isShort: whether it is over before further threads have begun; this thread does it alone then.
    ///   - heeded: the wish that ends it.
    ///   - what: what goes over, for errors.
    ///   - state: what a stream's thread has for itself.
    ///   - step: sends something and tells how many bytes; nil when there is nothing left.
    /// - Returns: the bytes that went out.
    static func run<State>(
        _ channels: [FrameChannel], name: String, isShort: Bool, heeding heeded: MigrationStop?, _ what: String,
        state: @escaping @Sendable (Int) -> State,
        step: @escaping @Sendable (inout State, FrameChannel) throws(MigrationError) -> Int?
    ) throws(MigrationError) -> UInt64 {
        let shared = Shared()
        let body: @Sendable (Int) -> Void = { index in
            let channel = channels[index]
            if !isShort { Turns.long.take() }
            var own = state(index)
            do throws(MigrationError) {
                while shared.failure.withLock({ $0 == nil }) {
                    if let asked = heeded?.asked { throw asked }
                    // Nothing is to come now but the peer's farewell, which tells more than a broken stream.
                    if channel.hasInput {
                        throw MigrationError(.connection, "the peer ended it while \(what) went over")
                    }
                    guard let sent = try step(&own, channel) else { return }
                    // Ordering: joining the threads orders their work.
                    shared.bytes.wrappingAdd(UInt64(sent), ordering: .relaxed)
                }
            } catch {
                shared.failure.withLock { if $0 == nil { $0 = error } }
            }
        }
        var threads: [Thread] = []
        if !isShort {
            for index in channels.indices.dropFirst() {
                if let thread = try? Thread("\(name)\(index)", { body(index) }) { threads.append(thread) }
            }
        }
        body(0)
        for thread in threads { thread.join() }
        if let failure = shared.failure.withLock({ $0 }) { throw failure }
        return shared.bytes.load(ordering: .relaxed)
    }
}
