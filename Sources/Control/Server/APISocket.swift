import CLinux
import Host
import Synchronization

/// Where the API listens.
package enum APISocketPlace: Equatable, Sendable, CustomStringConvertible {
    /// A socket file that is made.
    case path(String)
    /// A listening descriptor that the process inherited.
    case descriptor(Int32)

    /// Reads the value of `--api-socket`: a path, `path=PATH` or `fd=N`.
    package init(parsing text: String) throws(APISocketError) {
        if text.hasPrefix("fd=") {
            guard let number = Int32(text.dropFirst(3)), number >= 0 else {
                throw APISocketError(text, "\(text.dropFirst(3)) is no number of a descriptor; write fd=3, for example")
            }
            self = .descriptor(number)
            return
        }
        let path = text.hasPrefix("path=") ? String(text.dropFirst(5)) : text
        guard !path.isEmpty else { throw APISocketError(text, "names no path; write PATH, path=PATH or fd=N") }
        self = .path(path)
    }

    /// As the option's value has it.
    package var description: String {
        switch self {
        case .path(let path): path
        case .descriptor(let number): "fd=\(number)"
        }
    }
}

/// Why the API cannot listen: where, what is wrong, and what to do.
package struct APISocketError: Error, Equatable, CustomStringConvertible {
    /// The socket as it was named.
    package let place: String
    /// What is wrong.
    package let reason: String

    init(_ place: String, _ reason: String) { (self.place, self.reason) = (place, reason) }

    package var description: String { "the API socket \(place): \(reason)" }
}

/// The API's listening socket. Of a path it owns the socket file and the lock file beside it, and removes both.
package final class APISocket: Sendable, CustomStringConvertible {
    private struct Open: ~Copyable {
        // Dropped in this order by `close`: the file goes while the lock still keeps others from the path.
        var listener: UnixListener?
        var lock: LockFile?
    }

    private let open: Mutex<Open>
    /// The listening descriptor's number, valid until `close`.
    let raw: Int32
    /// Where it listens, as the option's value has it.
    package let description: String

    /// Listens, with the file's permissions 0600, or 0660 for a group.
    ///
    /// - Parameter group: the name or number of a group that may connect too.
    /// - Throws: when another VMM holds the lock or anybody listens there, when a file that is no socket is in the way,
    ///   when the path is too long, and for a group that does not exist or that this user may not give files to.
    package init(_ place: APISocketPlace, group: String? = nil) throws(APISocketError) {
        description = place.description
        switch place {
        case .descriptor(let number):
            guard group == nil else {
                throw APISocketError(place.description, "an inherited socket's group is set by whoever made its file")
            }
            let listener = try Self.inherit(number)
            raw = listener.raw
            open = Mutex(Open(listener: listener, lock: nil))
        case .path(let path):
            let room = cl_unix_path_room() - 1
            guard path.utf8.count <= room, !path.utf8.contains(0) else {
                throw APISocketError(
                    path, "its path has \(path.utf8.count) bytes, but a socket's has at most \(room); use a shorter one"
                )
            }
            // Looked up first: an error leaves nothing behind.
            let number = try group.map { name throws(APISocketError) in try Self.number(of: name, path) }
            let lock = try Self.lock(path)
            let listener = try Self.listen(path, number)
            raw = listener.raw
            open = Mutex(Open(listener: listener, lock: lock))
        }
    }

    /// Takes the next waiting client; nil when none waits or the socket is closed.
    func accept() throws(Errno) -> UnixStream? {
        try open.withLock { open throws(Errno) -> sending UnixStream? in try open.listener?.acceptStream() }
    }

    /// Stops listening and removes the files that are ours.
    package func close() {
        open.withLock { open in
            open.listener = nil
            open.lock = nil
        }
    }

    deinit { close() }

    private static func inherit(_ number: Int32) throws(APISocketError) -> UnixListener {
        do { return try UnixListener(inherited: number) } catch {
            let reason =
                switch error.errno {
                case Errno(EBADF): "the process inherited no descriptor of that number"
                case Errno(ENOTSOCK): "the descriptor is no socket"
                case Errno(EPROTOTYPE): "the descriptor is no listening Unix stream socket"
                default: "\(error)"
                }
            throw APISocketError("fd=\(number)", reason)
        }
    }

    private static func lock(_ path: String) throws(APISocketError) -> LockFile {
        let name = path + ".lock"
        do {
            return try LockFile(path: name)
        } catch {
            if error.errno == Errno(EEXIST) {
                throw APISocketError(
                    path, "\(name) is needed for its lock and is another file; move that file away or use another path")
            }
            guard error.errno == .wouldBlock || error.errno == .accessDenied && error.operation == "lock" else {
                throw APISocketError(path, "its lock file cannot be used: \(error)")
            }
            let holder = LockFile.holder(of: name).map { " (process \($0))" } ?? ""
            throw APISocketError(path, "another VMM\(holder) is using it and holds \(name); use another path")
        }
    }

    /// - Precondition: the lock is held, so that a stale file is replaced by one VMM only.
    private static func listen(_ path: String, _ group: UInt32?) throws(APISocketError) -> UnixListener {
        let access = UnixListener.Access(mode: group == nil ? 0o600 : 0o660, group: group)
        do { return try UnixListener(path: path, backlog: 1024, access: access) } catch {
            switch error.errno {
            case .addressInUse:
                throw APISocketError(
                    path,
                    "somebody listens there already, or a file that is no socket is in the way; use another path")
            case .notPermitted where group != nil:
                throw APISocketError(path, "\(error); choose a group that you are in")
            default: throw APISocketError(path, "\(error)")
            }
        }
    }

    private static func number(of group: String, _ path: String) throws(APISocketError) -> UInt32 {
        let found: UInt32?
        do { found = try FileAccess.group(group) } catch { throw APISocketError(path, "the group \(group): \(error)") }
        guard let found else {
            throw APISocketError(
                path, "there is no group \(group) in /etc/group; give its number if it is defined elsewhere")
        }
        return found
    }
}
