import Host
import Synchronization

/// Standard input and output: a terminal in raw mode, or pipes and files as they are.
final class TtyEndpoint: CharEndpoint {
    private let input: FileDescriptor
    private let output: FileDescriptor
    private let outputChunk: Int
    private struct State {
        var ended = false
        var failed = false
        var keys = EscapeKeys()
        /// What the user typed while the guest had no room, at most `typeAhead` bytes.
        var waiting: [UInt8] = []
    }
    private let state = Mutex(State())
    private let interactive: Bool
    private let onQuit: @Sendable () -> Void
    private static let typeAhead = 4096

    /// - Parameter onQuit: called when the user types Ctrl-A x at a terminal.
    init(onQuit: @escaping @Sendable () -> Void) throws(HostError) {
        let input = try FileDescriptor.duplicate(number: 0)
        let output = try FileDescriptor.duplicate(number: 1)
        interactive = input.isTerminal
        // A blocking terminal that has room takes this much without blocking, a pipe PIPE_BUF bytes.
        outputChunk = output.isTerminal ? 256 : 4096
        if interactive { try Terminal.makeRaw(input.raw) }
        self.input = input
        self.output = output
        self.onQuit = onQuit
    }

    deinit { if interactive { Terminal.restore() } }

    var inputDescriptor: Int32? { state.withLock { $0.ended } ? nil : input.raw }
    var outputDescriptor: Int32? { output.raw }
    var discardsNow: Bool { state.withLock { $0.failed } }

    // A guest that takes no input must not keep its user from ending it.
    var readsAhead: Bool { interactive }
    var hasWaiting: Bool { state.withLock { !$0.waiting.isEmpty } }

    func read(limit: Int) -> [UInt8] {
        guard interactive else {
            if let bytes = readAvailable(input, limit: limit) { return bytes }
            state.withLock { $0.ended = true }
            return []
        }
        var keys = [PollEntry(input.raw, forReading: true)]
        PollEntry.wait(&keys, timeout: 0)
        if keys[0].isReadable { readKeys() }
        return state.withLock { state in
            let taken = Array(state.waiting.prefix(limit))
            state.waiting.removeFirst(taken.count)
            return taken
        }
    }

    /// Reads what the user typed: keys for the VMM take effect, the others wait for the guest.
    private func readKeys() {
        guard let bytes = readAvailable(input, limit: Self.typeAhead) else {
            return state.withLock { $0.ended = true }
        }
        let quit = state.withLock { state in
            var passed: [UInt8] = []
            var quit = false
            for byte in bytes { quit = state.keys.take(byte, &passed) || quit }
            state.waiting += passed.prefix(Self.typeAhead - state.waiting.count)
            return quit
        }
        if quit { onQuit() }
    }

    func write(_ bytes: [UInt8]) -> Int {
        do throws(Errno) {
            return try output.write(bytes.span.extracting(0..<min(bytes.count, outputChunk)))
        } catch {
            if error == .wouldBlock { return 0 }
            // Nobody reads standard output any more.
            state.withLock { $0.failed = true }
            return bytes.count
        }
    }
}

/// The keys that the terminal's user says something to the VMM with: Ctrl-A x ends the VM, Ctrl-A Ctrl-A is one Ctrl-A.
struct EscapeKeys: Sendable {
    static let escape: UInt8 = 0x01
    private var escaped = false

    /// Takes a byte; what the guest gets is appended.
    ///
    /// - Returns: whether the user ends the VM.
    mutating func take(_ byte: UInt8, _ passed: inout [UInt8]) -> Bool {
        guard escaped else {
            if byte == Self.escape { escaped = true } else { passed.append(byte) }
            return false
        }
        escaped = false
        switch byte {
        case UInt8(ascii: "x"), UInt8(ascii: "X"): return true
        case Self.escape: passed.append(byte)
        default: passed += [Self.escape, byte]
        }
        return false
    }
}

/// A file that gets the output; there is no input.
final class FileEndpoint: CharEndpoint {
    private let file: FileDescriptor
    private let path: String
    private let report: CharReport
    private let failed = Mutex(false)

    init(path: String, goesOn: Bool = false, report: @escaping CharReport) throws(HostError) {
        file = goesOn ? try FileDescriptor.openToAppend(path) : try FileDescriptor.createForOutput(path)
        self.path = path
        self.report = report
    }

