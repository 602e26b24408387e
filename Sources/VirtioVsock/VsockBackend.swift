import Host
import Synchronization

/// What a vsock device is told to be.
package struct VsockSettings: Equatable, Sendable {
    /// The guest's context id, 3 to 0xFFFF_FFFE.
    package var cid: UInt32
    /// The Unix socket at which host programs connect to the guest; a guest's connection to a port of the host goes to
    /// this path with `_PORT` appended.
    package var socket: String
    /// The most connections at once, with those that are only being made.
    package var streamLimit = 4096
    /// The most clients that have not yet said which port they want.
    package var handshakeLimit = 256
    /// How long a client may take to say it, and the guest to answer, in ms.
    package var patience = 10_000

    package init(cid: UInt32, socket: String) { (self.cid, self.socket) = (cid, socket) }
}

/// The host's side of a vsock device: the listening socket, which outlives the guest's reboots.
///
/// Clients that come while no driver is there wait in its backlog.
package final class VsockBackend: Sendable {
    /// As it was told, with no more connections than the process may have descriptors for.
    package let settings: VsockSettings
    /// What went over it, in all lives of the guest.
    package let metrics = VsockMetrics()
    private let listener: Mutex<UnixListener?>
    /// Descriptors that are kept from the guest's connections, for the rest of the process.
    private static let otherDescriptors = 512

    /// Creates the socket's file; one that nobody listens on any more is replaced.
    ///
    /// - Throws: `EADDRINUSE` when somebody listens there or the file is no socket, `ENAMETOOLONG`, `ENOENT` where the
    ///   directory is missing, and whatever else keeps a socket from being made.
    /// - Parameter isStandby: whether nobody is to listen before `reopen`.
    package init(_ settings: VsockSettings, isStandby: Bool = false) throws(HostError) {
        let files = OpenFileLimit.raise(to: settings.streamLimit + Self.otherDescriptors)
        var settings = settings
        settings.streamLimit = min(settings.streamLimit, max(files - Self.otherDescriptors, 16))
        self.settings = settings
        listener = Mutex(isStandby ? nil : try UnixListener(path: settings.socket, backlog: 256))
    }

    /// Closes the listening socket and removes its file; connections that are open stay.
    package func close() {
        listener.withLock { $0 = nil }
    }

    /// Listens again after `close`; nothing where it does.
    package func reopen() throws(HostError) {
        let path = settings.socket
        try listener.withLock { listener throws(HostError) in
            if listener == nil { listener = .some(try UnixListener(path: path, backlog: 256)) }
        }
    }

    /// What came of an attempt to accept a client.
    enum Accepted: ~Copyable {
        case client(FileDescriptor)
        case nobody
        /// The process has no descriptor left for it.
        case exhausted
    }

    /// The listening descriptor, for epoll; nil once it is closed.
    var raw: Int32? { listener.withLock { $0?.raw } }

    /// Takes the next waiting client. The lock is there for `close`, and the call under it does not wait.
    func accept() -> Accepted {
        listener.withLock { listener in
            do throws(Errno) {
                guard let client = try listener?.acceptClient() else { return .nobody }
                return .client(client)
            } catch {
                return .exhausted
            }
        }
    }

    /// Connects to whoever listens for a port of the host.
    func connect(port: UInt32) throws(Errno) -> FileDescriptor {
        try UnixConnection.connect("\(settings.socket)_\(port)")
    }
}
