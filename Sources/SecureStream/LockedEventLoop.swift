import Dispatch
import NIOCore
import Synchronization

/// The event loop of a channel that is used by one thread at a time, whichever that is: it has no thread of its own, and
/// what is to run later runs when `run` is called.
///
/// SwiftNIO's own loop without I/O belongs to the thread that made it.
final class LockedEventLoop: EventLoop {
    private struct State {
        var tasks: [@Sendable () -> Void] = []
        var isOver = false
    }
    private let state = Mutex(State())

    /// Whoever calls holds the lock around the channel, which is what counts here.
    var inEventLoop: Bool { true }
    func preconditionInEventLoop(file: StaticString, line: UInt) {}

    func execute(_ task: @escaping @Sendable () -> Void) {
        state.withLock { state in
            if !state.isOver { state.tasks.append(task) }
        }
    }

    /// Runs what waits, and what that adds.
    func run() {
        while true {
            let tasks = state.withLock { state in
                defer { state.tasks = [] }
                return state.tasks
            }
            if tasks.isEmpty { return }
            for task in tasks { task() }
        }
    }

    /// Drops what waits and all that is to come: tasks hold the channel that they are for.
    func end() {
        state.withLock { state in
            state.tasks = []
            state.isOver = true
        }
    }

    /// A task at a time, which never comes: whoever waits for bytes has deadlines, and nothing else here takes time.
    func scheduleTask<T>(deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        Scheduled(promise: makePromise(of: T.self), cancellationTask: {})
    }

    func scheduleTask<T>(in time: TimeAmount, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        scheduleTask(deadline: .now() + time, task)
    }

    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        end()
        queue.async { callback(nil) }
    }
}
