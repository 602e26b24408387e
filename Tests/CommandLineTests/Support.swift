import Foundation
import TestSupport
import Testing

/// The built executable.
enum Swiftlet {
    /// Runs it to its end.
    static func run(
        _ arguments: [String], input: String = "", within limit: Duration = .seconds(60)
    ) throws -> ProcessResult {
        try runProcess(Command(try Built.swiftlet(), arguments), input: Array(input.utf8), within: limit)
    }

    /// Runs a spec from standard input.
    static func run(spec: String, _ arguments: [String] = []) throws -> ProcessResult {
        try run(["run", "-"] + arguments, input: spec)
    }

    /// A spec of a small machine without consoles and with the given members.
    static func spec(_ members: String = "") -> String {
        let rest = members.isEmpty ? "" : ",\(members)"
        return #"{"memory":{"size":33554432},"serial":{"mode":"Null"},"console":{"mode":"Off"}\#(rest)}"#
    }

    /// The spec whose serial port is standard input and output.
    static let ttySpec = #"{"memory":{"size":33554432},"serial":{"mode":"Tty"},"console":{"mode":"Off"}}"#

    /// Starts the self-test guest in a mode, its serial port on standard input and output.
    static func start(
        _ mode: String, _ arguments: [String] = [], in scratch: ScratchDirectory, _ connection: Connection = .pipes
    ) throws -> ChildProcess {
        let file = try scratch.write("spec.json", ttySpec)
        return try ChildProcess(
            Command(try Built.swiftlet(), ["run", file, "--self-test", "mode=\(mode)"] + arguments), connection)
    }
}

/// Whether a process refused as documented: one line on standard error that begins with the place, says what is wrong
/// and what to do, and the exit status; nothing on standard output.
func expectRefusal(
    _ result: ProcessResult, _ status: Int32, _ parts: String..., at location: SourceLocation = #_sourceLocation
) {
    let comment = Comment(rawValue: "\(result)")
    #expect(result.ending == .exited(status), comment, sourceLocation: location)
    let lines = result.errors.split(separator: "\n", omittingEmptySubsequences: false)
    // The line and the emptiness behind its end.
    #expect(lines.count == 2 && lines.last == "", comment, sourceLocation: location)
    var rest = result.errors[...]
    #expect(rest.hasPrefix("swiftlet: \(parts.first ?? "")"), comment, sourceLocation: location)
    for part in parts {
        guard let range = rest.range(of: part) else {
            Issue.record("no \"\(part)\" in its place: \(result)", sourceLocation: location)
            return
        }
        rest = rest[range.upperBound...]
    }
    #expect(result.output.isEmpty, comment, sourceLocation: location)
}

/// The ways of running the executable with fewer rights than the tests have, which need root.
enum Confined {
    /// A copy of the executable that every user can reach.
    static func copy(in scratch: ScratchDirectory) throws -> String {
        let path = scratch.path("swiftlet")
        // Another process copies it: a child that another test starts at that moment would inherit our descriptor of the
        // file, and what is open for writing cannot be executed.
        let copied = try runProcess(Command("install", ["-m", "755", try Built.swiftlet(), path]))
        try #require(copied.succeeded, "\(copied)")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: scratch.path)
        return path
    }

    /// Runs a spec as a user without any rights.
    static func asNobody(_ spec: String, in scratch: ScratchDirectory) throws -> ProcessResult {
        try #require(geteuid() == 0, "these tests give rights up, so they have to run as root")
        let words = ["--reuid=65534", "--regid=65534", "--clear-groups", try copy(in: scratch), "run", "-"]
        return try runProcess(Command("setpriv", words), input: Array(spec.utf8))
    }

    /// Runs a spec as root without CAP_NET_ADMIN.
    static func withoutNetworkRights(_ spec: String) throws -> ProcessResult {
        try #require(geteuid() == 0, "these tests give rights up, so they have to run as root")
        let words = ["--bounding-set=-net_admin", "--inh-caps=-net_admin", try Built.swiftlet(), "run", "-"]
        return try runProcess(Command("setpriv", words), input: Array(spec.utf8))
    }

    /// Runs a spec where `/dev` holds nothing.
    static func withoutDevices(_ spec: String) throws -> ProcessResult {
        try #require(geteuid() == 0, "these tests hide devices, so they have to run as root")
        let script = "mount -t tmpfs none /dev && exec \"$0\" run -"
        let words = ["-m", "sh", "-c", script, try Built.swiftlet()]
        return try runProcess(Command("unshare", words), input: Array(spec.utf8))
    }
}
