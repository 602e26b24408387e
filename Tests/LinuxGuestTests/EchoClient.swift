import Foundation
import Host
import Synchronization
import TestSupport

/// A client of the guest's service: one TCP connection over which it sends numbers, each of which has to come back.
final class EchoClient: Sendable {
    private struct State {
        var answered = 0
        var longest: UInt64 = 0
        var failure: String?
        var isAsked = false, isOver = false
    }

    private let state = Mutex(State())
    private let connection: StreamConnection
    private let scratch: ScratchMemory

    /// Connects as soon as the guest listens, and begins.
    init(_ host: String, _ port: UInt16, by deadline: Deadline) throws {
        var connected: StreamConnection?
        _ = deadline.wait(every: .milliseconds(100)) {
            connected = try? StreamConnection.connect(.tcp(host: host, port: port), within: 5000, heeding: nil)
            return connected != nil
        }
        guard let connected else {
            throw ExpectationError(
                expected: "a connection to \(host):\(port)", evidence: "none came about", isTimeout: true)
        }
        connection = connected
        scratch = try ScratchMemory(count: HostRange.pageSize)
        Foundation.Thread.detachNewThread { [self] in run() }
    }

    /// How many numbers came back.
    var answered: Int { state.withLock { $0.answered } }
    /// The longest time that one took, in ms.
    var longest: UInt64 { state.withLock { $0.longest / 1_000_000 } }
    /// What broke the connection; nil while nothing has.
    var failure: String? { state.withLock { $0.failure } }

    /// Has the guest stop, and waits until it says so.
    func stop(by deadline: Deadline) -> Bool {
        state.withLock { $0.isAsked = true }
        return deadline.wait(every: .milliseconds(20)) { state.withLock { $0.isOver } } && failure == nil
    }

    private func run() {
        var number = 0
        do {
            while !state.withLock({ $0.isAsked }) {
                number += 1
                let started = HostClock.monotonic
                try exchange("\(number)\n", "\(number)\n")
                let time = HostClock.monotonic - started
                state.withLock { ($0.answered, $0.longest) = (number, max($0.longest, time)) }
                sleepThread(.milliseconds(50))
            }
            try exchange("stop\n", "stopped\n")
        } catch {
            state.withLock { $0.failure = "after \(number) numbers: \(error)" }
        }
        state.withLock { $0.isOver = true }
    }

    private struct OtherAnswer: Error { let expected: String, got: String }

    private func exchange(_ question: String, _ answer: String) throws {
        try connection.send(Array(question.utf8), within: 120_000)
        let count = answer.utf8.count
        try connection.receive(into: scratch.range.part(0..<count), within: 120_000)
        let got = String(decoding: scratch.bytes(0..<count), as: UTF8.self)
        guard got == answer else { throw OtherAnswer(expected: answer, got: got) }
    }
}
