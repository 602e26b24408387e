import Glibc
import Host

/// Where the event monitor writes: `--event-monitor path=PATH` or `fd=N`.
package enum EventTarget: Equatable, Sendable {
    /// A file, which is made or added to, a FIFO, or a device.
    case path(String)
    /// A descriptor that the process inherited.
    case descriptor(Int32)

    /// Reads the option's value.
    package init(option: String) throws(EventTargetError) {
        if option.hasPrefix("path=") {
            let path = option.dropFirst(5)
            guard !path.isEmpty else { throw EventTargetError("path= names no file") }
            // A path may have commas, but Cloud Hypervisor's option list would take this for another option.
            for part in path.split(separator: ",").dropFirst() where part.contains("=") {
                throw EventTargetError("\(part): there is no such option; write path=PATH or fd=N alone")
            }
            self = .path(String(path))
        } else if option.hasPrefix("fd=") {
            guard let number = Int32(option.dropFirst(3)), number >= 0 else {
                throw EventTargetError("\(option): a descriptor's number is a whole number from 0 up")
            }
            self = .descriptor(number)
        } else {
            throw EventTargetError("\(option): write path=PATH, a file or FIFO, or fd=N, an inherited descriptor")
        }
    }
}

/// What is wrong with the event monitor's target.
package struct EventTargetError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// The file that events are written to, without ever waiting for its reader.
///
/// Only the monitor's thread writes.
struct EventFile: ~Copyable, Sendable {
    private let file: FileDescriptor
    /// What a full pipe left of an event that it had begun: that comes first, since a reader needs whole events.
    private var rest: [UInt8] = []

    /// Opens the target.
    ///
    /// A FIFO is opened for reading too: it need not have a reader yet, and events wait in it for one; and a reader
    /// that leaves is no error.
    init(_ target: EventTarget) throws(EventTargetError) {
        do throws(HostError) {
            switch target {
            case .path(let path): file = try Self.open(path)
            case .descriptor(let number): file = try Self.adopt(number)
            }
        } catch {
            switch target {
            case .path(let path):
                throw EventTargetError("\(path): cannot be opened to write events: \(error.errno)")
            case .descriptor(let number):
                throw EventTargetError(
                    "fd=\(number): cannot be used to write events: \(error.errno); give one that is open to write")
            }
        }
    }

    private static func open(_ path: String) throws(HostError) -> FileDescriptor {
        let flags = O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY
        do throws(HostError) {
            let file = try FileDescriptor.open(path, O_WRONLY | flags, mode: 0o600)
            guard try file.status().kind == .fifo else { return file }
        } catch {
            // A FIFO that nobody reads yet; nothing else says so but a socket, which stays an error below.
            guard error.errno.number == ENXIO else { throw error }
        }
        return try FileDescriptor.open(path, O_RDWR | flags)
    }

    private static func adopt(_ number: Int32) throws(HostError) -> FileDescriptor {
        let inherited = try FileDescriptor.duplicate(number: number)
        guard try inherited.isForWriting() else { throw HostError("write to", nil, Errno(EBADF)) }
        switch try inherited.status().kind {
        case .fifo, .characterDevice:
            // An open file of its own, where that goes: whoever shares the inherited one need not become non-blocking.
            let path = "/proc/self/fd/\(inherited.raw)"
            if let own = try? FileDescriptor.open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY) { return own }
            try inherited.setNonBlocking(true)
        case .socket: try inherited.setNonBlocking(true)
        default: break
        }
        return inherited
    }

    /// Writes an event's text.
    ///
    /// - Returns: false when there is no room for it now, and nothing of it was written.
    /// - Throws: what else keeps it from being written.
    mutating func write(_ text: [UInt8]) throws(Errno) -> Bool {
        guard try flush() else { return false }
        let count = try attempt(text)
        if count > 0 { rest = Array(text[count...]) }
        return count > 0
    }

    /// Writes the rest of an event that was begun; false while there is no room for it.
    private mutating func flush() throws(Errno) -> Bool {
        while !rest.isEmpty {
            let count = try attempt(rest)
            guard count > 0 else { return false }
            rest.removeFirst(count)
        }
        return true
    }

    private func attempt(_ bytes: [UInt8]) throws(Errno) -> Int {
        do throws(Errno) { return try file.write(bytes.span) } catch {
            if error == .wouldBlock { return 0 }
            throw error
        }
    }
}
