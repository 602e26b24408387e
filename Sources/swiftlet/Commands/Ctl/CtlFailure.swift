import ArgumentParser
import Spec
import SwiftletClient

/// Why a verb did not do what it was asked for: what is printed, and the exit status.
struct CtlFailure: Error {
    /// What happened, and what led to it.
    let chain: [String]
    let status: Int32

    init(_ chain: [String], status: Int32) { (self.chain, self.status) = (chain, status) }

    /// A command line that is wrong.
    static func usage(_ message: String) -> CtlFailure { CtlFailure([message], status: ExitStatus.usage) }

    init(_ error: VMMClientError) {
        let status: Int32 =
            switch error.kind {
            case .api: ExitStatus.failed
            case .cannotConnect: ExitStatus.hostLacks
            case .timeout: ExitStatus.timeUp
            case .invalidRequest: ExitStatus.usage
            case .connectionLost, .protocolError, .cancelled: ExitStatus.badPeer
            }
        self.init(error.chain, status: status)
    }

    init(_ error: SpecError) {
        // Each issue is a mistake of its own, none the cause of another.
        self.init(["\(error)"], status: ExitStatus.usage)
    }

    /// The lines for standard error.
    var lines: [String] {
        var lines = chain.first.map { $0.split(separator: "\n").map { "swiftlet: \($0)" } } ?? []
        for cause in chain.dropFirst() { lines.append("  caused by: \(Self.printable(cause))") }
        return lines
    }

    /// What a VMM says, without what would move the terminal's cursor.
    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }

    /// Runs a verb's body and ends the process with its status.
    static func report(_ body: () throws(CtlFailure) -> Void) throws {
        do throws(CtlFailure) {
            try body()
        } catch {
            StandardStreams.error(error.lines.joined(separator: "\n"))
            throw ExitCode(error.status)
        }
    }
}
