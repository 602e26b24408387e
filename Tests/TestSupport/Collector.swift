import Foundation
import Synchronization

/// What an expectation of a process's output ran into.
package struct ExpectationError: Error, CustomStringConvertible {
    /// What was waited for.
    package let expected: String
    /// Why the waiting ended, with what had been printed until then.
    package let evidence: String
    /// Whether it was the time that ran out; otherwise the other side ended without saying it.
    package let isTimeout: Bool

    package init(expected: String, evidence: String, isTimeout: Bool) {
        (self.expected, self.evidence, self.isTimeout) = (expected, evidence, isTimeout)
    }

    /// What was expected and what happened instead.
    package var description: String { "expected \(expected), but \(evidence)" }
}

/// Collects what a descriptor delivers until its end, on a thread of its own.
final class Collector: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var atEnd = false
        /// Where the next `expect` starts to look.
        var position = 0
    }

    private let file: Int32
    private let state = Mutex(State())

    /// - Parameter file: a descriptor that the collector owns and closes at the end of what it delivers.
    init(file: Int32) { self.file = file }

    var bytes: [UInt8] { state.withLock { $0.bytes } }
    var atEnd: Bool { state.withLock { $0.atEnd } }

    func start() {
        Thread.detachNewThread { [self] in
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                // SAFETY: the buffer is ours alone and as long as it says.
                let count = unsafe read(file, &buffer, buffer.count)
                if count < 0 && errno == EINTR { continue }
                // A terminal whose other side is closed says EIO.
                guard count > 0 else { break }
                state.withLock { $0.bytes += buffer[..<count] }
            }
            close(file)
            state.withLock { $0.atEnd = true }
        }
    }

    /// Waits for a text after what earlier calls consumed, and consumes it.
    ///
    /// - Parameters:
    ///   - open: the waiting ends when none of these delivers any more.
    ///   - evidence: what to tell when the text does not come.
    func expect(
        _ text: String, by deadline: Deadline, whileOpen open: [Collector], evidence: () -> String
    ) throws -> String {
        let wanted = Array(text.utf8)
        var found: String?
        var silent = false
        _ = deadline.wait {
            // Asked before looking, so that the last bytes are looked at.
            silent = open.allSatisfy(\.atEnd)
            found = consume(through: wanted)
            return found != nil || silent
        }
        if let found { return found }
        throw ExpectationError(expected: "\"\(text)\" in the output", evidence: evidence(), isTimeout: !silent)
    }

    /// Consumes and returns all up to the end of the first occurrence of the bytes, if they are there.
    private func consume(through wanted: [UInt8]) -> String? {
        state.withLock { state in
            guard let end = state.bytes.end(of: wanted, from: state.position) else { return nil }
            defer { state.position = end }
            return String(decoding: state.bytes[state.position..<end], as: UTF8.self)
        }
    }
}

extension [UInt8] {
    /// The index after the first occurrence of the bytes at or after an index.
    fileprivate func end(of wanted: [UInt8], from start: Int) -> Int? {
        guard let first = wanted.first else { return start }
        var index = start
        while index + wanted.count <= count {
            guard let candidate = self[index...(count - wanted.count)].firstIndex(of: first) else { return nil }
            if self[candidate..<candidate + wanted.count].elementsEqual(wanted) { return candidate + wanted.count }
            index = candidate + 1
        }
        return nil
    }
}
