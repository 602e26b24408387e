import Foundation
import TestSupport

/// A Linux guest under `swiftlet run`.
final class LinuxGuest: Sendable {
    /// The running `swiftlet`.
    let process: ChildProcess
    /// When this guest has to be over.
    let deadline: Deadline
    private let scratch: ScratchDirectory

    /// Writes the spec and starts it.
    ///
    /// - Parameters:
    ///   - options: of `swiftlet run`, besides the spec.
    ///   - patience: how many times as long as usual it may take.
    init(
        _ configuration: VMConfiguration, in scratch: ScratchDirectory, _ connection: Connection = .pipes,
        options: [String] = [], patience: Int = 1
    ) throws {
        deadline = Deadline.seconds(patience * GuestFiles.limit)
        self.scratch = scratch
        let spec = try scratch.write("spec.json", configuration.json())
        process = try ChildProcess(Command(try Built.swiftlet(), ["run", spec] + options), connection)
    }

    /// Goes on with the guest of a snapshot.
    init(
        restoring directory: String, in scratch: ScratchDirectory, options: [String] = [], deadline: Deadline? = nil
    ) throws {
        self.deadline = deadline ?? Deadline.seconds(GuestFiles.limit)
        self.scratch = scratch
        process = try ChildProcess(
            Command(try Built.swiftlet(), ["run", "--restore", directory] + options), .pipes)
    }

    /// Waits for a text in what `swiftlet` prints.
    @discardableResult func expect(_ text: String) throws -> String { try process.expect(text, by: deadline) }

    /// Waits for the end and takes what was printed.
    func finish() throws -> GuestReport {
        let ending = try process.waitForEnd(by: deadline)
        return GuestReport(ending: ending, output: process.output, errors: process.errors)
    }

    /// Boots the spec and waits for its end.
    static func run(_ configuration: VMConfiguration, in scratch: ScratchDirectory) throws -> GuestReport {
        try LinuxGuest(configuration, in: scratch).finish()
    }
}

/// What a guest said.
struct GuestReport: CustomStringConvertible {
    /// How `swiftlet` ended.
    let ending: Ending
    /// All that it printed on standard output: the guest's serial port or console.
    let output: String
    /// All that it printed on standard error.
    let errors: String
    /// The guest's result lines: key and value.
    let lines: [(key: String, value: String)]

    init(ending: Ending, output: String, errors: String) {
        self.ending = ending
        self.output = output
        self.errors = errors
        lines = Self.lines(in: output)
    }

    /// The result lines in a text: "SWIFTLET: KEY VALUE".
    static func lines(in text: String) -> [(key: String, value: String)] {
        text.split(whereSeparator: \.isNewline).compactMap { line in
            guard let mark = line.range(of: "SWIFTLET: ") else { return nil }
            let words = line[mark.upperBound...].split(separator: " ", maxSplits: 1)
            guard let key = words.first else { return nil }
            let value = words.count > 1 ? words[1].trimmingCharacters(in: .whitespaces) : ""
            return (String(key), value)
        }
    }

    /// The value of the first line with this key.
    subscript(key: String) -> String? { lines.first { $0.key == key }?.value }

    /// The values of all lines with this key, in order.
    func all(_ key: String) -> [String] { lines.filter { $0.key == key }.map(\.value) }

    /// Whether the guest finished its tests without an error of its own and powered off.
    var isClean: Bool { ending == .exited(0) && all("error").isEmpty && self["done"] != nil }

    /// For a failed expectation's comment.
    var description: String {
        "\(ending)\n--- guest ---\n\(output.suffix(6000))\n--- standard error ---\n\(errors.suffix(3000))"
    }
}