    var inputDescriptor: Int32? { nil }
    var outputDescriptor: Int32? { file.raw }
    func read(limit: Int) -> [UInt8] { [] }

    func write(_ bytes: [UInt8]) -> Int {
        do throws(Errno) {
            return try file.write(bytes.span)
        } catch {
            let first = failed.withLock { failed in
                defer { failed = true }
                return !failed
            }
            if first { report("cannot write \(path): \(error); the guest's output there is lost from now on") }
            return bytes.count
        }
    }
}

/// A pseudo-terminal that anybody may open and leave.
///
/// Whether somebody reads shows only in the line's emptying: one that stays full is taken for unread, and what it does
/// not take is thrown away until it takes something again.
final class PtyEndpoint: CharEndpoint {
    private let pair: Terminal.Pair
    /// Since when the line is full, in ns of the monotonic clock.
    private let fullSince = Mutex<UInt64?>(nil)
    /// How long a reader may take between two reads, in ns.
    private static let limit: UInt64 = 200_000_000

    init() throws(HostError) { pair = try Terminal.Pair() }

    var path: String { pair.path }
    var inputDescriptor: Int32? { pair.master.raw }
    var outputDescriptor: Int32? { pair.master.raw }

    private var waited: UInt64? { fullSince.withLock { $0 }.map { HostClock.monotonic &- $0 } }
    var discardsNow: Bool { waited.map { $0 >= Self.limit } ?? false }
    var patience: Int32? { waited.map { Int32(clamping: (max(Self.limit, $0) - $0) / 1_000_000 + 1) } }

    func read(limit: Int) -> [UInt8] { readAvailable(pair.master, limit: limit) ?? [] }

    func write(_ bytes: [UInt8]) -> Int {
        let taken = (try? pair.master.write(bytes.span)) ?? 0
        if taken == 0, discardsNow { return bytes.count }
        fullSince.withLock { since in
            if taken == bytes.count { since = nil } else if taken > 0 || since == nil { since = HostClock.monotonic }
        }
        return taken
    }
}

/// A Unix socket with one client at a time.
final class SocketEndpoint: CharEndpoint {
    private let path: String
    /// Nil while another process may have the path.
    private let socket: Mutex<UnixListener?>
    private final class Client: Sendable {
        let file: FileDescriptor
        init(_ file: consuming FileDescriptor) { self.file = file }
    }
    private let client = Mutex<Client?>(nil)

    /// - Parameter isStandby: whether nobody is to listen before `takeBack`.
    init(path: String, isStandby: Bool = false) throws(HostError) {
        self.path = path
        socket = Mutex(isStandby ? nil : try UnixListener(path: path))
    }

    private var current: Client? { client.withLock { $0 } }
    var inputDescriptor: Int32? { current?.file.raw }
    var outputDescriptor: Int32? { current?.file.raw }
    var listener: Int32? { socket.withLock { $0?.raw } }
    var discardsNow: Bool { current == nil }

    func accept() {
        // The lock is there for `letGo`, and the call under it does not wait.
        let newcomer = socket.withLock { socket -> Client? in
            guard let descriptor = socket?.accept() else { return nil }
            return Client(descriptor)
        }
        guard let newcomer else { return }
        // The newest client has the line: one that was cut off must not hold it for ever.
        client.withLock { $0 = newcomer }
    }

    func letGo() { socket.withLock { $0 = nil } }

    func takeBack() throws(HostError) {
        let path = path
        try socket.withLock { socket throws(HostError) in
            if socket == nil { socket = .some(try UnixListener(path: path)) }
        }
    }

    func read(limit: Int) -> [UInt8] {
        guard let current else { return [] }
        guard let bytes = readAvailable(current.file, limit: limit) else {
            client.withLock { $0 = nil }
            return []
        }
        return bytes
    }

    func write(_ bytes: [UInt8]) -> Int {
        guard let current else { return bytes.count }
        do throws(Errno) {
            return try current.file.write(bytes.span)
        } catch {
            if error == .wouldBlock { return 0 }
            client.withLock { $0 = nil }
            return bytes.count
        }
    }
}

/// Nothing: what the guest writes is kept for clients only.
final class NullEndpoint: CharEndpoint {
    var inputDescriptor: Int32? { nil }
    var outputDescriptor: Int32? { nil }
    func read(limit: Int) -> [UInt8] { [] }
    func write(_ bytes: [UInt8]) -> Int { bytes.count }
}
