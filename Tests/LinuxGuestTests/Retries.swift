import Foundation
import Synchronization
import TestSupport
import Testing

/// How often a guest was started a second time.
private let retries = Atomic<Int>(0)

/// Does something with a guest, in a scratch directory, and once more if its time runs out.
///
/// Emulated hardware loses a wake-up now and then (Tests/Lab/README.md, "Hangs"). What was printed until then is kept
/// and told, and every retry is counted: a hang of our own making must show.
func withGuest<Result>(_ name: String, _ body: (ScratchDirectory) throws -> Result) throws -> Result {
    _ = try GuestFiles.path("initramfs")
    do { return try body(ScratchDirectory(name)) } catch let error as ExpectationError where error.isTimeout {
        let count = retries.add(1, ordering: .relaxed).newValue
        let path = try keep("\(name): \(error)", as: "\(name)-timeout-\(count).txt")
        tell("retries: \(count) (\(name); what it printed is in \(path))\n\(error)")
    }
    return try body(ScratchDirectory(name))
}

/// Prints a line at once, also where standard output is a pipe.
func tell(_ line: String) { FileHandle.standardError.write(Data("\(line)\n".utf8)) }

/// Keeps evidence where it outlives the lab.
private func keep(_ text: String, as name: String) throws -> String {
    let environment = ProcessInfo.processInfo.environment
    let path = "\(environment["LAB_OUT"] ?? environment["TMPDIR"] ?? "/tmp")/\(name)"
    try text.write(toFile: path, atomically: false, encoding: .utf8)
    return path
}

/// Prints the number of retries after the suite's last test.
struct CountRetries: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        defer { tell("retries: \(retries.load(ordering: .relaxed))") }
        try await function()
    }
}

/// Linux guests one after the other: each has the machine to itself.
@Suite(.serialized, CountRetries()) enum LinuxGuests {}
