import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    /// Guests that go on in another process.
    @Suite struct Snapshot {
        @Test func countsOnOverThreeSnapshots() throws {
            try withGuest("snapshot") { scratch in
                var spec = try VMConfiguration(tests: "snapshot")
                spec.cpus = .init(bootVcpus: 2, maxVcpus: 2)
                spec.disks = [.init(path: try scratch.sparse("disk", bytes: 8 << 20))]
                let first = scratch.path("api0")
                var guest = try LinuxGuest(spec, in: scratch, options: ["--api-socket", first])
                var socket = first
                var output = ""
                for (round, tick) in [5, 12, 20].enumerated() {
                    try guest.expect("SWIFTLET: tick \(tick)")
                    let api = try GuestAPI(socket, by: guest.deadline)
                    let directory = scratch.path("snapshot\(round)")
                    #expect(try api.put("vm.pause").status == 204)
                    let taken = try api.put("vm.snapshot", "{\"destination_url\":\"file://\(directory)\"}")
                    try #require(taken.status == 204, "\(taken)")
                    guest.process.signal(SIGTERM)
                    let report = try guest.finish()
                    #expect(report.ending == .exited(128 + SIGTERM), "\(report)")
                    output += report.output
                    socket = scratch.path("api\(round + 1)")
                    guest = try LinuxGuest(restoring: directory, in: scratch, options: ["--api-socket", socket])
                }
                let last = try guest.finish()
                output += last.output
                let report = GuestReport(ending: last.ending, output: output, errors: last.errors)
                try #require(report.isClean, "\(report)")
                // Neither a gap nor a repeat.
                #expect(report.all("tick").map { Int($0) } == (1...40).map { $0 }, "\(report)")
                let date = try #require(report["date"].flatMap { Double($0) })
                #expect(abs(date - Date().timeIntervalSince1970) < 20, "\(report)")
                #expect(report["complaints"] == "0", "\(report)")
                #expect(report["generation-device"] == "\\_SB_.VGEN", "\(report)")
                #expect(Set(report.all("generation").filter { $0.hasPrefix("0x") }).count == 2, "\(report)")
            }
        }
    }
}
