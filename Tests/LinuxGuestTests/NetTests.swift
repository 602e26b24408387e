import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    @Suite struct Net {
        /// A tap that swiftlet makes, with the host's address, and takes away again.
        @Test func pingsTheHostOverATapOfItsOwn() throws {
            try withGuest("net") { scratch in
                let tap = "swl\(getpid())"
                var spec = try VMConfiguration(
                    tests: "net", words: "swiftlet.ip=192.168.251.2/24", "swiftlet.peer=192.168.251.1")
                spec.net = [
                    .init(
                        tap: tap, ip: "192.168.251.1", mask: "255.255.255.0", mac: "52:54:00:5a:1e:07", mtu: 1400)
                ]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                #expect(report["net-mac"] == "52:54:00:5a:1e:07")
                #expect(report["net-mtu"] == "1400")
                #expect(report["net-ping"] == "ok", "\(report)")
                #expect(report.all("net-detail").first == "3 packets transmitted, 3 packets received, 0% packet loss")
                #expect(!FileManager.default.fileExists(atPath: "/sys/class/net/\(tap)"))
            }
        }

        /// 32 MB each way over a tap that was there before, and that stays.
        @Test func movesThirtyTwoMegabytesEachWayOverATapOfTheHost() throws {
            try withGuest("tcp") { scratch in
                let tap = "swx\(getpid())"
                try ip("tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr")
                defer { try? ip("link", "delete", tap) }
                try ip("address", "add", "192.168.252.1/24", "dev", tap)
                try ip("link", "set", tap, "up")

                let sent = scratch.path("sent")
                let made = try runProcess(shell("head -c 33554432 /dev/urandom >\(sent)"))
                try #require(made.succeeded, "\(made)")
                let kept = scratch.path("kept")
                let port = 20_000 + 2 * (Int(getpid()) % 5_000)
                let sender = try ChildProcess(shell("exec busybox nc -l -p \(port) <\(sent)"))
                // Its own input stays open: at its end busybox nc would shut the connection down.
                let keeper = try ChildProcess(shell("exec busybox nc -l -p \(port + 1) >\(kept)"))

                var spec = try VMConfiguration(
                    tests: "tcp", words: "swiftlet.ip=192.168.252.2/24", "swiftlet.peer=192.168.252.1",
                    "swiftlet.port=\(port)")
                spec.cpus = .init(bootVcpus: 2, maxVcpus: 2)
                spec.net = [.init(tap: tap)]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                for end in [sender, keeper] {
                    _ = Deadline.seconds(20).wait { end.ending != nil }
                    #expect(end.ending == .exited(0), "\(end.evidence)")
                }
                #expect(try report["tcp-received"] == "33554432 \(sha256(of: sent))")
                #expect(try report["tcp-sent"] == "33554432 \(sha256(of: kept))")
                for key in ["tcp-receive-from-to", "tcp-send-from-to"] { tell("\(key): \(report[key] ?? "?") s") }
                #expect(FileManager.default.fileExists(atPath: "/sys/class/net/\(tap)"))
            }
        }

        private func ip(_ words: String...) throws {
            let result = try runProcess(Command("ip", words))
            try #require(result.succeeded, "ip \(words.joined(separator: " ")): \(result)")
        }

        private func shell(_ line: String) -> Command { Command("sh", ["-c", line]) }
    }
}
