import CLinux
import Foundation
import Glibc

/// A talk over a Unix socket or a terminal: what the other side says is collected by a thread of ours.
package final class Conversation: Sendable {
    private let name: String
    private let file: Int32
    private let collector: Collector

    private init(name: String, owning file: Int32) throws {
        self.name = name
        self.file = file
        let copy = dup(file)
        guard copy >= 0 else {
            let number = errno
            close(file)
            throw SpawnError(action: "duplicate a descriptor", number: number)
        }
        collector = Collector(file: copy)
        collector.start()
    }

    deinit {
        // The collector's thread leaves a socket's read only when the talk is over for both of its descriptors.
        shutdown(file, Int32(SHUT_RDWR))
        close(file)
    }

    /// Connects to a Unix stream socket, waiting for it to appear.
    package static func connect(socket path: String, by deadline: Deadline) throws -> Conversation {
        var last: Int32 = 0
        var connected: Int32 = -1
        _ = deadline.wait(every: .milliseconds(10)) {
            let file = cl_unix_socket()
            // SAFETY: the path's bytes live through the call.
            last = unsafe path.withCString { unsafe cl_unix_connect(file, $0) }
            if last == 0 { connected = file } else { close(file) }
            return last == 0
        }
        guard connected >= 0 else { throw SpawnError(action: "connect to \(path)", number: -last) }
        return try Conversation(name: path, owning: connected)
    }

    /// Opens a terminal without letting it control this process.
    package static func open(terminal path: String) throws -> Conversation {
        // SAFETY: the path's bytes live through the call.
        let file = unsafe Glibc.open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard file >= 0 else { throw SpawnError(action: "open \(path)", number: errno) }
        return try Conversation(name: path, owning: file)
    }

    /// What the other side has said so far.
    package var output: String { String(decoding: collector.bytes, as: UTF8.self) }

    /// Says something to the other side.
    package func write(_ text: String) throws {
        try FileHandle(fileDescriptor: file, closeOnDealloc: false).write(contentsOf: Data(text.utf8))
    }

    /// Waits until the other side has said the text after what earlier calls consumed, and consumes it.
    @discardableResult
    package func expect(_ text: String, by deadline: Deadline) throws -> String {
        try collector.expect(text, by: deadline, whileOpen: [collector]) {
            "\(name) said so far:\n\(output.suffix(6000))"
        }
    }
}

/// The pseudo-terminals whose controlling side a process holds, as paths.
package func terminals(heldBy process: pid_t) -> [String] {
    let directory = "/proc/\(process)/fdinfo"
    let files = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    var numbers: Set<Int> = []
    for file in files {
        let text = (try? String(contentsOfFile: "\(directory)/\(file)", encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") where line.hasPrefix("tty-index:") {
            if let number = Int(line.dropFirst("tty-index:".count).drop { $0 == "\t" || $0 == " " }) {
                numbers.insert(number)
            }
        }
    }
    return numbers.sorted().map { "/dev/pts/\($0)" }
}
