internal import Host
internal import Synchronization

/// Runs blocking work on a thread of its own while a task waits for it.
enum CallThread {
    /// Answers what the work answers.
    ///
    /// - Parameter work: gets an event that is signalled when the task is cancelled.
    static func run<Value: Sendable>(
        onFailure failure: (HostError) -> VMMClientError,
        _ work: @escaping @Sendable (EventFD) -> Result<Value, VMMClientError>
    ) async -> Result<Value, VMMClientError> {
        let interrupt: EventFD
        do {
            interrupt = try EventFD()
        } catch {
            return .failure(failure(error))
        }
        let thread = Mutex<Thread?>(nil)
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                do throws(HostError) {
                    let started = try Thread("swiftlet-call") { continuation.resume(returning: work(interrupt)) }
                    thread.withLock { $0 = started }
                } catch {
                    continuation.resume(returning: .failure(failure(error)))
                }
            }
        } onCancel: {
            interrupt.signal()
        }
        // Resuming the task was the last that the thread did.
        thread.withLock { $0 }?.join()
        return result
    }
}
