import Foundation
import Glibc
import Host
import TestSupport
import Testing

/// Live migration by curl: a VM moves between processes while its guest counts.
@Suite(.serialized, .timeLimit(.minutes(15))) struct MigrationTests {
    /// Back and forth, with disk and vsock at the same paths: the count neither gaps nor repeats, and memory is what it was.
    @Test(arguments: [
        ("", "Bitmap"), (#","connections":4"#, "Bitmap"), (#","bandwidth":67108864,"downtime_ms":50"#, "Bitmap"),
        (#","local":true"#, "Bitmap"), (#","memory_mode":"Postcopy""#, "Bitmap"),
        (#","connections":4"#, "Ring"), (#","local":true"#, "Ring"), (#","memory_mode":"Postcopy""#, "Ring"),
    ])
    func aGuestMovesBackAndForth(_ options: String, log: String) throws {
        let pair = try Pair("migration")
        let disk = try pair.scratch.sparse("disk", bytes: 1 << 20)
        let memory = #""size":33554432,"dirty_log":"\#(log)","shared":\#(options.contains("local"))"#
        let more =
            #","disks":[{"path":"\#(disk)","image_type":"Raw"}],"vsock":{"cid":5,"socket":"\#(pair.scratch.path("vsock"))"}"#
        var first = try TestVMM(selfTest: nil)
        var second = try TestVMM(selfTest: nil)
        try first.put("vm.create", pair.config(memory, more))
        try first.put("vm.boot")
        var times: [Int] = []
        let standsBy = "the machine stands by"
        for turn in 0..<6 {
            let before = second.log.ranges(of: standsBy).count
            pair.expectProgress(first.evidence)
            try pair.move(first, second, options)
            #expect(try second.state() == "Running", "\(second.evidence)")
            #expect(try first.state() == nil && !first.threads.contains("vcpu0"))
            let there = try first.expect(200, "GET", "vm.migration").json
            #expect(there.state.string == "moved" && there.owner.string == "destination")
            times.append(there.downtime_ms.int ?? -1)
            // It was made while the guest still ran here.
            #expect(second.log.ranges(of: standsBy).count == before + 1 && !second.log.contains("no use"))
            let here = try second.expect(200, "GET", "vm.migration").json
            #expect(here.token.string == there.token.string && here.owner.string == "destination")
            pair.expectProgress("turn \(turn): \(second.evidence)")
            #expect(pair.count != nil, "the count has a gap or a repeat after turn \(turn)")
            swap(&first, &second)
        }
        print("downtimes in ms with {\(options)}, \(log): \(times)")
        #expect(times.allSatisfy { $0 >= 0 && $0 < 3000 })
        // A migrated guest may be paused, resumed and deleted like any other.
        try first.put("vm.pause")
        try first.put("vm.resume")
        try first.put("vm.delete")
        #expect(pair.count != nil)
    }

    /// Memory in huge pages is there once at either end, and no page more is asked for.
    @Test(
        .enabled(if: HugePages.areAvailable, "this user may not reserve huge pages (/proc/sys/vm/nr_hugepages)"),
        arguments: ["", #","memory_mode":"Postcopy""#, #","local":true"#])
    func aGuestInHugePagesMoves(_ options: String) throws {
        let pair = try Pair("huge")
        let isLocal = options.contains("local")
        let reserved = try #require(HugePages(isLocal ? 16 : 32))
        var (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put(
            "vm.create", pair.config(#""size":33554432,"hugepages":true,"shared":\#(isLocal),"dirty_log":"Ring""#))
        try first.put("vm.boot")
        for _ in 0..<2 {
            pair.expectProgress(first.evidence)
            try pair.move(first, second, options)
            pair.expectProgress(second.evidence)
            swap(&first, &second)
        }
        #expect(pair.count != nil)
        withExtendedLifetime(reserved) {}
    }

    /// Where somebody would notice a machine that is made ahead, it is made when its state is there.
    @Test func whatIsNoticedIsMadeLate() throws {
        let pair = try Pair("late")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let receiver = try pair.receiver(second)
        try FileManager.default.removeItem(atPath: pair.serial)
        try first.put("vm.send-migration", #"{"destination_url":"unix:\#(pair.socket)"}"#)
        #expect(try receiver.reply().status == 204)
        #expect(try second.state() == "Running")
        #expect(second.log.contains("is not made ahead") && !second.log.contains("stands by"))
        let writes = Deadline.seconds(10).wait { (FileManager.default.contents(atPath: pair.serial)?.count ?? 0) > 100 }
        #expect(writes, "\(second.evidence)")
    }

    @Test func aPausedVMStaysPaused() throws {
        let pair = try Pair("paused")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        try first.put("vm.pause")
        try pair.move(first, second)
        #expect(try second.state() == "Paused")
        let before = pair.count
        try second.put("vm.resume")
        pair.expectProgress(second.evidence)
        #expect(pair.count != nil && before != nil)
    }

    /// A destination that cannot have what the machine needs: it says so, and the guest goes on here.
    @Test func whatCannotBeHadThereLeavesTheGuestHere() throws {
        let pair = try Pair("refused")
        let disk = try pair.scratch.sparse("disk", bytes: 1 << 20)
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put(
            "vm.create", pair.config(#""size":33554432"#, #","disks":[{"path":"\#(disk)","image_type":"Raw"}]"#))
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let receiver = try pair.receiver(second)
        // What a check says, nothing moving.
        let target = #"{"destination_url":"unix:\#(pair.socket)"}"#
        let good = try first.expect(200, "PUT", "vm.migration.check", target).json
        #expect(good.possible.value as? Bool == true && good.reasons.count == 0)
        try FileManager.default.moveItem(atPath: disk, toPath: disk + ".away")
        let bad = try first.expect(200, "PUT", "vm.migration.check", target).json
        #expect(bad.possible.value as? Bool == false && bad.reasons[0].string?.contains(disk) == true)
        // Another image in its place.
        try pair.scratch.sparse("disk", bytes: 2 << 20)
        let other = try first.expect(200, "PUT", "vm.migration.check", target).json
        #expect(other.reasons[0].string?.contains("has 2097152 bytes here") == true, "\(other)")
        try FileManager.default.removeItem(atPath: disk)
        let refusal = try first.expect(500, "PUT", "vm.send-migration", target)
        #expect(refusal.text.contains(disk), "\(refusal.text)")
        #expect(try receiver.reply().text.contains(disk))
        #expect(try first.state() == "Running" && second.state() == nil)
        pair.expectProgress(first.evidence)
        #expect(try first.curl("GET", "vm.migration").json.state.string == "returned")

        // The image is back.
        try FileManager.default.moveItem(atPath: disk + ".away", toPath: disk)
        try pair.move(first, second)
        pair.expectProgress(second.evidence)
        #expect(pair.count != nil)
    }

    @Test func itCanBeCalledOff() throws {
        let pair = try Pair("cancel")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        #expect(try first.curl("PUT", "vm.migration.cancel").status == 404)
        #expect(try first.curl("GET", "vm.migration").status == 404)
        // A receiver that nobody comes to.
        let idle = try pair.receiver(second)
        #expect(try second.curl("PUT", "vm.create", pair.config()).status == 500)
        try second.put("vm.migration.cancel")
        #expect(try idle.reply().text.contains("cancelled"))

        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let receiver = try pair.receiver(second)
        let sender = try RawConnection(first.socket)
        // So slow a line that it does not end by itself.
        try sender.send(
            "PUT", "vm.send-migration",
            #"{"destination_url":"unix:\#(pair.socket)","bandwidth":1048576,"downtime_ms":1,"auto_converge":false}"#)
        #expect(
            Deadline.seconds(10).wait {
                (try? first.curl("GET", "vm.migration").json.state.string) == "copying"
            })
        // Nobody sees what stands by there.
        #expect(Deadline.seconds(10).wait { second.threads.contains("vcpu0") }, "\(second.evidence)")
        #expect(try second.state() == nil)
        // What would change the machine has to wait.
        let refused = try first.expect(500, "PUT", "vm.pause").text
        #expect(refused.contains("vm.migration.cancel"))
        #expect(try first.expect(200, "GET", "vm.info").json.migration.role.string == "source")
        try first.put("vm.migration.cancel")
        #expect(try sender.reply().text.contains("cancelled"))
        #expect(try receiver.reply().status == 500)
        #expect(try first.state() == "Running" && second.state() == nil)
        #expect(!second.threads.contains("vcpu0"), "\(second.threads)")
        pair.expectProgress(first.evidence)
        try pair.move(first, second)
        pair.expectProgress(second.evidence)
        #expect(pair.count != nil)
    }

    @Test func whatThisVersionDoesNotDoIsRefusedByName() throws {
        let vmm = try TestVMM()
        func refusal(_ name: String, _ body: String, _ status: Int = 400) throws -> String {
            try vmm.expect(status, "PUT", name, body).text
        }
        let url = #""destination_url":"unix:/tmp/x""#
        for (field, value) in [
            ("tls_dir", #""/x""#), ("disks", #""copied""#), ("compression", "true"),
        ] {
            #expect(try refusal("vm.send-migration", #"{\#(url),"\#(field)":\#(value)}"#).contains("$.\(field)"))
        }
        #expect(
            try refusal("vm.receive-migration", #"{"receiver_url":"unix:/x","tls_dir":"/y"}"#).contains("$.tls_dir"))
        let late = #""memory_mode":"Postcopy""#
        #expect(try refusal("vm.send-migration", #"{\#(url),\#(late),"connections":2}"#).contains("$.connections"))
        #expect(try refusal("vm.send-migration", #"{\#(url),\#(late),"local":true}"#).contains("$.memory_mode"))
        #expect(try refusal("vm.send-migration", #"{\#(url),"reconnect_s":5}"#).contains("$.reconnect_s"))
        #expect(try refusal("vm.send-migration", "{}").contains("$.destination_url: missing"))
        #expect(try refusal("vm.send-migration", #"{\#(url),"connections":129}"#).contains("$.connections"))
        #expect(try refusal("vm.send-migration", #"{\#(url),"local":true,"connections":2}"#).contains("$.connections"))
        #expect(try refusal("vm.send-migration", #"{"destination_url":"http://x"}"#).contains("$.destination_url"))
        #expect(try refusal("vm.receive-migration", #"{"receiver_url":"tcp:1"}"#).contains("$.receiver_url"))
        #expect(try refusal("vm.send-migration", "{\(url)}", 404).contains("VM is not created"))
        #expect(try refusal("vm.migration.resolve", #"{"token":"x","action":"discard"}"#, 404).contains("token"))
        #expect(
            try refusal("vm.migration.resolve", #"{"token":"x","action":"both"}"#).contains(
                "run-here, discard, reconnect"))
        // Private memory has no descriptor, and nobody listens.
        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        let unshared = try refusal("vm.send-migration", #"{\#(url),"local":true}"#, 500)
        #expect(unshared.contains(#"\"shared\": true"#))
        #expect(try refusal("vm.send-migration", #"{"destination_url":"unix:/nowhere/x"}"#, 500).contains("ENOENT"))
        #expect(try vmm.state() == "Running")
    }

    /// The connection breaks at the commit: nobody runs, until a person says who.
    @Test(arguments: [UInt8(13), 14]) func aLostAnswerWaitsForAPersonsWord(_ kind: UInt8) throws {
        let pair = try Pair("unresolved")
        let disk = try pair.scratch.sparse("disk", bytes: 1 << 20)
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put(
            "vm.create", pair.config(#""size":33554432"#, #","disks":[{"path":"\#(disk)","image_type":"Raw"}]"#))
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let receiver = try pair.receiver(second)
        let line = try CuttingLine(pair.scratch.path("line"), to: pair.socket, at: kind)
        let target = #"{"destination_url":"unix:\#(pair.scratch.path("line"))"}"#
        let text = try first.expect(500, "PUT", "vm.send-migration", target).text
        _ = line
        #expect(text.contains("vm.migration.resolve"), "\(text)")
        let arrived = try receiver.reply().status
        // Without the commit nothing is there; with it the guest is, whether its answer came or not.
        #expect(arrived == (kind == 13 ? 500 : 204), "\(second.evidence)")
        #expect(try second.state() == (kind == 13 ? nil : "Running"))
        let info = try first.expect(200, "GET", "vm.info").json
        #expect(info.state.string == "Paused" && info.migration.owner.string == "unknown")
        let token = try #require(info.migration.token.string)
        #expect(try second.curl("GET", "vm.migration").json.token.string == token)
        for refused in ["vm.resume", "vm.reboot", "vm.delete"] {
            #expect(try first.expect(500, "PUT", refused).text.contains("vm.migration.resolve"))
        }
        #expect(try first.expect(500, "PUT", "vm.send-migration", target).text.contains("vm.migration.resolve"))
        // To end the process would lose what may be the only copy.
        #expect(try first.expect(409, "PUT", "vmm.shutdown").text.contains("vm.migration.resolve"))
        try first.expect(404, "PUT", "vm.migration.resolve", #"{"token":"00","action":"run-here"}"#)
        if kind == 13 {
            try first.put("vm.migration.resolve", #"{"token":"\#(token)","action":"run-here"}"#)
            #expect(try first.state() == "Running")
            pair.expectProgress(first.evidence)
            #expect(try first.curl("GET", "vm.migration").json.state.string == "returned")
        } else {
            pair.expectProgress(second.evidence)
            try first.put("vm.migration.resolve", #"{"token":"\#(token)","action":"discard"}"#)
            #expect(try first.state() == nil)
            pair.expectProgress(second.evidence)
        }
        #expect(pair.count != nil, "the count has a gap or a repeat")
    }

    /// Either process may be killed at any time: what is left is one guest that goes on, or none where it was the source.
    @Test func eitherProcessMayDie() throws {
        for delay in [0, 30, 120, 300] {
            let pair = try Pair("killed")
            let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
            try first.put("vm.create", pair.config())
            try first.put("vm.boot")
            pair.expectProgress(first.evidence)
            var receiver: Receiver? = try pair.receiver(second)
            let sender = try RawConnection(first.socket)
            let slow = #""bandwidth":8388608,"downtime_ms":1,"auto_converge":false"#
            try sender.send("PUT", "vm.send-migration", #"{"destination_url":"unix:\#(pair.socket)",\#(slow)}"#)
            sleepThread(.milliseconds(delay))
            second.child.kill()
            receiver = nil
            #expect(try sender.reply().status == 500)
            #expect(try first.state() == "Running")
            pair.expectProgress("after \(delay) ms: \(first.evidence)")

            let third = try TestVMM(selfTest: nil)
            let waiting = try Receiver(third, #"{"receiver_url":"unix:\#(pair.socket)"}"#)
            #expect(
                Deadline.seconds(10).wait { (try? third.curl("GET", "vm.migration").json.state.string) == "waiting" })
            try sender.send("PUT", "vm.send-migration", #"{"destination_url":"unix:\#(pair.socket)",\#(slow)}"#)
            sleepThread(.milliseconds(delay))
            first.child.kill()
            if delay > 0 {
                #expect(try waiting.reply().status == 500)
                #expect(try third.state() == nil && !third.threads.contains("vcpu0"))
            }
            #expect(pair.count != nil)
            _ = receiver
        }
    }

    /// One that is stopped for a while and goes on loses nothing.
    @Test func eitherProcessMayBeStoppedForAWhile() throws {
        let pair = try Pair("stopped")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let receiver = try pair.receiver(second)
        let sender = try RawConnection(first.socket)
        try sender.send(
            "PUT", "vm.send-migration", #"{"destination_url":"unix:\#(pair.socket)","bandwidth":33554432}"#)
        for vmm in [second, first, second] {
            kill(vmm.child.id, SIGSTOP)
            sleepThread(.milliseconds(700))
            kill(vmm.child.id, SIGCONT)
            sleepThread(.milliseconds(40))
        }
        #expect(try sender.reply().status == 204, "\(first.evidence)")
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        pair.expectProgress(second.evidence)
        #expect(pair.count != nil)
    }

    /// A guest with a tap moves on one host: the source lets go of it before the destination takes it.
    @Test(.enabled(if: FileManager.default.isWritableFile(atPath: "/dev/net/tun"))) func aTapMovesAlong() throws {
        let pair = try Pair("tap")
        let name = "swm\(getpid() % 100_000)"
        var (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config(#""size":33554432"#, #","net":[{"tap":"\#(name)"}]"#))
        try first.put("vm.boot")
        for _ in 0..<3 {
            pair.expectProgress(first.evidence)
            try pair.move(first, second)
            pair.expectProgress(second.evidence)
            #expect(NetworkInterface.exists(name))
            swap(&first, &second)
        }
        #expect(pair.count != nil)
    }

    /// A console's socket changes hands at one path on one host, and comes back where the move fails at the last moment.
    @Test func aConsoleSocketMovesAlong() throws {
        let pair = try Pair("console")
        let path = pair.scratch.path("console")
        var (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config(console: #"{"mode":"Socket","socket":"\#(path)"}"#))
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let client = try UnixConnection.connect(path)
        for turn in 0..<3 {
            // The source has let go of it, and the destination says that it has it, which nobody hears.
            let receiver = try pair.receiver(second)
            let line = try CuttingLine(pair.scratch.path("line\(turn)"), to: pair.socket, at: 12)
            let target = #"{"destination_url":"unix:\#(pair.scratch.path("line\(turn)"))"}"#
            try first.expect(500, "PUT", "vm.send-migration", target)
            #expect(try receiver.reply().status == 500, "\(second.evidence)")
            withExtendedLifetime(line) {}
            #expect(try first.state() == "Running" && second.state() == nil)
            pair.expectProgress(first.evidence)
            _ = try UnixConnection.connect(path)

            try pair.move(first, second)
            #expect(try second.state() == "Running" && first.state() == nil)
            pair.expectProgress(second.evidence)
            _ = try UnixConnection.connect(path)
            swap(&first, &second)
        }
        withExtendedLifetime(client) {}
        #expect(pair.count != nil)
        try first.put("vm.delete")
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    /// A hook hears of a migration at both ends, before and after, and may object before.
    @Test func hooksAreAskedAndTold() throws {
        let pair = try Pair("hook")
        let notes = pair.scratch.path("notes")
        let verdict = try pair.scratch.write("verdict", "0")
        let hook = try pair.scratch.write(
            "hook", "#!/bin/sh\ncat >> \(notes)\nexit $(cat \(verdict))\n")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: hook)
        let first = try TestVMM(selfTest: nil, ["--migration-hook", hook])
        let second = try TestVMM(selfTest: nil, ["--migration-hook", hook])
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        // The source's objects; then it is not there at all.
        _ = try pair.scratch.write("verdict", "3")
        let target = #"{"destination_url":"unix:\#(pair.socket)"}"#
        let refusal = try first.expect(500, "PUT", "vm.send-migration", target)
        #expect(refusal.text.contains("objects: it exited with 3"), "\(refusal.text)")
        #expect(try first.state() == "Running")
        _ = try pair.scratch.write("verdict", "0")
        try FileManager.default.removeItem(atPath: notes)
        try pair.move(first, second)
        pair.expectProgress(second.evidence)
        let told = try String(contentsOfFile: notes, encoding: .utf8).split(separator: "\n").map(String.init)
        let heard = told.map { line in
            let json = JSON(try? JSONSerialization.jsonObject(with: Data(line.utf8)))
            return "\(json.when.string ?? "") \(json.role.string ?? "") \(json.owner.string ?? "")"
        }
        #expect(
            heard.sorted() == [
                "after destination destination", "after source destination", "before destination source",
                "before source source",
            ])
        #expect(pair.count != nil)
    }
}
