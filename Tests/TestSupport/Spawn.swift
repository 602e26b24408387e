import CLinux
import Glibc

/// What a process could not be started for.
package struct SpawnError: Error, CustomStringConvertible {
    /// What was tried.
    package let action: String
    /// The errno that said no.
    package let number: Int32

    /// One line for a person.
    package var description: String {
        // SAFETY: strerror returns a string that lives until this thread's next call; it is copied at once.
        "cannot \(action): \(unsafe String(cString: strerror(number)))"
    }
}

/// How a process ended.
package enum Ending: Equatable, Sendable, CustomStringConvertible {
    /// It exited with this status.
    case exited(Int32)
    /// A signal ended it.
    case signaled(Int32)

    init(waitStatus: Int32) {
        let signal = waitStatus & 0x7f
        self = signal == 0 ? .exited((waitStatus >> 8) & 0xff) : .signaled(signal)
    }

    /// One line for a person.
    package var description: String {
        switch self {
        case .exited(let status): "exited with status \(status)"
        case .signaled(let signal): "ended by signal \(signal)"
        }
    }
}

/// The descriptors of this process that a new one is given, all close-on-exec here.
struct SpawnFiles {
    /// What becomes its descriptors 0, 1 and 2, unless `terminal` is given.
    var standard: [Int32] = []
    /// The path of a terminal that becomes its descriptors 0, 1 and 2 and controls it.
    var terminal: String?
}

/// `POSIX_SPAWN_SETSID` of spawn.h, which the importer drops.
private let newSession: Int32 = 0x80

/// Starts a program as the leader of a session and process group of its own, with default signals.
func spawn(_ command: Command, _ files: SpawnFiles) throws(SpawnError) -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    var signals = sigset_t()
    var pid: pid_t = 0
    var words = [command.program] + command.arguments
    if let directory = command.directory { words = ["env", "-C", directory] + words }
    let environment = command.environment.map { "\($0.key)=\($0.value)" }
    // SAFETY: the actions and attributes are initialised before use and destroyed once; every string that they are
    // given is copied; the argument vectors live through the call.
    let result = unsafe withVector(words) { arguments in
        unsafe withVector(environment) { variables in
            unsafe posix_spawn_file_actions_init(&actions)
            unsafe posix_spawnattr_init(&attributes)
            if let terminal = files.terminal {
                // A session leader's first terminal becomes its controlling terminal.
                unsafe posix_spawn_file_actions_addopen(&actions, 0, terminal, O_RDWR, 0)
                unsafe posix_spawn_file_actions_adddup2(&actions, 0, 1)
                unsafe posix_spawn_file_actions_adddup2(&actions, 0, 2)
            }
            for (number, file) in files.standard.enumerated() {
                unsafe posix_spawn_file_actions_adddup2(&actions, file, Int32(number))
            }
            unsafe sigemptyset(&signals)
            unsafe posix_spawnattr_setsigmask(&attributes, &signals)
            unsafe sigfillset(&signals)
            unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
            let flags = Int16(newSession | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK)
            unsafe posix_spawnattr_setflags(&attributes, flags)
            let result = unsafe posix_spawnp(&pid, words[0], &actions, &attributes, arguments, variables)
            unsafe posix_spawnattr_destroy(&attributes)
            unsafe posix_spawn_file_actions_destroy(&actions)
            return result
        }
    }
    guard result == 0 else { throw SpawnError(action: "start \(command.program)", number: result) }
    return pid
}

/// Lends the strings as a null-terminated vector of C strings.
@unsafe private func withVector(
    _ words: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32
) -> Int32 {
    // SAFETY: each string is allocated by strdup, ended by the null entry, and freed after the body returns.
    var vector = unsafe words.map { unsafe strdup($0) } + [nil]
    defer { unsafe vector.forEach { unsafe free($0) } }
    return unsafe vector.withUnsafeMutableBufferPointer { unsafe $0.baseAddress.map { unsafe body($0) } ?? EINVAL }
}

/// A pipe's read and write ends, close-on-exec.
func makePipe() throws(SpawnError) -> (read: Int32, write: Int32) {
    var ends: [Int32] = [-1, -1]
    // SAFETY: the shim fills two integers of the array that lives through the call.
    let result = unsafe cl_pipe(&ends)
    guard result >= 0 else { throw SpawnError(action: "make a pipe", number: -result) }
    return (ends[0], ends[1])
}

/// A new pseudo-terminal: the controlling side's descriptor and the other side's path.
func makeTerminal() throws(SpawnError) -> (controller: Int32, path: String) {
    var name = [CChar](repeating: 0, count: 64)
    // SAFETY: the shim writes at most the given number of bytes, the null included.
    let controller = unsafe cl_open_terminal(&name, name.count)
    guard controller >= 0 else { throw SpawnError(action: "open a pseudo-terminal", number: -controller) }
    let path = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return (controller, String(decoding: path, as: UTF8.self))
}
