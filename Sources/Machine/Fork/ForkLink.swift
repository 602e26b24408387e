import Host
import Spec
import Synchronization

/// The connection between a VM that is forked and one of the VMs that are made of it. Each message is a line:
///
/// 1. the parent's: the `vm.restore` request of the child, in JSON;
/// 2. the child's: `ready PID` when its VM stands there, or what is wrong, and its process ends;
/// 3. the parent's: `go` when all children are ready. A connection that ends before is the child's end, too.
package final class ForkLink: Sendable {
    private let stream: UnixStream

    /// A line is no longer than this.
    private static let limit = 1 << 20

    init(_ stream: consuming UnixStream) { self.stream = stream }

    /// A child's end, by the number that the parent has given it.
    package convenience init(inherited number: Int32) throws(HostError) {
        self.init(UnixStream(owning: try FileDescriptor.duplicate(number: number)))
        _ = FileDescriptor(owning: number)
    }

    /// Sends a line; its own line ends become blanks.
    func send(_ text: String) throws(Errno) {
        try stream.sendAll(text.utf8.map { $0 == UInt8(ascii: "\n") ? UInt8(ascii: " ") : $0 } + [UInt8(ascii: "\n")])
    }

    /// Waits for a line.
    ///
    /// - Parameter deadline: in ns of the monotonic clock; nil for ever.
    /// - Returns: nil where the connection ended, or the time is over.
    func receive(by deadline: UInt64? = nil) -> String? {
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1024)
        while line.last != UInt8(ascii: "\n"), line.count < Self.limit {
            if let deadline {
                let now = HostClock.monotonic
                guard now < deadline else { return nil }
                guard PollEntry.isReadable(stream.raw, within: (deadline - now) / 1_000_000 + 1) else { continue }
            }
            var span = chunk.mutableSpan
            guard let received = try? stream.receive(into: &span), received.count > 0 else { return nil }
            line += chunk[..<received.count]
        }
        return String(decoding: line.dropLast(), as: UTF8.self)
    }

    // MARK: The child's side

    /// Reads what the child is to restore.
    package func request() throws -> RestoreRequest {
        guard let line = receive() else { throw ForkGivenUp() }
        var request = try RestoreRequest.parse(Array(line.utf8)).config
        request.isPassing = true
        return request
    }

    /// Says that the VM stands there, and waits until all are to be kept.
    package func ready() throws {
        try send("ready \(ProcessIdentity.id)")
        guard receive() == "go" else { throw ForkGivenUp() }
    }

    /// Says why there is no VM.
    package func failed(_ words: String) { try? send(words) }
}

/// The VM that this one was to be made of is gone, or has no use for it.
struct ForkGivenUp: Error, CustomStringConvertible {
    let description = "the fork was given up: another of its VMs failed, or the VM that is forked ended"
}
