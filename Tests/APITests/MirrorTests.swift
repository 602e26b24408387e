import Foundation
import Glibc
import Host
import TestSupport
import Testing

/// Disks that come along with a VM that moves (`disks` `mirror`), under a guest that keeps a log on one of them.
@Suite(.serialized, .timeLimit(.minutes(15))) struct MirrorTests {
    /// As in the guest's `DiskLog`.
    private static let slots = 256, stride = 96

    /// Two processes that share nothing but a socket, and the files of each.
    struct Pair {
        let scratch: ScratchDirectory
        let socket: String
        private static let guest = "mode=disk-log seconds=600"

        init() throws {
            scratch = try ScratchDirectory("mirror")
            socket = scratch.path("move")
            for name in ["a", "b", "c"] {
                try FileManager.default.createDirectory(
                    atPath: scratch.path(name), withIntermediateDirectories: true)
            }
            // The guest's log in the first half, what nobody writes to in the second, holes between.
            try scratch.sparse("a/log", bytes: 48 << 20)
            try overwrite("a/log", at: 0, Array("SWIFTLET-SELFTEST".utf8))
            for place in [24 << 20, (30 << 20) + 4096, (48 << 20) - 512] {
                try overwrite("a/log", at: place, (0..<512).map { UInt8(truncatingIfNeeded: $0 ^ place >> 12) })
            }
            // Ends within a block.
            try scratch.write("a/data", (0..<((1 << 20) + 1536)).map { UInt8(truncatingIfNeeded: $0 >> 9) })
        }

        private func overwrite(_ name: String, at offset: Int, _ bytes: [UInt8]) throws {
            let file = try FileHandle(forWritingTo: URL(filePath: scratch.path(name)))
            try file.seek(toOffset: UInt64(offset))
            try file.write(contentsOf: Data(bytes))
            try file.close()
        }

        static func vmm() throws -> TestVMM { try TestVMM(selfTest: guest) }

        func config(_ serial: String, _ log: String = "") -> String {
            #"{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":33554432},"console":{"mode":"Off"},"#
                + #""serial":{"mode":"File","file":"\#(serial)"},"disks":["#
                + #"{"id":"log","path":"\#(scratch.path("a/log"))","image_type":"Raw"\#(log)},"#
                + #"{"id":"data","path":"\#(scratch.path("a/data"))","image_type":"Raw","readonly":true}]}"#
        }

        /// The paths of the disks in another directory, as `vm.receive-migration` takes them.
        func paths(_ directory: String) -> String {
            let disks = ["log", "data"].map { #"{"id":"\#($0)","path":"\#(scratch.path("\(directory)/\($0)"))"}"# }
            return "[" + disks.joined(separator: ",") + "]"
        }

        /// Has a process wait for a VM.
        func wait(_ vmm: TestVMM, _ disks: String) throws -> RawConnection {
            let connection = try RawConnection(vmm.socket)
            try connection.send(
                "PUT", "vm.receive-migration", #"{"receiver_url":"unix:\#(socket)","disks":\#(disks)}"#)
            #expect(
                Deadline.seconds(20).wait { (try? vmm.curl("GET", "vm.migration").json.state.string) == "waiting" })
            return connection
        }

        func target(_ options: String = "") -> String {
            #"{"destination_url":"unix:\#(socket)","disks":"mirror"\#(options)}"#
        }

        /// The numbers in the log, by place; 0 where there is none yet.
        func log(_ name: String) throws -> [UInt64] {
            let bytes = try scratch.read(name)
            return (0..<MirrorTests.slots).map { slot in
                let start = (1 + slot * MirrorTests.stride) * 512
                return (0..<8).reduce(0) { $0 | UInt64(bytes[start + $1]) << (8 * UInt64($1)) }
            }
        }

        /// The log's last number, where all those before it are there; nil where one is missing or wrong.
        func last(_ name: String) throws -> UInt64? {
            let log = try log(name)
            let last = log.max() ?? 0
            for (slot, number) in log.enumerated() {
                let behind =
                    (last % UInt64(MirrorTests.slots) + UInt64(MirrorTests.slots - slot)) % UInt64(MirrorTests.slots)
                if number != (last > behind ? last - behind : 0) { return nil }
            }
            return last
        }

        /// What nobody writes to.
        func rest(_ name: String) throws -> [UInt8] { Array(try scratch.read(name)[(14 << 20)...]) }

        func blocks(_ name: String) -> Int {
            var status = stat()
            // SAFETY: the call fills the local; the path's bytes live through it.
            return unsafe stat(scratch.path(name), &status) == 0 ? status.st_blocks : -1
        }
    }

    /// To another directory, and on to a third: the log neither gaps nor forks, and the source's image stays.
    @Test(arguments: ["", #","connections":4"#, #","bandwidth":33554432,"downtime_ms":50"#])
    func aDiskMovesAlong(_ options: String) throws {
        let pair = try Pair()
        let serial = pair.scratch.path("serial")
        let vmms = try [Pair.vmm(), Pair.vmm(), Pair.vmm()]
        // One of them past the host's page cache.
        try vmms[0].put("vm.create", pair.config(serial, options.contains("connections") ? #","direct":true"# : ""))
        try vmms[0].put("vm.boot")
        var before: UInt64 = 0
        for (turn, name) in ["a", "b", "c"].enumerated() {
            let vmm = vmms[turn]
            // More than once around.
            let wanted = before + 300
            let goesOn = Deadline.seconds(60).wait { ((try? pair.log("\(name)/log").max()) ?? 0) > wanted }
            try #require(goesOn, "\(vmm.evidence) \((try? String(contentsOfFile: serial, encoding: .utf8)) ?? "")")
            guard turn < 2 else { break }
            let next = ["b", "c"][turn]
            let receiver = try pair.wait(vmms[turn + 1], pair.paths(next))
            let check = try vmm.expect(200, "PUT", "vm.migration.check", pair.target()).json
            #expect(check.possible.value as? Bool == true, "\(check)")
            #expect(try pair.scratch.read("a/data").count > 0 && FileManager.default.contents(atPath: next) == nil)
            try vmm.expect(204, "PUT", "vm.send-migration", pair.target(options))
            #expect(try receiver.reply(by: .seconds(60)).status == 204, "\(vmms[turn + 1].evidence)")
            try vmms[turn + 1].put("vm.pause")
            let report = try vmm.expect(200, "GET", "vm.migration").json
            #expect((report.disk_bytes.int ?? 0) > 1 << 20 && (report.disk_sent_bytes.int ?? 0) > 1 << 20)
            #expect(report.disk_remaining_bytes.int == 0)
            print("downtime with {\(options)}: \(report.downtime_ms.int ?? -1) ms, \(report.round.int ?? 0) rounds")
            // The source's image is as it was at the commit; the destination's has that and what came since.
            let left = try #require(try pair.last("\(name)/log"), "the source's log gaps")
            let there = try #require(try pair.last("\(next)/log"), "the log gaps or forks")
            #expect(there >= left && left > before)
            before = there
            #expect(try pair.rest("\(name)/log") == pair.rest("\(next)/log"))
            #expect(try pair.scratch.read("a/data") == pair.scratch.read("\(next)/data"))
            let entries = try FileManager.default.contentsOfDirectory(atPath: pair.scratch.path(next)).sorted()
            #expect(entries == ["data", "log"])
            // Where nothing was there is nothing.
            #expect(pair.blocks("\(next)/log") < 30 << 11)
            let config = try vmms[turn + 1].expect(200, "GET", "vm.info").json.config
            #expect(config.disks[0].path.string == pair.scratch.path("\(next)/log"))
            try vmms[turn + 1].put("vm.resume")
        }
        try vmms[2].put("vm.pause")
        #expect(try pair.last("c/log") != nil)
        let text = try String(contentsOfFile: serial, encoding: .utf8)
        #expect(!text.contains("reads as") && !text.contains("failed"), "\(text.suffix(500))")
    }

    /// The bytes of a VM that stands still are the same to the last one.
    @Test func aPausedVMsDisksAreEqual() throws {
        let pair = try Pair()
        let (first, second) = (try Pair.vmm(), try Pair.vmm())
        try first.put("vm.create", pair.config(pair.scratch.path("serial")))
        try first.put("vm.boot")
        #expect(Deadline.seconds(60).wait { ((try? pair.log("a/log").max()) ?? 0) > 50 })
        try first.put("vm.pause")
        let receiver = try pair.wait(second, pair.paths("b"))
        try first.expect(204, "PUT", "vm.send-migration", pair.target())
        #expect(try receiver.reply(by: .seconds(60)).status == 204, "\(second.evidence)")
        #expect(try second.state() == "Paused")
        for name in ["log", "data"] {
            #expect(try pair.scratch.read("a/\(name)") == pair.scratch.read("b/\(name)"))
        }
        let before = try #require(try pair.last("b/log"))
        try second.put("vm.resume")
        #expect(Deadline.seconds(60).wait { ((try? pair.log("b/log").max()) ?? 0) > before + 50 })
    }

    /// Every reason is told, nothing is touched, and the guest goes on.
    @Test func whatIsInTheWayIsTold() throws {
        let pair = try Pair()
        let (first, second) = (try Pair.vmm(), try Pair.vmm())
        try first.put("vm.create", pair.config(pair.scratch.path("serial")))
        try first.put("vm.boot")
        func refusals(_ disks: String) throws -> String {
            let receiver = try pair.wait(second, disks)
            let check = try first.expect(200, "PUT", "vm.migration.check", pair.target()).json
            #expect(check.possible.value as? Bool == false)
            let refusal = try first.expect(500, "PUT", "vm.send-migration", pair.target()).text
            let reply = try receiver.reply(by: .seconds(60))
            #expect(reply.status >= 400, "\(reply.text)")
            for reason in check.value as? [String] ?? [] { #expect(refusal.contains(reason)) }
            #expect(try first.state() == "Running" && second.state() == nil)
            return refusal
        }
        // The same files, which the source has.
        let same = try refusals("[]")
        for name in ["a/log", "a/data"] {
            #expect(same.contains("\(pair.scratch.path(name)): exists already"), "\(same)")
        }
        try pair.scratch.write("b/log", "mine")
        let mixed = try refusals(
            #"[{"id":"log","path":"\#(pair.scratch.path("b/log"))"},"#
                + #"{"id":"data","path":"\#(pair.scratch.path("no/data"))"}]"#)
        #expect(mixed.contains("b/log: exists already") && mixed.contains("make its directory"), "\(mixed)")
        #expect(try pair.scratch.read("b/log") == Array("mine".utf8))
        let unknown = try refusals(#"[{"id":"other","path":"/tmp/x"}]"#)
        #expect(unknown.contains(#"other"#) && unknown.contains("is no disk"), "\(unknown)")
        let twice = try refusals(
            #"[{"id":"log","path":"\#(pair.scratch.path("c/x"))"},{"id":"data","path":"\#(pair.scratch.path("c/x"))"}]"#
        )
        #expect(twice.contains("is also the image of $.disks[0]"), "\(twice)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: pair.scratch.path("c")).isEmpty)
        let first400 = try first.expect(
            400, "PUT", "vm.send-migration", #"{"destination_url":"unix:/x","disks":"mirror","local":true}"#)
        #expect(first400.text.contains("$.disks"))
        let second400 = try second.expect(
            400, "PUT", "vm.receive-migration", #"{"receiver_url":"unix:/x","disks":[{"id":"a"}]}"#)
        #expect(second400.text.contains("path"))
    }

    /// A file system with too little room is told of before anything moves.
    @Test(.enabled(if: getuid() == 0, "needs root to make a small file system")) func aDestinationWithoutRoom() throws {
        let pair = try Pair()
        let place = pair.scratch.path("b")
        let mounted = try runProcess(Command("mount", ["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", place]))
        try #require(mounted.succeeded, "\(mounted)")
        defer { _ = try? runProcess(Command("umount", ["-l", place])) }
        let (first, second) = (try Pair.vmm(), try Pair.vmm())
        try first.put("vm.create", pair.config(pair.scratch.path("serial")))
        try first.put("vm.boot")
        let receiver = try pair.wait(second, pair.paths("b"))
        let check = try first.expect(200, "PUT", "vm.migration.check", pair.target()).json
        #expect(check.reasons.count == 1, "\(check)")
        let reason = try #require(check.reasons[0].string)
        #expect(reason.contains("the disks need ") && reason.contains("where 1048576 are free"), "\(reason)")
        #expect(try first.expect(500, "PUT", "vm.send-migration", pair.target()).text.contains("make room there"))
        #expect(try receiver.reply(by: .seconds(60)).status >= 400)
        #expect(try first.state() == "Running" && second.state() == nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: place).isEmpty)
    }

    /// What a destination that died leaves makes way for the next one; a cancelled migration leaves nothing.
    @Test func whatIsLeftMakesWay() throws {
        let pair = try Pair()
        let (first, second) = (try Pair.vmm(), try Pair.vmm())
        try first.put("vm.create", pair.config(pair.scratch.path("serial")))
        try first.put("vm.boot")
        let slow = #","bandwidth":1048576,"downtime_ms":1,"auto_converge":false"#
        func begin(_ vmm: TestVMM) throws -> (sender: RawConnection, receiver: RawConnection) {
            let receiver = try pair.wait(vmm, pair.paths("b"))
            let sender = try RawConnection(first.socket)
            try sender.send("PUT", "vm.send-migration", pair.target(slow))
            #expect(Deadline.seconds(20).wait { pair.blocks("b/data.swiftlet-incoming") >= 0 })
            return (sender, receiver)
        }
        var (sender, receiver) = try begin(second)
        try first.put("vm.migration.cancel")
        #expect(try sender.reply(by: .seconds(60)).text.contains("cancelled"))
        #expect(try receiver.reply(by: .seconds(60)).status == 500)
        #expect(try FileManager.default.contentsOfDirectory(atPath: pair.scratch.path("b")).isEmpty)
        (sender, receiver) = try begin(second)
        // What would change the machine's disks has to wait.
        let resize = try first.expect(500, "PUT", "vm.resize-disk", #"{"id":"log","desired_size":67108864}"#)
        #expect(resize.text.contains("vm.migration.cancel"))
        second.child.kill()
        #expect(try sender.reply(by: .seconds(60)).status == 500)
        #expect(pair.blocks("b/log.swiftlet-incoming") >= 0)
        #expect(try first.state() == "Running")
        let third = try Pair.vmm()
        let last = try pair.wait(third, pair.paths("b"))
        try first.expect(204, "PUT", "vm.send-migration", pair.target())
        #expect(try last.reply(by: .seconds(60)).status == 204, "\(third.evidence)")
        let entries = try FileManager.default.contentsOfDirectory(atPath: pair.scratch.path("b")).sorted()
        #expect(entries == ["data", "log"])
        try third.put("vm.pause")
        #expect(try pair.last("b/log") != nil)
        _ = receiver
    }

    /// The connection breaks at the commit: without it the destination drops the images, with it they are its own.
    @Test(arguments: [UInt8(13), 14]) func aLostAnswer(_ kind: UInt8) throws {
        let pair = try Pair()
        let (first, second) = (try Pair.vmm(), try Pair.vmm())
        try first.put("vm.create", pair.config(pair.scratch.path("serial")))
        try first.put("vm.boot")
        #expect(Deadline.seconds(60).wait { ((try? pair.log("a/log").max()) ?? 0) > 50 })
        let receiver = try pair.wait(second, pair.paths("b"))
        let line = try CuttingLine(pair.scratch.path("line"), to: pair.socket, at: kind)
        let target = #"{"destination_url":"unix:\#(pair.scratch.path("line"))","disks":"mirror"}"#
        let text = try first.expect(500, "PUT", "vm.send-migration", target).text
        _ = line
        #expect(text.contains("vm.migration.resolve"), "\(text)")
        #expect(try receiver.reply(by: .seconds(60)).status == (kind == 13 ? 500 : 204), "\(second.evidence)")
        let entries = try FileManager.default.contentsOfDirectory(atPath: pair.scratch.path("b")).sorted()
        #expect(entries == (kind == 13 ? [] : ["data", "log"]))
        let token = try #require(first.expect(200, "GET", "vm.migration").json.token.string)
        let action = kind == 13 ? "run-here" : "discard"
        try first.put("vm.migration.resolve", #"{"token":"\#(token)","action":"\#(action)"}"#)
        let (name, owner) = kind == 13 ? ("a/log", first) : ("b/log", second)
        let before = try pair.log(name).max() ?? 0
        #expect(Deadline.seconds(60).wait { ((try? pair.log(name).max()) ?? 0) > before + 50 })
        try owner.put("vm.pause")
        #expect(try pair.last(name) != nil, "the log gaps")
    }
}
