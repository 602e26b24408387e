import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    @Suite struct Migration {
        /// Back and forth between two hosts, each way of moving in turn: the client's connection stays, counters go on,
        /// hashes agree and the file system is clean.
        @Test func movesBackAndForthAtWork() throws {
            try withGuest("moves") { scratch in
                let guest = try MovingGuest(in: scratch)
                for number in 0..<guest.moves {
                    try guest.work()
                    let way = guest.ways[number % guest.ways.count]
                    let before = guest.client.longest
                    let outcome = try guest.move(way)
                    try guest.work()
                    let longest = guest.client.longest
                    tell(
                        "move \(number + 1), \(way.name): "
                            + (longest > before ? "the client waited \(longest) ms" : "no longer wait than before")
                            + "; \(outcome.report)")
                }
                try guest.finish()
            }
        }

        /// With memory in huge pages, whose pages come one by one or whole, and the vCPUs' own rings for what they write.
        @Test func movesWithHugePagesAndDirtyRings() throws {
            try withGuest("huge-moves") { scratch in
                // Source and destination have their memory at once.
                let reserved = try #require(HugePages(Int(2 * MovingGuest.memorySize >> 21)), "no huge pages to be had")
                var memory = VMConfiguration.Memory(size: 0)
                (memory.hugepages, memory.dirtyLog) = (true, "Ring")
                let guest = try MovingGuest(in: scratch, memory: memory)
                for way in [Way.plain, .postcopy, .connections, .local] {
                    try guest.work()
                    tell("huge pages, \(way.name): \(try guest.move(way).report)")
                }
                try guest.work()
                try guest.finish()
                withExtendedLifetime(reserved) {}
            }
        }

        /// A bad line: what is late, lost, twice, or out of order changes nothing but the time.
        @Test func movesOverABadLine() throws {
            try withGuest("bad-line") { scratch in
                let guest = try MovingGuest(in: scratch)
                for host in 0...1 {
                    try guest.hosts.impair(host, "delay 5ms 3ms loss 0.5% duplicate 0.5% reorder 10%")
                }
                for way in [Way.plain, Way(name: "4 connections", sending: #","connections":4"#)] {
                    try guest.work()
                    try guest.move(way)
                }
                try guest.work()
                for host in 0...1 { try guest.hosts.impair(host, nil) }
                try guest.finish()
            }
        }

        /// A cable that is pulled while memory goes over, and a firewall that resets the connection: the guest goes on
        /// where it was, the other side holds nothing, and the next attempt succeeds.
        @Test func aLostLineLeavesItWhereItWas() throws {
            try withGuest("lost-line") { scratch in
                let guest = try MovingGuest(in: scratch)
                let hosts = guest.hosts
                let rules = "inet lab input"
                try guest.work()
                let faults: [(name: String, make: () throws -> Void, mend: () throws -> Void)] = [
                    ("pulled", { try hosts.plug(1, false) }, { try hosts.plug(1, true) }),
                    (
                        "reset",
                        {
                            try hosts.run(on: 1, "nft add table inet lab")
                            try hosts.run(
                                on: 1, "nft add chain \(rules) { type filter hook input priority 0 ; }")
                            try hosts.run(
                                on: 1, "nft add rule \(rules) tcp dport 20000-21000 reject with tcp reset")
                        }, { try hosts.run(on: 1, "nft delete table inet lab") }
                    ),
                ]
                for fault in faults {
                    let slow = Way(
                        name: "slow", sending: #","bandwidth":2097152,"auto_converge":false,"connections":2"#)
                    let outcome = try guest.move(slow, arrives: false) { api in
                        let copies = try guest.deadline.wait(every: .milliseconds(50)) {
                            try api.get("vm.migration").body.contains(#""copying""#)
                        }
                        #expect(copies, "\(guest.evidence)")
                        sleepThread(.seconds(1))
                        try fault.make()
                    }
                    #expect(outcome.sent.status == 500, "\(fault.name): \(outcome)")
                    #expect(outcome.report.contains(#""returned""#), "\(fault.name): \(outcome)")
                    tell("\(fault.name): \(outcome.sent.body)")
                    try fault.mend()
                    try guest.work()
                }
                try guest.move()
                try guest.work()
                try guest.finish()
            }
        }

        /// A link that carries less than the guest writes: the guest stays when its time is up, is slowed until it can
        /// move, or moves however long it stands still, as the source was told.
        @Test(.enabled(if: MovingGuest.isLong, "takes minutes: set SWIFTLET_MOVES above the number of ways"))
        func aLinkThatIsTooSlow() throws {
            try withGuest("slow-link") { scratch in
                let guest = try MovingGuest(in: scratch)
                let link = #","bandwidth":4194304,"downtime_ms":100"#
                func number(_ key: String, _ report: String) -> Int? {
                    report.range(of: "\"\(key)\":").flatMap { Int(report[$0.upperBound...].prefix(while: \.isNumber)) }
                }
                try guest.work()
                let cancel = Way(name: "Cancel", sending: link + #","auto_converge":false,"timeout_s":1"#)
                let stayed = try guest.move(cancel, arrives: false)
                #expect(stayed.sent.status == 500 && stayed.sent.body.contains("(timeout_s)"), "\(stayed)")
                #expect(stayed.report.contains(#""returned""#), "\(stayed)")
                tell("Cancel: \(stayed.sent.body)")
                try guest.work()
                let slowed = Way(name: "slowed", sending: link)
                var throttles: [Int] = []
                let arrived = try guest.move(slowed) { api in
                    // It is over when its report is another one's, or none.
                    _ = guest.deadline.wait(every: .milliseconds(200)) {
                        guard let report = try? api.get("vm.migration").body, report.contains(#""copying""#) else {
                            return !throttles.isEmpty
                        }
                        throttles.append(number("throttle_percent", report) ?? 0)
                        return false
                    }
                }
                #expect(throttles.contains { $0 >= 20 }, "\(throttles) \(arrived)")
                tell("slowed by \(throttles.max() ?? 0) %: \(arrived.report)")
                try guest.work()
                let ignore = Way(
                    name: "Ignore",
                    sending: link + #","auto_converge":false,"timeout_s":1,"timeout_strategy":"Ignore""#)
                tell("Ignore: \(try guest.move(ignore).report)")
                try guest.work()
                try guest.finish()
            }
        }
    }
}
