import Foundation
import Host
import TestSupport
import Testing

/// Live migration over TCP with TLS: who is let in, and what the others are told.
@Suite(.serialized, .timeLimit(.minutes(5))) struct SecureMigrationTests {
    private let pair: MigrationTests.Pair
    private let directory: String

    init() throws {
        pair = try MigrationTests.Pair("secure")
        directory = try TLSFixtures.directory(pair.scratch)
    }

    /// A VMM that waits for a VM, and where.
    private func receive(
        _ vmm: TestVMM, _ options: String
    ) throws -> (receiver: MigrationTests.Receiver, url: String) {
        let receiver = try MigrationTests.Receiver(vmm, #"{"receiver_url":"tcp:127.0.0.1:0"\#(options)}"#)
        var url: String?
        #expect(
            Deadline.seconds(30).wait {
                guard let json = try? vmm.curl("GET", "vm.migration").json, json.state.string == "waiting",
                    json.over.value as? Bool == false
                else { return false }
                url = json.peer.string
                return url != nil
            })
        return (receiver, try #require(url))
    }

    private var tls: String { #","tls_dir":"\#(directory)""# }

    /// Back and forth: the count neither gaps nor repeats, and memory is what it was.
    @Test(arguments: ["", #","connections":8"#]) func aGuestMovesEncrypted(_ options: String) throws {
        var first = try pair.boot()
        var second = try TestVMM(selfTest: nil)
        for turn in 0..<4 {
            let (receiver, url) = try receive(second, tls)
            // By number and by name.
            let target = turn % 2 == 0 ? url : url.replacing("127.0.0.1", with: "localhost")
            let body = #"{"destination_url":"\#(target)"\#(options)\#(tls)}"#
            let check = try first.expect(200, "PUT", "vm.migration.check", body).json
            #expect(check.possible.value as? Bool == true)
            try first.expect(204, "PUT", "vm.send-migration", body)
            #expect(try receiver.reply().status == 204, "\(second.evidence)")
            #expect(try second.state() == "Running")
            pair.expectProgress("turn \(turn): \(second.evidence)")
            #expect(pair.count != nil, "the count has a gap or a repeat after turn \(turn)")
            swap(&first, &second)
        }
    }

    /// Memory that follows the guest comes encrypted too, also when it has to be sought again.
    @Test func memoryFollowsEncrypted() throws {
        var (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        let mode = #","memory_mode":"Postcopy""#
        for turn in 0..<2 {
            let (receiver, url) = try receive(second, mode + tls)
            let port = try #require(url.split(separator: ":").last.flatMap { UInt16($0) })
            let line = try Line(
                .tcp(host: "127.0.0.1", port: 0), to: .tcp(host: "127.0.0.1", port: port), .records)
            let sender = try RawConnection(first.socket)
            try sender.send(
                "PUT", "vm.send-migration",
                #"{"destination_url":"\#(line.address)","bandwidth":2097152\#(mode)\#(tls)}"#)
            #expect(
                Deadline.seconds(30).wait {
                    (try? first.curl("GET", "vm.migration").json.state.string) == "postcopy"
                }, "\(first.evidence)")
            if turn == 1 {
                for _ in 0..<2 {
                    sleepThread(.milliseconds(150))
                    line.cut()
                }
            }
            pair.expectProgress("turn \(turn): \(second.evidence)")
            #expect(try sender.reply(by: .seconds(60)).status == 204, "\(first.evidence)")
            #expect(try receiver.reply().status == 204, "\(second.evidence)")
            let there = try first.expect(200, "GET", "vm.migration").json
            #expect(there.state.string == "moved" && there.memory_mode.string == "Postcopy")
            #expect(there.remaining_bytes.int == 0)
            #expect(try second.state() == "Running" && first.state() == nil)
            // Each page once around: the guest compares what is in them.
            let before = pair.count ?? 0
            #expect(Deadline.seconds(30).wait { (pair.count ?? 0) > before + 2048 }, "\(second.evidence)")
            swap(&first, &second)
        }
    }

    /// Its disks come along encrypted, under the guest that writes to one.
    @Test(arguments: ["", #","connections":4"#]) func disksMoveEncrypted(_ options: String) throws {
        let disks = try MirrorTests.Pair()
        let (first, second) = (try MirrorTests.Pair.vmm(), try MirrorTests.Pair.vmm())
        try first.put("vm.create", disks.config(disks.scratch.path("serial")))
        try first.put("vm.boot")
        #expect(Deadline.seconds(60).wait { ((try? disks.log("a/log").max()) ?? 0) > 300 })
        let (receiver, url) = try receive(second, #","disks":\#(disks.paths("b"))\#(tls)"#)
        let body = #"{"destination_url":"\#(url)","disks":"mirror"\#(options)\#(tls)}"#
        #expect(try first.expect(200, "PUT", "vm.migration.check", body).json.possible.value as? Bool == true)
        try first.expect(204, "PUT", "vm.send-migration", body)
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        // It goes on with its log before it is looked at.
        let moved = try disks.log("b/log").max() ?? 0
        #expect(Deadline.seconds(60).wait { ((try? disks.log("b/log").max()) ?? 0) > moved + 50 })
        try second.put("vm.pause")
        let left = try #require(try disks.last("a/log"), "the source's log gaps")
        let there = try #require(try disks.last("b/log"), "the log gaps or forks")
        #expect(there > left && left > 300)
        #expect(try disks.rest("a/log") == disks.rest("b/log"))
        #expect(try disks.scratch.read("a/data") == disks.scratch.read("b/data"))
    }

    /// Whoever is not let in is told why, the guest goes on, and the destination waits for the one that it wants.
    @Test func strangersAreTurnedAway() throws {
        let (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        let (receiver, url) = try receive(second, tls)
        func refusal(_ options: String, to url: String, _ words: String) throws {
            let text = try first.expect(
                500, "PUT", "vm.send-migration", #"{"destination_url":"\#(url)"\#(options)}"#
            ).text
            #expect(text.contains(words), "\(text)")
            #expect(try first.state() == "Running")
            pair.expectProgress(first.evidence)
        }
        func directory(_ name: String, _ changes: [String: String?]) throws -> String {
            #","tls_dir":"\#(try TLSFixtures.directory(pair.scratch, name, changes))""#
        }
        // One that does not encrypt, one that the destination does not know, and one that does not know the destination.
        try refusal("", to: url, "the peer speaks no TLS")
        try refusal(
            directory(
                "unknown", ["client-cert.pem": TLSFixtures.otherClient, "client-key.pem": TLSFixtures.otherKey]),
            to: url, "unknown/client-cert.pem")
        try refusal(
            directory("suspicious", ["ca-cert.pem": TLSFixtures.otherAuthority]), to: url, "suspicious/ca-cert.pem")
        // What talks to it without being any source.
        let port = try #require(url.split(separator: ":").last.flatMap { UInt16($0) })
        for text in ["GET / HTTP/1.1\r\n\r\n", "", String(repeating: "\u{16}", count: 5000)] {
            let stranger = try StreamConnection.connect(
                .tcp(host: "127.0.0.1", port: port), within: 10_000, heeding: nil)
            try? stranger.send(Array(text.utf8), within: 5000)
            stranger.drain(milliseconds: 50)
        }
        #expect(second.evidence.contains("turned away"), "\(second.evidence)")
        #expect(try second.curl("GET", "vm.migration").json.state.string == "waiting")
        try first.expect(204, "PUT", "vm.send-migration", #"{"destination_url":"\#(url)"\#(tls)}"#)
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        pair.expectProgress(second.evidence)
        #expect(pair.count != nil)
    }

    /// An encrypted source and a destination that is not.
    @Test func aDestinationWithoutTLSIsToldApart() throws {
        let (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        let (receiver, url) = try receive(second, "")
        let text = try first.expect(
            500, "PUT", "vm.send-migration", #"{"destination_url":"\#(url)"\#(tls)}"#
        ).text
        #expect(text.contains("the peer speaks no TLS"), "\(text)")
        pair.expectProgress(first.evidence)
        try first.expect(204, "PUT", "vm.send-migration", #"{"destination_url":"\#(url)"}"#)
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        pair.expectProgress(second.evidence)
        #expect(pair.count != nil)
    }

    @Test func whatIsWrongWithTheDirectoryIsSaid() throws {
        let vmm = try pair.boot()
        func refusal(_ name: String, _ body: String, _ status: Int) throws -> String {
            try vmm.expect(status, "PUT", name, body).text
        }
        let send = #""destination_url":"tcp:127.0.0.1:9""#
        let nowhere = try refusal("vm.send-migration", #"{\#(send),"tls_dir":"/nowhere/at/all"}"#, 500)
        #expect(nowhere.contains("$.tls_dir") && nowhere.contains("/nowhere/at/all"), "\(nowhere)")
        let half = try TLSFixtures.directory(
            pair.scratch, "half", ["client-key.pem": nil, "server-key.pem": "rubbish"])
        #expect(
            try refusal("vm.send-migration", #"{\#(send),"tls_dir":"\#(half)"}"#, 500).contains(
                "\(half)/client-key.pem"))
        #expect(try refusal("vm.migration.check", #"{\#(send),"tls_dir":"\#(half)"}"#, 500).contains("client-key.pem"))
        let spare = try TestVMM(selfTest: nil)
        let receiving = try spare.expect(
            500, "PUT", "vm.receive-migration", #"{"receiver_url":"tcp:127.0.0.1:0","tls_dir":"\#(half)"}"#
        ).text
        #expect(receiving.contains("\(half)/server-key.pem: has no private key"), "\(receiving)")
        // A Unix socket does not leave the host.
        for (name, field) in [("vm.send-migration", "destination_url"), ("vm.receive-migration", "receiver_url")] {
            let text = try refusal(name, #"{"\#(field)":"unix:/x","tls_dir":"\#(half)"}"#, 400)
            #expect(text.contains("$.tls_dir") && text.contains("tcp:HOST:PORT"), "\(text)")
            #expect(try refusal(name, #"{"\#(field)":"tcp:1.2.3.4:5","tls_dir":7}"#, 400).contains("$.tls_dir"))
            #expect(try refusal(name, #"{"\#(field)":"tcp:1.2.3.4:5","tls_dir":""}"#, 400).contains("$.tls_dir"))
        }
        pair.expectProgress(vmm.evidence)
    }
}
