import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    /// The modes of the serial port and the console, two in one guest.
    @Suite struct Terminals {
        @Test func serialOnPipesAndConsoleInAFile() throws {
            try withGuest("tty-file") { scratch in
                let spec = try configuration(serial: .tty, console: .file(scratch.path("out")), reads: "ttyS0")
                let guest = try LinuxGuest(spec, in: scratch)
                try guest.expect("SWIFTLET: asking on ttyS0")
                try guest.process.write("a line for the guest\n")
                try guest.expect("SWIFTLET: heard a line for the guest on ttyS0")
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                #expect(report.all("has") == ["ttyS0 yes", "hvc0 yes"])
                #expect(try text(scratch, "out").contains("SWIFTLET: speaking on hvc0"))
            }
        }

        @Test func serialInAFileAndConsoleOnPipes() throws {
            try withGuest("file-tty") { scratch in
                let spec = try configuration(serial: .file(scratch.path("out")), console: .tty, reads: "hvc0")
                let guest = try LinuxGuest(spec, in: scratch)
                try guest.expect("SWIFTLET: asking on hvc0")
                try guest.process.write("a line for the guest\n")
                try guest.expect("SWIFTLET: heard a line for the guest on hvc0")
                let report = try guest.finish()
                try #require(report.ending == .exited(0), "\(report)")
                let serial = try text(scratch, "out")
                #expect(serial.contains("SWIFTLET: speaking on ttyS0"))
                #expect(serial.contains("SWIFTLET: done"))
                #expect(GuestReport.lines(in: serial).contains { $0 == ("heard", "hvc0 a line for the guest") })
            }
        }

        @Test func serialOnAPseudoTerminalAndConsoleOnASocket() throws {
            try withGuest("pty-socket") { scratch in
                let socket = scratch.path("socket")
                let spec = try configuration(serial: .pty, console: .socket(socket), reads: "ttyS0", "hvc0")
                let guest = try LinuxGuest(spec, in: scratch)
                let serial = try Conversation.open(terminal: try terminal(of: guest))
                let console = try Conversation.connect(socket: socket, by: guest.deadline)
                try converse(with: serial, as: "ttyS0", guest)
                try converse(with: console, as: "hvc0", guest)
                let report = try guest.finish()
                try #require(report.ending == .exited(0), "\(report)")
                #expect(!FileManager.default.fileExists(atPath: socket), "the socket is left behind")
            }
        }

        @Test func serialOnASocketAndConsoleOnAPseudoTerminal() throws {
            try withGuest("socket-pty") { scratch in
                let socket = scratch.path("socket")
                let spec = try configuration(serial: .socket(socket), console: .pty, reads: "ttyS0", "hvc0")
                let guest = try LinuxGuest(spec, in: scratch)
                let console = try Conversation.open(terminal: try terminal(of: guest))
                let serial = try Conversation.connect(socket: socket, by: guest.deadline)
                try converse(with: serial, as: "ttyS0", guest)
                try converse(with: console, as: "hvc0", guest)
                let report = try guest.finish()
                try #require(report.ending == .exited(0), "\(report)")
            }
        }

        /// Off: no port. Null: a port whose output goes nowhere. The guest tells on a disk what it found.
        @Test(arguments: [(serial: "Off", console: "Null"), (serial: "Null", console: "Off")])
        func offAndNull(serial: String, console: String) throws {
            try withGuest("off-null") { scratch in
                var spec = try configuration(serial: .init(mode: serial), console: .init(mode: console))
                spec.payload.cmdline += " swiftlet.result=vda"
                spec.disks = [.init(path: try scratch.sparse("result", bytes: 1 << 20))]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.ending == .exited(0), "\(report)")
                #expect(report.output.isEmpty, "nothing is connected to standard output: \(report)")
                let result = String(decoding: try scratch.read("result").prefix { $0 != 0 }, as: UTF8.self)
                let found = GuestReport.lines(in: result)
                let expected = ["ttyS0 \(serial == "Null" ? "yes" : "no")", "hvc0 \(console == "Null" ? "yes" : "no")"]
                #expect(found.filter { $0.key == "has" }.map(\.value) == expected)
                #expect(found.contains { $0.key == "done" })
            }
        }

        /// The terminal around `swiftlet` changes its size, as a window does.
        @Test func theConsoleFollowsTheTerminalsSize() throws {
            try withGuest("resize") { scratch in
                var spec = try VMConfiguration(tests: "resize")
                (spec.serial, spec.console) = (.file(scratch.path("out")), .tty)
                let guest = try LinuxGuest(spec, in: scratch, .terminal)
                try guest.process.resize(columns: 91, rows: 33)
                func result(_ key: String) throws -> String? {
                    GuestReport.lines(in: (try? text(scratch, "out")) ?? "").first { $0.key == key }?.value
                }
                _ = guest.deadline.wait(every: .milliseconds(50)) {
                    (try? result("resize-before")) != nil || guest.process.ending != nil
                }
                #expect(try result("resize-before") == "33 91", "\(guest.process.evidence)")
                try guest.process.resize(columns: 132, rows: 43)
                let report = try guest.finish()
                try #require(report.ending == .exited(0), "\(report)")
                #expect(try result("resize-after") == "43 132")
            }
        }

        private func configuration(
            serial: VMConfiguration.Port, console: VMConfiguration.Port, reads: String...
        ) throws -> VMConfiguration {
            var spec = try VMConfiguration(
                tests: "terminals", words: "swiftlet.read=\(reads.joined(separator: ","))")
            (spec.serial, spec.console) = (serial, console)
            return spec
        }

        /// The path of the one pseudo-terminal that the VMM makes.
        private func terminal(of guest: LinuxGuest) throws -> String {
            var found: [String] = []
            _ = guest.deadline.wait(every: .milliseconds(10)) {
                found = terminals(heldBy: guest.process.id)
                return !found.isEmpty || guest.process.ending != nil
            }
            return try #require(found.first, "no pseudo-terminal: \(guest.process.evidence)")
        }

        private func converse(with other: Conversation, as name: String, _ guest: LinuxGuest) throws {
            try other.expect("SWIFTLET: asking on \(name)", by: guest.deadline)
            try other.write("words for \(name)\n")
            try other.expect("SWIFTLET: heard words for \(name) on \(name)", by: guest.deadline)
        }

        private func text(_ scratch: ScratchDirectory, _ name: String) throws -> String {
            String(decoding: try scratch.read(name), as: UTF8.self)
        }
    }
}
