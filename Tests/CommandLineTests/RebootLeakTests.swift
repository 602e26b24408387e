import Foundation
import TestSupport
import Testing

/// What a VM that reboots again and again holds on to, counted in its own process.
@Suite struct RebootLeakTests {
    private struct Held: Equatable {
        var descriptors = 0
        var threads = 0
    }

    @Test func holdsNoMoreAfterManyReboots() throws {
        let scratch = try ScratchDirectory("leak")
        let disk = try scratch.sparse("disk", bytes: 1 << 20)
        let spec = try scratch.write(
            "spec.json",
            """
            {"cpus": {"boot_vcpus": 2, "max_vcpus": 2}, "memory": {"size": 67108864},
             "disks": [{"path": "\(disk)", "image_type": "Raw"}],
             "serial": {"mode": "Null"}, "console": {"mode": "Null"}}
            """)
        let log = scratch.path("log")
        let child = try ChildProcess(
            Command(
                try Built.swiftlet(), ["run", spec, "-v", "--log-file", log, "--self-test", "mode=reset"]))
        defer { child.kill() }
        func reboots() -> Int {
            let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            return text.components(separatedBy: "the guest reboots").count - 1
        }
        let deadline = Deadline.seconds(60)
        try #require(deadline.wait { reboots() >= 10 }, "\(child.evidence)")
        let early = most(child, for: .milliseconds(500))
        let seen = reboots()
        try #require(deadline.wait { reboots() >= seen + 50 }, "\(child.evidence)")
        let late = most(child, for: .milliseconds(500))
        #expect(early.descriptors > 10 && early.threads >= 2, "\(early)")
        #expect(late.descriptors <= early.descriptors + 2, "\(early), then \(late)")
        #expect(late.threads <= early.threads + 1, "\(early), then \(late)")
    }

    /// The most that the process held at any look within a while: between two lives it holds less.
    private func most(_ child: ChildProcess, for duration: Duration) -> Held {
        var held = Held()
        _ = Deadline(after: duration).wait {
            let files = FileManager.default
            let descriptors = (try? files.contentsOfDirectory(atPath: "/proc/\(child.id)/fd").count) ?? 0
            let threads = (try? files.contentsOfDirectory(atPath: "/proc/\(child.id)/task").count) ?? 0
            held.descriptors = max(held.descriptors, descriptors)
            held.threads = max(held.threads, threads)
            return false
        }
        return held
    }
}
