import Boot
import Host
import KVM
import Memory
import Snapshot
import Spec
import VirtioBlock
import VirtioNet

/// Why a machine cannot be made or run, sorted by what the user has to change.
package enum MachineError: Error, Sendable, CustomStringConvertible {
    /// The configuration asks for something that cannot be; one line with its JSON path.
    case spec(String)
    /// The host lacks something or refuses it.
    case host(String)

    package var description: String {
        switch self {
        case .spec(let text), .host(let text): text
        }
    }

    /// Sorts an error of any room.
    package init(sorting error: any Error) {
        switch error {
        case let error as MachineError: self = error
        case is BootError, is DiskError, is SpecError: self = .spec("\(error)")
        case let error as VMError:
            self = error.kind == .failed ? .host("\(error)") : .spec("\(error)")
        case let error as SnapshotError: self.init(sorting: VMError(error))
        case let error as NetError where error.isMistake: self = .spec("\(error)")
        default: self = .host("\(error)")
        }
    }

    /// Runs a step and sorts its error.
    static func sorted<Result>(_ body: () throws -> Result) throws(MachineError) -> Result {
        do { return try body() } catch { throw MachineError(sorting: error) }
    }
}

/// How a VM ended.
package enum MachineOutcome: Equatable, Sendable {
    /// The guest powered off, or the user ended the VM with Ctrl-A x.
    case powerOff
    /// The self-test guest ended with a result: 0 passed.
    case selfTest(UInt8)
    /// The guest cannot go on: a triple fault, an instruction that KVM cannot emulate; in words.
    case died(String)
    /// A client asked the process to end.
    case quit
    /// A signal asked the process to end.
    case signal(Int32)
}
