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

        /// How a tap was made, and what the guest is offered on it.
        struct Wire: Sendable, CustomTestStringConvertible {
            let name: String
            let options: [String]
            let queues: Int
            /// Whether segments and checksums are left to the other side.
            let offloads: Bool
            var mtu: Int?
            /// What goes each way.
            var mebibytes = 8

            var testDescription: String { name }
        }

        /// Streams each way over a tap that was there before, and that stays. What is left unsegmented crosses the tap in
        /// packets of many segments; the MTU bounds the others.
        @Test(arguments: [
            Wire(name: "offloads", options: ["vnet_hdr"], queues: 2, offloads: true, mebibytes: 32),
            Wire(name: "two pairs of queues, no offloads", options: ["multi_queue"], queues: 4, offloads: false),
            Wire(name: "offloads, MTU 9000", options: [], queues: 2, offloads: true, mtu: 9000),
        ])
        func movesMegabytesEachWayOverATapOfTheHost(_ wire: Wire) throws {
            try withGuest("tcp") { scratch in
                let tap = "swx\(getpid())"
                try ip(["tuntap", "add", "dev", tap, "mode", "tap"] + wire.options)
                defer { try? ip(["link", "delete", tap]) }
                try ip(["address", "add", "192.168.252.1/24", "dev", tap])
                try ip(["link", "set", tap, "up"])

                let bytes = wire.mebibytes << 20
                let sent = scratch.path("sent")
                let made = try runProcess(shell("head -c \(bytes) /dev/urandom >\(sent)"))
                try #require(made.succeeded, "\(made)")
                let kept = scratch.path("kept")
                let port = 20_000 + 2 * (Int(getpid()) % 5_000)
                let sender = try ChildProcess(shell("exec busybox nc -l -p \(port) <\(sent)"))
                // Its own input stays open: at its end busybox nc would shut the connection down.
                let keeper = try ChildProcess(shell("exec busybox nc -l -p \(port + 1) >\(kept)"))

                var spec = try VMConfiguration(
                    tests: "tcp", "netqueues", words: "swiftlet.ip=192.168.252.2/24", "swiftlet.peer=192.168.252.1",
                    "swiftlet.port=\(port)", "swiftlet.mib=\(wire.mebibytes)")
                spec.cpus = .init(bootVcpus: 2, maxVcpus: 2)
                spec.net = [.init(tap: tap, mtu: wire.mtu, numQueues: wire.queues)]
                if !wire.offloads {
                    spec.net?[0].offloadTso = false
                    spec.net?[0].offloadUfo = false
                    spec.net?[0].offloadCsum = false
                }
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                for end in [sender, keeper] {
                    _ = Deadline.seconds(20).wait { end.ending != nil }
                    #expect(end.ending == .exited(0), "\(end.evidence)")
                }
                #expect(try report["tcp-received"] == "\(bytes) \(sha256(of: sent))")
                #expect(try report["tcp-sent"] == "\(bytes) \(sha256(of: kept))")
                for key in ["tcp-receive-from-to", "tcp-send-from-to"] { tell("\(key): \(report[key] ?? "?") s") }
                let names = ["rx", "tx"].map { way in (0..<wire.queues / 2).map { "\(way)-\($0)" } }.joined()
                #expect(report["netqueues"] == names.joined(separator: " "))
                let sizes = try (fromGuest: packetSize(tap, "rx"), toGuest: packetSize(tap, "tx"))
                tell("\(wire.name): \(sizes.fromGuest) bytes a packet from the guest, \(sizes.toGuest) to it")
                if wire.offloads {
                    #expect(sizes.fromGuest > 3000 && sizes.toGuest > 3000)
                } else {
                    #expect((500...1514).contains(sizes.fromGuest) && (500...1514).contains(sizes.toGuest))
                }
            }
        }

        /// The mean packet that crossed an interface, acknowledgements included, in bytes.
        private func packetSize(_ interface: String, _ way: String) throws -> Int {
            func count(_ what: String) throws -> Int {
                let path = "/sys/class/net/\(interface)/statistics/\(way)_\(what)"
                let text = try String(contentsOfFile: path, encoding: .utf8)
                return try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
            }
            return try count("bytes") / max(count("packets"), 1)
        }

        private func ip(_ words: [String]) throws {
            let result = try runProcess(Command("ip", words))
            try #require(result.succeeded, "ip \(words.joined(separator: " ")): \(result)")
        }

        private func shell(_ line: String) -> Command { Command("sh", ["-c", line]) }
    }
}
