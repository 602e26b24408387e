import ArgumentParser
import Snapshot

/// `swiftlet snapshot`, which works on directories without a VM.
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Look at, check, compare and merge snapshots, without a VM.",
        discussion: """
            A snapshot is a directory; a diff names the snapshot that it builds upon. Nothing here changes one.

            Exit statuses: 0 done; 64 the command line is wrong; 65 a snapshot is missing, damaged or not whole; 69 the \
            host refuses, for example for want of space or rights.
            """,
        subcommands: [
            VerifySnapshotCommand.self, SnapshotInfoCommand.self, SnapshotDiffCommand.self, MergeSnapshotCommand.self,
        ])

    func run() throws {
        throw ValidationError("No verb is given: name verify, info, diff or merge")
    }
}

/// What the snapshot commands have in common.
enum SnapshotReport {
    /// Runs a command's body. An error is printed as every other one.
    static func run(_ body: () throws(SnapshotError) -> Void) throws {
        do throws(SnapshotError) {
            try body()
        } catch {
            throw ExitCode(fail(error))
        }
    }

    /// Prints an error, and answers its exit status.
    static func fail(_ error: SnapshotError) -> Int32 {
        StandardStreams.error("swiftlet: \(error)")
        return switch error.kind {
        case .host, .noSpace: ExitStatus.hostLacks
        case .usage, .exists: ExitStatus.usage
        default: ExitStatus.badSpec
        }
    }

    /// Prints a report as JSON.
    static func json(_ report: some Encodable) throws(SnapshotError) {
        do { StandardStreams.out(try JSONText.make(report)) } catch {
            throw SnapshotError(.malformed, "the report has no form in JSON: \(error)")
        }
    }
}

/// `swiftlet snapshot verify DIR…`
struct VerifySnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every byte of snapshots and of those that they build upon.")

    @Argument(help: "The snapshots' directories.", completion: .directory) var directories: [String]
    @Flag(help: "Print the results as JSON.") var json = false

    private struct Result: Encodable {
        let path: String
        let ok: Bool
        var snapshots: Int?
        var files: Int?
        var memoryBytes: UInt64?
        var file: String?
        var field: String?
        var problem: String?
    }

    func run() throws {
        var status = ExitStatus.success
        var results: [Result] = []
        for path in directories {
            do throws(SnapshotError) {
                let found = try SnapshotChain(opening: path).verify()
                results.append(
                    Result(
                        path: path, ok: true, snapshots: found.snapshots, files: found.files,
                        memoryBytes: found.memoryBytes))
                if !json { StandardStreams.out(Self.line(path, found)) }
            } catch {
                status = SnapshotReport.fail(error)
                results.append(
                    Result(path: path, ok: false, file: error.file, field: error.field, problem: error.words))
            }
        }
        if json { try SnapshotReport.run { () throws(SnapshotError) in try SnapshotReport.json(results) } }
        if status != ExitStatus.success { throw ExitCode(status) }
    }

    private static func line(_ path: String, _ found: VerifiedSnapshot) -> String {
        let chain = found.snapshots == 1 ? "" : " with \(found.snapshots - 1) that it builds upon"
        return
            "\(path): whole\(chain): \(found.files) files, \(SnapshotText.bytes(found.memoryBytes)) of memory checked"
    }
}

/// `swiftlet snapshot merge DIR TARGET`
struct MergeSnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge", abstract: "Fold a diff and all that it builds upon into one full snapshot.",
        discussion: """
            The new snapshot is complete or absent, whatever happens meanwhile. It keeps the id of the one that was \
            merged, so it can take its place: diffs that build upon that one accept it.
            """)

    @Argument(help: "The snapshot.", completion: .directory) var directory: String
    @Argument(help: "The directory to make; it must not exist.", completion: .directory) var target: String
    @Flag(help: "Print what was written as JSON.") var json = false

    func run() throws {
        try SnapshotReport.run { () throws(SnapshotError) in
            let chain = try SnapshotChain(opening: directory)
            let manifest = try chain.merge(into: target)
            guard !json else { return try SnapshotReport.json(manifest) }
            StandardStreams.out(
                "\(target): snapshot \(manifest.id), merged from \(chain.layers.count), "
                    + "\(SnapshotText.bytes(manifest.memory.dataBytes)) of memory")
        }
    }
}
