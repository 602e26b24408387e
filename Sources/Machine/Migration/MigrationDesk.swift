import Host
import Migration
import Synchronization

/// The migration of this VM's that is under way, or the last one; any thread asks.
package final class MigrationDesk: Sendable {
    private struct State {
        var progress: MigrationProgress?
        var stop: MigrationStop?
        var thread: Thread?
        /// Whether its thread has yet to say how it ended.
        var isBusy = false
        /// What the source still holds of a machine that is nobody's for sure.
        var leaving: LeavingMachine?
        /// How its destination is sought again; nil where it cannot be.
        var seeking: SenderOptions?
    }
    private let state = Mutex(State())

    /// How far it is; nil where there was none.
    var report: MigrationReport? { state.withLock { $0.progress }?.now }

    /// How far it is, for clients: not over before the VM takes commands again.
    package var told: MigrationReport? {
        state.withLock { state in
            var report = state.progress?.now
            if state.isBusy { report?.isOver = false }
            return report
        }
    }

    /// The wish that the one under way ends; nil where there is none.
    var stop: MigrationStop? { state.withLock { $0.stop } }

    /// Whether one is under way.
    var isBusy: Bool { state.withLock { $0.isBusy } }

    /// The machine that waits for a person's word, with the migration's token; nil where none does.
    var unresolved: LeavingMachine? { state.withLock { $0.leaving } }

    /// Asks the migration that is under way to end.
    ///
    /// - Throws: where there is none, or where the machine may be the destination's already.
    package func cancel() throws(VMError) {
        let (stop, progress) = state.withLock { ($0.isBusy ? $0.stop : nil, $0.progress) }
        guard let stop, let report = progress?.now else { throw VMError(.notFound, ["no migration is under way"]) }
        guard report.owner == "source" else {
            let words =
                report.owner == "unknown"
                ? "the machine may be at its destination already: the commit has been sent"
                : "the guest is at its destination already, and its memory follows it: that cannot be called off any more"
            throw VMError(.failed, [words])
        }
        stop.ask(MigrationError(.cancelled, "it was cancelled (vm.migration.cancel)"))
    }

    /// Begins one, on a thread of its own.
    ///
    /// - Parameter body: moves the machine.
    /// - Throws: where one is under way, or a machine waits for a person's word.
    func begin(
        _ report: MigrationReport, _ body: @escaping @Sendable (MigrationProgress, MigrationStop) -> Void
    ) throws(VMError) {
        guard !isBusy else { throw VMError(.failed, ["another migration is under way"]) }
        do throws(HostError) {
            let (progress, stop) = (MigrationProgress(report), try MigrationStop())
            let last = state.withLock { state in
                defer { (state.progress, state.stop, state.isBusy, state.thread) = (progress, stop, true, nil) }
                return state.thread
            }
            last?.join()
            let thread: Thread
            do throws(HostError) {
                thread = try Thread("migration", stackSize: 1 << 20) { body(progress, stop) }
            } catch {
                state.withLock { $0.isBusy = false }
                throw error
            }
            state.withLock { $0.thread = thread }
        } catch {
            throw VMError(.failed, ["\(error)"])
        }
    }

    /// Says that the thread has nothing more to do.
    func finish() { state.withLock { ($0.isBusy, $0.stop) = (false, nil) } }

    /// Keeps what a person has to decide on, or forgets it.
    ///
    /// - Parameter seeking: how a postcopy migration's destination is sought again.
    func hold(_ machine: LeavingMachine?, seeking: SenderOptions? = nil) {
        state.withLock { ($0.leaving, $0.seeking) = (machine, seeking) }
    }

    /// How the destination of the machine that waits for a person's word is sought again; nil where it cannot be.
    var seeking: SenderOptions? { state.withLock { $0.seeking } }

    /// Notes how a person decided.
    func resolve(_ action: String, owner: String) {
        state.withLock { state in
            state.leaving = nil
            state.progress?.update { report in
                (report.state, report.owner, report.isOver) = (action, owner, true)
            }
        }
    }

    /// Ends the one that is under way and waits for it.
    func end() {
        let (stop, thread) = state.withLock { ($0.stop, $0.thread) }
        stop?.end()
        thread?.join()
    }
}
