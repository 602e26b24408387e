import Host
import Logging
import Memory
import SelfTestImage
import Snapshot
import Spec
import Synchronization
import TestSupport
import Testing

@testable import Machine

/// A machine of this process without a control thread: it is paused, saved, and made again.
final class TestMachine {
    /// What its guest said, from any thread.
    final class Heard: Sendable {
        let ends = Mutex<[String]>([])
        func add(_ text: String) { ends.withLock { $0.append(text) } }
        var all: [String] { ends.withLock { $0 } }
    }

    /// A machine that stands still, as a snapshot has it.
    struct Saved {
        let config: VMConfig
        let state: [UInt8]
        let memory: [[UInt8]]

        var document: StateDocument {
            get throws { try StateDocument(state, file: "state.json") }
        }
    }

    let config: VMConfig
    let lines: ConsoleBackends
    let backends: Backends
    let instance: MachineInstance
    let heard = Heard()

    /// Boots a machine, or goes on from a saved one.
    ///
    /// - Parameter hasLines: is shown what the machine's lines go over, before there is a machine.
    init(
        _ given: VMConfig, _ commandLine: String = "", from saved: Saved? = nil,
        hasLines: (ConsoleBackends) -> Void = { _ in }
    ) throws {
        var (config, names) = (given, DeviceNames())
        var plan = try MachinePlanner().plan(completing: &config, &names)
        self.config = config
        let document = try saved?.document
        if let document { plan = try plan.placed(as: document.read(SavedMachine.self, of: StateName.machine)) }
        let heard = heard
        lines = try ConsoleBackends(plan, ConsoleBackends.Events(report: { heard.add($0) }, quit: {}))
        hasLines(lines)
        backends = try Backends(
            plan, selfTest: SelfTestGuest(commandLine: commandLine) { SelfTestImage.elf() }, lines: lines)
        let events = InstanceEvents(
            request: { heard.add("\($0)") }, failed: { heard.add($1.message(vcpu: $0)) },
            report: { heard.add("\($0): \($1)") }, phase: { _, _ in },
            details: BootDetails(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        do {
            if let saved, let document {
                let source = MachineSource(document: document) { memory in
                    for (range, bytes) in zip(memory.ranges, saved.memory) {
                        try memory.write(bytes, at: range.address)
                    }
                }
                instance = try MachineInstance(backends, events, from: source)
                try instance.startPaused()
            } else {
                instance = try MachineInstance(backends, events)
            }
        } catch {
            lines.close()
            throw error
        }
    }

    /// Stops the guest and takes all of it.
    func save() throws -> Saved {
        try instance.pause()
        return try saved()
    }

    /// Takes all of a guest that stands still.
    func saved() throws -> Saved {
        let document = try instance.saveState(backends.plan)
        let memory = try instance.memory.ranges.map { try instance.memory.bytes(at: $0.address, count: Int($0.size)) }
        return Saved(config: config, state: try document.encoded(), memory: memory)
    }

    /// Ends it; what its serial port wrote is in its file then.
    func end() {
        #expect(instance.stop())
        lines.close()
        backends.close()
    }
}
