import Host
import Migration
import Spec

/// The program that is told of migrations before and after them, and may object before (`--migration-hook`).
struct MigrationHook: Sendable {
    let path: String
    /// ms that it may take.
    static let patience = 60_000

    /// Asks whether the migration may go on.
    ///
    /// - Throws: where it says no, by an exit status that is not 0, or cannot be asked.
    func before(_ report: MigrationReport, heeding stop: EventFD?) throws(MigrationError) {
        let ending: HookProgram.Ending
        do throws(HostError) {
            ending = try HookProgram.run(
                path, input: Self.input("before", report), within: Self.patience, heeding: stop)
        } catch {
            throw MigrationError(.machine, "the migration's hook: \(error)")
        }
        switch ending {
        case .exited(0): return
        case .exited(let status):
            throw MigrationError(.machine, "the migration's hook \(path) objects: it exited with \(status)")
        case .signalled(let signal):
            throw MigrationError(.machine, "the migration's hook \(path) was ended by signal \(signal)")
        case .killed where stop?.isPending == true:
            throw MigrationError(.cancelled, "it was called off while its hook \(path) ran")
        case .killed:
            throw MigrationError(
                .machine, "the migration's hook \(path) took longer than \(Self.patience / 1000) s, and was killed")
        }
    }

    /// Tells how it ended; nobody asks what the program makes of it.
    func after(_ report: MigrationReport) {
        _ = try? HookProgram.run(path, input: Self.input("after", report), within: Self.patience)
    }

    private static func input(_ when: String, _ report: MigrationReport) -> [UInt8] {
        let value = JSONValue.members([
            ("when", .string(when)), ("role", .string(report.role.rawValue)), ("token", .string(report.token)),
            ("peer", .string(report.peer)), ("state", .string(report.state)), ("owner", .string(report.owner)),
            ("error", report.problem.map { .string($0) }), ("downtime_ms", report.downtime.map { .integer($0) }),
        ])
        return Array((value.text() + "\n").utf8)
    }
}
