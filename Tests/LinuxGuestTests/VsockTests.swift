import Foundation
import Host
import TestSupport
import Testing

extension LinuxGuests {
    /// Sockets between Linux's own driver and Unix sockets of the host.
    @Suite struct Vsock {
        private static let cid: UInt32 = 7
        /// How much goes each way.
        private static let mebibytes =
            ProcessInfo.processInfo.environment["SWIFTLET_VSOCK_MIB"].flatMap { Int($0) } ?? 16

        /// 200 streams from the host at once, 20 from the guest, and one that each side cuts.
        @Test func carriesManyStreamsAndTellsOfCuts() throws {
            try withGuest("vsock") { scratch in
                let socket = scratch.path("v")
                let listener = try UnixListener(path: socket + "_7000", backlog: 64)
                var spec = try VMConfiguration(tests: "vsock")
                spec.vsock = .init(cid: Self.cid, socket: socket)
                let guest = try LinuxGuest(spec, in: scratch)
                try guest.expect("SWIFTLET: vsock-ready")
                try echo(200, socket, guest)

                let reader = try HostEnd.dial(socket, 5002, by: guest.deadline)
                #expect(try reader.read(1 << 20, by: guest.deadline) == [UInt8](repeating: 0, count: 1 << 20))
                reader.shutDown()
                let cut = try HostEnd.dial(socket, 5003, by: guest.deadline)
                #expect(try cut.read(100, by: guest.deadline) == Array("here\n".utf8))

                var heard: Set<String> = []
                while heard.count < 20 {
                    let stream = try HostEnd.accept(listener, by: guest.deadline)
                    let line = String(decoding: try stream.readLine(by: guest.deadline), as: UTF8.self)
                    heard.insert(line)
                    try stream.write(
                        Array("\(line.split(separator: " ").last ?? "?") heard\n".utf8), by: guest.deadline)
                    #expect(try stream.read(1, by: guest.deadline) == [])
                }
                #expect(heard == Set((1...20).map { "stream \($0)" }))
                try guest.expect("SWIFTLET: vsock-answers")
                _ = try HostEnd.dial(socket, 5001, by: guest.deadline)
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                #expect(report["vsock-answers"] == (1...20).map { "\($0) heard" }.joined(separator: " "))
                #expect(report["vsock-unheard"] == "126")
                // Linux 6.1 only fails the write, later ones also send SIGPIPE.
                #expect(["1", "141"].contains(report["vsock-cut-by-host"]))
                #expect(report["vsock-cut-by-guest"] == "137")
                #expect(!FileManager.default.fileExists(atPath: socket))
            }
        }

        /// Opens streams to the guest's echo, all at once, and has each return bytes of its own.
        private func echo(_ count: Int, _ socket: String, _ guest: LinuxGuest) throws {
            let streams = try (0..<count).map { _ in try HostEnd.dial(socket, 5000, by: guest.deadline) }
            func bytes(_ index: Int) -> [UInt8] { (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ index) } }
            for (index, stream) in streams.enumerated() { try stream.write(bytes(index), by: guest.deadline) }
            for (index, stream) in streams.enumerated() {
                let answer = try stream.read(5000, by: guest.deadline)
                #expect(answer == bytes(index), "stream \(index): \(answer.count) bytes")
            }
            // The guest's cat ends with its input.
            for stream in streams { stream.endWriting() }
            for stream in streams { #expect(try stream.read(1, by: guest.deadline) == []) }
        }

        /// The same bytes on both sides, by their sums.
        @Test func movesMuchEachWay() throws {
            try withGuest("vsock-transfer") { scratch in
                let socket = scratch.path("v")
                let listener = try UnixListener(path: socket + "_7001")
                var spec = try VMConfiguration(tests: "vsock_transfer", words: "swiftlet.mib=\(Self.mebibytes)")
                spec.vsock = .init(cid: Self.cid, socket: socket)
                let guest = try LinuxGuest(spec, in: scratch)
                try guest.expect("SWIFTLET: vsock-ready")

                let part = (0..<1 << 20).map { UInt8(truncatingIfNeeded: ($0 &* 31) ^ ($0 >> 8)) }
                try scratch.write("part", part)
                let sum = try RunningSum(of: scratch.path("part"), times: Self.mebibytes)
                let down = try HostEnd.dial(socket, 5004, by: guest.deadline)
                let began = ContinuousClock.now
                for _ in 0..<Self.mebibytes { try down.write(part, by: guest.deadline) }
                down.endWriting()
                let answer = String(decoding: try down.readLine(by: guest.deadline), as: UTF8.self)
                tell("vsock: \(Self.mebibytes) MiB to the guest in \(ContinuousClock.now - began)")
                let expected = try sum.finish(by: guest.deadline)
                #expect(answer.prefix(32) == expected.prefix(32) && expected.utf8.count > 32)

                let up = try HostEnd.accept(listener, by: guest.deadline)
                let start = ContinuousClock.now
                // The guest sends one random MiB again and again: each has to be the first one, and that one has its sum.
                var (first, total): ([UInt8], Int) = ([], 0)
                while total < Self.mebibytes << 20 {
                    let block = try up.read(1 << 20, by: guest.deadline)
                    if first.isEmpty { first = block }
                    try #require(block.count == 1 << 20 && block == first, "after \(total) bytes")
                    total += block.count
                }
                #expect(try up.read(1, by: guest.deadline) == [])
                tell("vsock: \(total >> 20) MiB from the guest in \(ContinuousClock.now - start)")
                try guest.expect("SWIFTLET: vsock-sent")
                _ = try HostEnd.dial(socket, 5001, by: guest.deadline)
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                #expect(try report["vsock-sent"] == sha256(of: scratch.write("first", first)))
                for key in ["vsock-receive-from-to", "vsock-send-from-to"] { tell("\(key): \(report[key] ?? "?") s") }
            }
        }

