import Host
import Migration
import Synchronization

/// Something that another thread has the control thread do.
final class ControlErrand: Sendable {
    private let body: @Sendable (VMM) throws -> Void
    private let outcome = Mutex<Result<Void, MigrationError>?>(nil)
    private let done: EventFD

    init(_ body: @escaping @Sendable (VMM) throws -> Void) throws(HostError) {
        self.body = body
        done = try EventFD()
    }

    /// Does it, on the control thread.
    func carryOut(_ vmm: VMM) {
        do {
            try body(vmm)
            finish(.success(()))
        } catch {
            finish(.failure(MigrationError(sorting: error)))
        }
    }

    /// Says that nobody will do it: the VMM is ending.
    func refuse() { finish(.failure(MigrationError(.machine, "the VMM is ending"))) }

    private func finish(_ result: Result<Void, MigrationError>) {
        outcome.withLock { $0 = result }
        done.signal()
    }

    func wait() throws(MigrationError) {
        while true {
            if let outcome = outcome.withLock({ $0 }) { return try outcome.get() }
            var entries = [PollEntry(done.raw, forReading: true)]
            PollEntry.wait(&entries)
        }
    }
}

extension MigrationError {
    /// An error of any room, of the machine that is to move.
    init(sorting error: any Error) {
        if let error = error as? MigrationError {
            self = error
        } else if let error = error as? VMError {
            self.init(.machine, error.chain)
        } else {
            self.init(.machine, "\(MachineError(sorting: error))".split(separator: "\n").map(String.init))
        }
    }
}

extension VMController {
    /// Has the control thread do something and waits for its answer; from any other thread.
    @discardableResult
    func onControl<Answer: Sendable>(
        _ body: @escaping @Sendable (VMM) throws -> Answer
    ) throws(MigrationError) -> Answer {
        try begin(body).wait()
    }

    /// Has the control thread do something, and goes on.
    func begin<Answer: Sendable>(
        _ body: @escaping @Sendable (VMM) throws -> Answer
    ) throws(MigrationError) -> AwaitedAnswer<Answer> {
        let box = AnswerBox<Answer>()
        let errand: ControlErrand
        do throws(HostError) {
            errand = try ControlErrand { vmm in
                let answer = try body(vmm)
                box.answer.withLock { $0 = answer }
            }
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
        send(errand)
        return AwaitedAnswer(errand: errand, box: box)
    }
}

/// What the control thread was asked for.
struct AwaitedAnswer<Answer: Sendable>: Sendable {
    fileprivate let errand: ControlErrand
    fileprivate let box: AnswerBox<Answer>

    /// Waits for the answer.
    func wait() throws(MigrationError) -> Answer {
        try errand.wait()
        guard let answer = box.answer.withLock({ $0 }) else { throw MigrationError(.machine, "no answer came") }
        return answer
    }
}

private final class AnswerBox<Answer: Sendable>: Sendable {
    let answer = Mutex<Answer?>(nil)
}
