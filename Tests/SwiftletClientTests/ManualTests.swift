import Foundation
import TestSupport
import Testing

/// The manual's pages and the shells' completions, which the executable makes of its argument definitions.
@Suite(.timeLimit(.minutes(15))) struct ManualTests {
    /// The verbs of `ctl`.
    private static let verbs = [
        "add-device", "add-disk", "add-fs", "add-net", "add-pmem", "add-user-device", "add-vdpa", "add-vsock", "boot",
        "console", "coredump", "counters", "create", "delete", "fork", "info", "metrics",
        "migration", "migration-cancel", "migration-check", "migration-resolve", "nmi", "pause", "ping",
        "power-button",
        "reboot", "receive-migration", "remove-device", "resize", "resize-disk", "resize-zone", "restore", "resume",
        "send-migration", "serial", "shutdown", "shutdown-vmm", "snapshot", "wait", "watch",
    ]
    private static let commands = ["run", "vmm", "ctl", "check", "snapshot", "doctor", "completions", "manual"]
    /// The verbs of `snapshot`.
    private static let snapshotVerbs = ["diff", "info", "merge", "verify"]

    private func swiftlet(_ arguments: String...) throws -> ProcessResult {
        try runProcess(Command(try Built.swiftlet(), arguments))
    }

    @Test func everyCommandHasAPage() throws {
        let scratch = try ScratchDirectory("manual")
        let made = try swiftlet("manual", scratch.path)
        #expect(made.succeeded && made.text.isEmpty && made.errors.isEmpty, "\(made)")
        let pages =
            ["swiftlet.1"] + Self.commands.map { "swiftlet-\($0).1" } + Self.verbs.map { "swiftlet-ctl-\($0).1" }
            + Self.snapshotVerbs.map { "swiftlet-snapshot-\($0).1" }
        #expect(try scratch.entries() == pages.sorted())
        let overview = String(decoding: try scratch.read("swiftlet.1"), as: UTF8.self)
        for command in Self.commands { #expect(overview.contains(".B \"\(command)\"\n"), "\(command)") }
        let vmm = String(decoding: try scratch.read("swiftlet-vmm.1"), as: UTF8.self)
        for option in ["api\\-socket", "kernel", "disk", "event\\-monitor"] {
            #expect(vmm.contains("\\fB\\-\\-\(option)\\fR"), "\(option)")
        }
        let ctl = String(decoding: try scratch.read("swiftlet-ctl.1"), as: UTF8.self)
        #expect(ctl.contains("124 the time of"))
    }

    @Test func roffFindsNothingWrong() throws {
        let scratch = try ScratchDirectory("manual")
        #expect(try swiftlet("manual", scratch.path).succeeded)
        // All warnings, on paper and, as man does it, on terminals; what is formatted goes nowhere.
        let script = """
            command -v groff >/dev/null || exit 99
            for page in *.1; do
                groff -man -z -ww "$page" || exit 1
                for columns in 60 78 118; do
                    groff -man -Tutf8 -Z -ww -rLL=${columns}n "$page" >/dev/null || exit 1
                done
            done
            """
        var command = Command("sh", ["-c", script])
        command.directory = scratch.path
        let result = try runProcess(command)
        try #require(result.ending != .exited(99), "groff is missing: install groff-base")
        #expect(result.succeeded && result.errors.isEmpty, "\(result)")
    }

    @Test func aPageReadsAsOne() throws {
        let scratch = try ScratchDirectory("manual")
        #expect(try swiftlet("manual", scratch.path).succeeded)
        let file = scratch.path("swiftlet-ctl-resize.1")
        let page = try runProcess(Command("groff", ["-man", "-Tascii", "-P-cbou", file]))
        // Lines are filled and set flush at both ends.
        let text = page.text.split { $0 == " " || $0 == "\n" }.joined(separator: " ")
        for part in ["NAME", "swiftlet-ctl-resize - Change the number of vCPUs", "[--balloon balloon]", "--api-socket"]
        {
            #expect(text.contains(part), "\(part) in \(text)")
        }
    }

    @Test func noDirectoryNoPages() throws {
        let result = try swiftlet("manual", "/nonexistent/manual")
        #expect(result.ending == .exited(65) && result.errors.contains("No such file or directory"), "\(result)")
    }

    @Test(arguments: ["bash", "zsh", "fish"]) func completionsKnowEveryVerb(_ shell: String) throws {
        let result = try swiftlet("completions", shell)
        #expect(result.succeeded && result.errors.isEmpty)
        for word in Self.verbs + Self.commands { #expect(result.text.contains(word), "\(word)") }
        #expect(result.text.contains("api-socket"))
        if shell == "bash" {
            let scratch = try ScratchDirectory("completions")
            let checked = try runProcess(Command("bash", ["-n", scratch.write("swiftlet", result.text)]))
            #expect(checked.succeeded && checked.errors.isEmpty, "\(checked)")
        }
    }

    /// What bash offers for a command line whose last word is being typed.
    private func offers(_ words: [String], _ scratch: ScratchDirectory) throws -> Set<String> {
        let script = """
            . ./swiftlet
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
            _swiftlet swiftlet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        var command = Command("bash", ["-c", script, "bash", "swiftlet"] + words)
        command.directory = scratch.path
        let result = try runProcess(command)
        #expect(result.succeeded && result.errors.isEmpty, "\(result)")
        return Set(result.text.split(separator: "\n").map(String.init))
    }

    @Test func bashCompletesTheOptionsOfTheDefaultCommand() throws {
        let scratch = try ScratchDirectory("completions")
        try scratch.write("swiftlet", swiftlet("completions", "bash").text)
        try scratch.write("vmlinux", "")
        #expect(try offers(["--ker"], scratch) == ["--kernel"])
        #expect(try offers(["vmm", "--ker"], scratch) == ["--kernel"])
        #expect(try offers(["--api-"], scratch) == ["--api-socket", "--api-group"])
        #expect(try offers(["--memory", "size=1G", "--kernel", "vmlin"], scratch) == ["vmlinux"])
        #expect(try offers(["--vers"], scratch) == ["--version"])
        // A subcommand has its own.
        #expect(try offers(["run", "--ker"], scratch).isEmpty)
        #expect(try offers(["ct"], scratch) == ["ctl"])
    }
}