        /// The streams of the first life end, and the same socket leads into the second.
        @Test func outlivesARebootUnderOpenStreams() throws {
            try withGuest("vsock-reboot") { scratch in
                let socket = scratch.path("v")
                var spec = try VMConfiguration(tests: "vsock_reboot")
                spec.vsock = .init(cid: Self.cid, socket: socket)
                spec.disks = [.init(path: try scratch.sparse("count", bytes: 1 << 20))]
                let guest = try LinuxGuest(spec, in: scratch)
                for life in 1...2 {
                    try guest.expect("SWIFTLET: vsock-ready")
                    let streams = try (0..<20).map { _ in try HostEnd.dial(socket, 5000, by: guest.deadline) }
                    for stream in streams {
                        try stream.write(Array("life \(life)\n".utf8), by: guest.deadline)
                        #expect(try stream.readLine(by: guest.deadline) == Array("life \(life)".utf8))
                    }
                    _ = try HostEnd.dial(socket, 5001, by: guest.deadline)
                    for stream in streams { #expect(try stream.read(1, by: guest.deadline) == []) }
                }
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                #expect(report.all("boot") == ["1", "2"])
                #expect(!FileManager.default.fileExists(atPath: socket))
            }
        }
    }
}

/// The MD5 sum of a file that is read so many times, made while something else goes on.
private struct RunningSum {
    private let child: ChildProcess

    init(of path: String, times: Int) throws {
        child = try ChildProcess(Command("sh", ["-c", "for i in $(seq \(times)); do cat \(path); done | md5sum"]))
        child.closeInput()
    }

    func finish(by deadline: Deadline) throws -> String {
        try #require(try child.waitForEnd(by: deadline) == .exited(0), "\(child.errors)")
        return child.output
    }
}

/// A program of the host at one end of a Unix socket; every wait has a deadline.
private final class HostEnd {
    private let file: FileDescriptor

    private init(_ file: consuming FileDescriptor) { self.file = file }

    /// Connects to a port of the guest, again and again until somebody listens there.
    static func dial(_ socket: String, _ port: Int, by deadline: Deadline) throws -> HostEnd {
        while true {
            let end = HostEnd(try UnixConnection.connect(socket))
            try end.write(Array("CONNECT \(port)\n".utf8), by: deadline)
            if String(decoding: try end.readLine(by: deadline), as: UTF8.self).hasPrefix("OK ") { return end }
            try check(deadline, "to be connected to port \(port)")
            sleepThread(.milliseconds(50))
        }
    }

    /// Takes a connection that the guest made.
    static func accept(_ listener: borrowing UnixListener, by deadline: Deadline) throws -> HostEnd {
        while true {
            if let client = listener.accept() { return HostEnd(client) }
            try check(deadline, "to be connected to")
            sleepThread(.milliseconds(5))
        }
    }

    private static func check(_ deadline: Deadline, _ what: String) throws {
        guard deadline.hasPassed else { return }
        throw ExpectationError(expected: what, evidence: "it did not happen in time", isTimeout: true)
    }

    func write(_ bytes: [UInt8], by deadline: Deadline) throws {
        var done = 0
        while done < bytes.count {
            var entries = [PollEntry(file.raw, forWriting: true)]
            PollEntry.wait(&entries, timeout: 100)
            if entries[0].isWritable { done += try file.write(bytes.span.extracting(done..<bytes.count)) }
            try Self.check(deadline, "to write")
        }
    }

    /// What comes next; nil at the end, however it came about.
    func readSome(_ limit: Int = 1 << 18, by deadline: Deadline) throws -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: limit)
        while true {
            var entries = [PollEntry(file.raw, forReading: true)]
            PollEntry.wait(&entries, timeout: 100)
            if entries[0].isReadable {
                var span = bytes.mutableSpan
                guard let count = try? file.read(into: &span), count > 0 else { return nil }
                return Array(bytes[..<count])
            }
            try Self.check(deadline, "to read")
        }
    }

    /// So many bytes, or what came before the end.
    func read(_ count: Int, by deadline: Deadline) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count, let more = try readSome(min(count - bytes.count, 1 << 18), by: deadline) {
            bytes += more
        }
        return bytes
    }

    /// A line without its end, or what came before the stream's end.
    func readLine(by deadline: Deadline) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let byte = try readSome(1, by: deadline) {
            if byte == [UInt8(ascii: "\n")] { break }
            bytes += byte
        }
        return bytes
    }

    func endWriting() { file.shutDown(.writing) }
    func shutDown() { file.shutDown(.both) }
}
