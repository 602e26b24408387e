import Host
import Logging
import SelfTestImage
import Spec
import Synchronization
import TestSupport
import Testing

@testable import Machine

/// A VM whose control thread runs beside the test.
final class RunningVM: Sendable {
    let controller: VMController
    /// What happened to it: `vm.booted`, ….
    let events: Events
    private let ended: Ended
    private let thread: Thread

    final class Events: Sendable {
        private let names = Mutex<[String]>([])
        func add(_ name: String) { names.withLock { $0.append(name) } }
        var all: [String] { names.withLock { $0 } }
    }

    private final class Ended: Sendable {
        let outcome = Mutex<MachineOutcome?>(nil)
    }

    private final class Answer: Sendable {
        let result = Mutex<Result<VMReply, VMError>?>(nil)
        var value: Result<VMReply, VMError>? { result.withLock { $0 } }
    }

    private final class Handover: @unchecked Sendable {
        // Written before the control thread starts and used by it alone.
        let vmm: VMM
        init(_ vmm: VMM) { self.vmm = vmm }
    }

    /// - Parameter commandLine: what the self-test guest is to do.
    init(_ commandLine: String = "", survivesGuest: Bool = true, files: [ProcessFile] = []) throws {
        let events = Events()
        let ended = Ended()
        var options = VMM.Options(selfTest: SelfTestGuest(commandLine: commandLine) { SelfTestImage.elf() })
        options.survivesGuest = survivesGuest
        options.limit = 60_000
        options.files = files
        options.emit = { event, _ in events.add(event.rawValue) }
        let handover = Handover(try VMM(options, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        controller = handover.vmm.controller
        (self.events, self.ended) = (events, ended)
        thread = try Thread("vmm-test") {
            let outcome = try? handover.vmm.run()
            ended.outcome.withLock { $0 = outcome }
        }
    }

    /// Sends a command and waits for what it came to.
    func attempt(_ command: VMCommand) throws -> Result<VMReply, VMError> {
        let answer = Answer()
        controller.send(command) { result in answer.result.withLock { $0 = result } }
        #expect(Deadline.seconds(20).wait { answer.value != nil }, "no answer to \(command)")
        return try #require(answer.value)
    }

    /// Sends a command that is to be done.
    @discardableResult
    func command(_ command: VMCommand) throws -> VMReply { try attempt(command).get() }

    /// The error of a command that is to be refused.
    func refusal(_ command: VMCommand) throws -> VMError {
        switch try attempt(command) {
        case .success(let reply): throw Unexpected(reply: reply)
        case .failure(let error): return error
        }
    }

    struct Unexpected: Error { let reply: VMReply }

    func create(_ config: VMConfig) throws { try command(.create(ParsedConfig(config: config))) }

    /// Ends it.
    func end() -> MachineOutcome? {
        controller.send(.quit)
        thread.join()
        return ended.outcome.withLock { $0 }
    }
}
