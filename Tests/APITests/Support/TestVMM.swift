import Foundation
import Glibc
import TestSupport
import Testing

/// `swiftlet vmm` on a socket in a directory of its own, killed when it goes.
final class TestVMM: Sendable {
    let scratch: ScratchDirectory
    let child: ChildProcess
    /// The API's socket.
    let socket: String

    /// Starts it and waits until it listens.
    ///
    /// - Parameters:
    ///   - selfTest: what the self-test guest is to do; nothing gives no option.
    ///   - noShutdown: whether the process outlives its guest.
    init(selfTest: String? = "mode=hang", noShutdown: Bool = true, _ arguments: [String] = []) throws {
        scratch = try ScratchDirectory("api")
        socket = scratch.path("api.sock")
        var words = ["vmm", "--api-socket", socket, "-v", "--log-file", scratch.path("log")]
        if noShutdown { words.append("--no-shutdown") }
        if let selfTest { words += ["--self-test", selfTest] }
        child = try ChildProcess(Command(try Built.swiftlet(), words + arguments))
        try waitForSocket(by: .seconds(10))
    }

    deinit { child.kill() }

    private func waitForSocket(by deadline: Deadline) throws {
        let path = socket
        let listens = deadline.wait {
            if let connection = try? RawConnection(path), connection.isOpen { return true }
            return child.ending != nil
        }
        try #require(listens && child.ending == nil, "\(evidence)")
    }

    /// Its log so far.
    var log: String { (try? String(contentsOfFile: scratch.path("log"), encoding: .utf8)) ?? "" }

    /// What happened so far, for a failed expectation.
    var evidence: String {
        return "\(child.evidence)\n--- log (end) ---\n\(log.suffix(4000))"
    }

    // MARK: Requests

    /// One request by curl, on a connection of its own.
    func curl(_ method: String, _ name: String, _ body: String? = nil) throws -> APIReply {
        var words = ["-sS", "-i", "--max-time", "30", "--unix-socket", socket, "-X", method]
        if let body { words += ["-H", "Content-Type: application/json", "--data-binary", body] }
        let result = try runProcess(Command("curl", words + ["http://localhost/api/v1/\(name)"]))
        try #require(result.succeeded, "curl of \(name): \(result)\n\(evidence)")
        let parts = try #require(result.output.firstRange(of: Array("\r\n\r\n".utf8)), "\(result)")
        return APIReply(
            head: String(decoding: result.output[..<parts.lowerBound], as: UTF8.self),
            body: Array(result.output[parts.upperBound...]))
    }

    /// A request by curl that has to have this status.
    @discardableResult
    func expect(
        _ status: Int, _ method: String, _ name: String, _ body: String? = nil,
        at location: SourceLocation = #_sourceLocation
    ) throws -> APIReply {
        let reply = try curl(method, name, body)
        #expect(
            reply.status == status, "\(method) \(name): \(reply.line) \(reply.text)\n\(evidence)",
            sourceLocation: location)
        return reply
    }

    /// A PUT by curl that is done, with no more to tell.
    func put(_ name: String, _ body: String? = nil, at location: SourceLocation = #_sourceLocation) throws {
        let reply = try expect(204, "PUT", name, body, at: location)
        #expect(reply.body.isEmpty, sourceLocation: location)
    }

    /// The VM's state; nil without a VM.
    func state() throws -> String? { try curl("GET", "vm.info").json.state.string }

    // MARK: The guest and the process

    /// A small VM without a payload; the serial port writes to the file `serial`.
    func config(_ members: String = "") -> String {
        let rest = members.isEmpty ? "" : ",\(members)"
        return #"{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":33554432},"console":{"mode":"Off"},"#
            + #""serial":{"mode":"File","file":"\#(scratch.path("serial"))"}\#(rest)}"#
    }

    /// What the guest has written to its serial port so far.
    var serial: String { (try? String(contentsOfFile: scratch.path("serial"), encoding: .utf8)) ?? "" }

    /// Waits until the guest has written a text.
    func expectSerial(_ text: String, within limit: Duration = .seconds(20)) throws {
        let written = Deadline(after: limit).wait(every: .milliseconds(10)) { serial.contains(text) }
        try #require(written, "the guest did not write \"\(text)\", but:\n\(serial.suffix(2000))\n\(evidence)")
    }

    /// How many descriptors the process has.
    var descriptors: Int { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.id)/fd").count) ?? 0 }

    /// The fewest descriptors that the process has within a second, by which it has closed its answered connections.
    var descriptorsAtRest: Int {
        var fewest = descriptors
        _ = Deadline.seconds(1).wait(every: .milliseconds(10)) {
            fewest = min(fewest, descriptors)
            return false
        }
        return fewest
    }

    /// The names of the process's threads.
    var threads: [String] {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.id)/task")) ?? []
        return tasks.compactMap { task in
            (try? String(contentsOfFile: "/proc/\(child.id)/task/\(task)/comm", encoding: .utf8))?
                .trimmingCharacters(in: .newlines)
        }
    }

    /// Resident anonymous memory in KiB.
    var anonymousMemory: Int {
        let status = (try? String(contentsOfFile: "/proc/\(child.id)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") } ?? ""
        return line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0
    }
}
