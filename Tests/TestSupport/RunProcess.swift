import Foundation

/// What a process that ran to its end left.
package struct ProcessResult: Sendable, CustomStringConvertible {
    /// How it ended.
    package let ending: Ending
    /// What it wrote to its standard output.
    package let output: [UInt8]
    /// What it wrote to its standard error.
    package let errors: String
    /// How long it ran.
    package let duration: Duration

    /// Its standard output as text.
    package var text: String { String(decoding: output, as: UTF8.self) }

    /// Whether it exited with status 0.
    package var succeeded: Bool { ending == .exited(0) }

    /// One text for a failed expectation's comment.
    package var description: String {
        "\(ending)\n--- standard output ---\n\(text.suffix(6000))\n--- standard error ---\n\(errors.suffix(3000))"
    }
}

/// Runs a process to its end and returns what it left.
///
/// - Parameters:
///   - input: what its standard input holds; nothing unless given.
///   - limit: when this has passed, the process and its group are killed and the call throws.
/// - Throws: ``SpawnError`` when it cannot be started, ``ExpectationError`` with the output so far on the deadline.
package func runProcess(
    _ command: Command, input: [UInt8] = [], within limit: Duration = .seconds(60)
) throws -> ProcessResult {
    let child = try ChildProcess(command)
    let deadline = Deadline(after: limit)
    if !input.isEmpty {
        // A process that does not read all of its input is no failure of the runner.
        Thread.detachNewThread {
            try? child.write(input)
            child.closeInput()
        }
    } else {
        child.closeInput()
    }
    do {
        let ending = try child.waitForEnd(by: deadline)
        return ProcessResult(
            ending: ending, output: child.outputBytes, errors: child.errors, duration: child.age)
    } catch {
        child.kill()
        throw error
    }
}
