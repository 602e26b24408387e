import Foundation
import Glibc
import Host
import TestSupport
import Testing

/// Postcopy migration by curl: a guest counts on while its memory follows it, and waits for it when it does not come.
extension MigrationTests {
    /// Begins to move a VM over a line, or to where it waits.
    private func begin(
        _ pair: Pair, _ first: TestVMM, _ second: TestVMM, over path: String? = nil, _ more: String = ""
    ) throws -> (sender: RawConnection, receiver: Receiver) {
        let receiver = try pair.receiver(second, #","memory_mode":"Postcopy""#)
        let sender = try RawConnection(first.socket)
        let target = #""destination_url":"unix:\#(path ?? pair.socket)""#
        try sender.send("PUT", "vm.send-migration", #"{\#(target),"memory_mode":"Postcopy"\#(more)}"#)
        return (sender, receiver)
    }

    private func expectState(_ vmm: TestVMM, _ state: String, _ words: String = "") {
        let isThere = Deadline.seconds(30).wait {
            guard let report = try? vmm.curl("GET", "vm.migration").json, report.state.string == state else {
                return false
            }
            // Only then does the VM take commands again.
            return !["moved", "running", "returned", "ended"].contains(state) || report.over.value as? Bool == true
        }
        #expect(isThere, "never \(state): \(vmm.evidence) \(words)")
    }

    /// Expects that a process has soon no more descriptors than this: it closes a connection when its client has.
    private func expectDescriptors(_ vmm: TestVMM, _ most: Int, _ words: String) {
        #expect(Deadline.seconds(10).wait { vmm.descriptors <= most }, "\(vmm.descriptors), not \(most), \(words)")
    }

    /// What a guest that has gone again leaves behind is nothing: neither its memory nor KVM's descriptors.
    @Test func aGuestThatMovesOnLeavesNothing() throws {
        let pair = try Pair("leaves")
        var (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        // What the first one has that it left, which had never had one arrive.
        var most: Int?
        for turn in 0..<6 {
            let (sender, receiver) = try begin(pair, first, second)
            #expect(try sender.reply(by: .seconds(60)).status == 204, "\(first.evidence)")
            #expect(try receiver.reply().status == 204, "\(second.evidence)")
            pair.expectProgress(second.evidence)
            expectState(first, "moved")
            let limit = most ?? first.descriptorsAtRest
            expectDescriptors(first, limit, "after move \(turn)")
            most = limit
            swap(&first, &second)
        }
        try first.put("vm.delete")
        expectDescriptors(first, try #require(most), "after its end")
    }

    /// Shared memory, huge pages aside, disks and a vsock at the same paths; so little goes over that the guest has to wait.
    @Test(arguments: [false, true]) func memoryFollowsAGuest(_ isShared: Bool) throws {
        let pair = try Pair("follows")
        let disk = try pair.scratch.sparse("disk", bytes: 1 << 20)
        let more = #","disks":[{"path":"\#(disk)","image_type":"Raw"}]"#
        var (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config(#""size":33554432,"prefault":true,"shared":\#(isShared)"#, more))
        try first.put("vm.boot")
        for turn in 0..<3 {
            pair.expectProgress(first.evidence)
            let (sender, receiver) = try begin(pair, first, second, #","bandwidth":1048576"#)
            expectState(first, "postcopy")
            if turn == 0 {
                for vmm in [first, second] {
                    let answer = try vmm.curl("PUT", "vm.migration.cancel")
                    // Whatever its guest touches comes at once, so it may be over already.
                    #expect(answer.status == 404 || answer.text.contains("called off"), "\(answer.text)")
                }
            }
            // It counts there while its memory is here.
            pair.expectProgress("turn \(turn): \(second.evidence)")
            #expect(try sender.reply(by: .seconds(60)).status == 204, "\(first.evidence)")
            #expect(try receiver.reply().status == 204, "\(second.evidence)")
            let there = try first.expect(200, "GET", "vm.migration").json
            #expect(there.state.string == "moved" && there.memory_mode.string == "Postcopy")
            #expect(there.remaining_bytes.int == 0 && there.downtime_ms.int != nil)
            #expect(try second.state() == "Running" && first.state() == nil)
            pair.expectProgress("turn \(turn): \(second.evidence)")
            #expect(pair.count != nil, "the count has a gap or a repeat after turn \(turn)")
            swap(&first, &second)
        }
        try first.put("vm.pause")
        try first.put("vm.resume")
        pair.expectProgress(first.evidence)
        #expect(pair.count != nil)
    }

    /// The connection is cut while memory follows, again and again: the guest goes on from where it stood.
    @Test func aCutConnectionIsComeBackTo() throws {
        let pair = try Pair("again")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let path = pair.scratch.path("line")
        let line = try Line(path, to: pair.socket)
        let (sender, receiver) = try begin(pair, first, second, over: path, #","bandwidth":2097152"#)
        expectState(first, "postcopy")
        for _ in 0..<3 {
            sleepThread(.milliseconds(150))
            line.cut()
        }
        #expect(try sender.reply(by: .seconds(60)).status == 204, "\(first.evidence)")
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        pair.expectProgress(second.evidence)
        #expect(try second.state() == "Running" && first.state() == nil)
        #expect(pair.count != nil, "the count has a gap or a repeat")
    }

    /// The connection stays away for longer than it may: both ends say so and wait, until a person has the source seek again.
    @Test func whatDoesNotComeIsWaitedFor() throws {
        let pair = try Pair("waits")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let path = pair.scratch.path("line")
        let line = try Line(path, to: pair.socket)
        let (sender, receiver) = try begin(
            pair, first, second, over: path, #","bandwidth":1048576,"reconnect_s":2"#)
        expectState(first, "postcopy")
        line.isBroken = true
        #expect(try receiver.reply().text.contains("vm.migration.resolve"))
        #expect(try sender.reply(by: .seconds(60)).text.contains("reconnect"))
        expectState(first, "stranded")
        expectState(second, "starved")
        let (here, there) = (
            try first.expect(200, "GET", "vm.info").json, try second.expect(200, "GET", "vm.info").json
        )
        #expect(here.state.string == "Paused" && here.migration.owner.string == "destination")
        #expect(there.state.string == "Paused" && there.migration.owner.string == "destination")
        #expect(
            there.migration.error.string?.contains("source") == true && (there.migration.remaining_bytes.int ?? 0) > 0)
        let token = try #require(here.migration.token.string)
        let word = { (action: String) in #"{"token":"\#(token)","action":"\#(action)"}"# }
        for (vmm, action) in [(first, "run-here"), (second, "run-here"), (second, "reconnect")] {
            try vmm.expect(500, "PUT", "vm.migration.resolve", word(action))
        }
        for vmm in [first, second] {
            for refused in ["vm.resume", "vm.reboot", "vm.delete"] {
                #expect(try vmm.expect(500, "PUT", refused).text.contains("memory"))
            }
        }
        let stood = pair.count
        sleepThread(.milliseconds(300))
        #expect(pair.count == stood && stood != nil)
        line.isBroken = false
        try first.put("vm.migration.resolve", word("reconnect"))
        expectState(first, "moved")
        expectState(second, "running")
        pair.expectProgress(second.evidence)
        #expect(try second.state() == "Running" && first.state() == nil)
        #expect(pair.count != nil, "the count has a gap or a repeat")
        try second.put("vm.pause")
        try second.put("vm.delete")
    }

    /// The source is killed while memory follows: the guest stands still where it is, and says so, until it is dropped.
    @Test func aKilledSourceLeavesAGuestThatWaits() throws {
        let pair = try Pair("orphan")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let (_, receiver) = try begin(pair, first, second, #","bandwidth":1048576,"reconnect_s":1"#)
        expectState(first, "postcopy")
        first.child.kill()
        #expect(try receiver.reply().text.contains("source"))
        expectState(second, "starved")
        #expect(try second.state() == "Paused")
        let token = try #require(second.curl("GET", "vm.migration").json.token.string)
        let stood = pair.count
        sleepThread(.milliseconds(300))
        #expect(pair.count == stood && stood != nil, "a page was made up")
        // It is the only copy: nothing but a person's word ends it.
        try second.put("vm.migration.resolve", #"{"token":"\#(token)","action":"discard"}"#)
        expectState(second, "ended")
        #expect(try second.state() == nil)
        // Another one may come.
        let config = try pair.config()
        #expect(Deadline.seconds(30).wait { (try? second.curl("PUT", "vm.create", config).status) == 204 })
        try second.put("vm.delete")
    }

    /// A guest that ends at its destination needs no memory any more.
    @Test func aGuestMayEndBeforeItsMemoryIsThere() throws {
        let pair = try Pair("ends")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let (sender, _) = try begin(pair, first, second, #","bandwidth":1048576"#)
        expectState(first, "postcopy")
        try second.expect(200, "PUT", "vmm.shutdown")
        #expect(try sender.reply(by: .seconds(60)).status == 204, "\(first.evidence)")
        #expect(try first.state() == nil)
    }

    /// A source whose pages are still wanted does not end by itself: a client is refused, and a signal waits until all is
    /// there.
    @Test func aSourceStaysUntilItsMemoryIsThere() throws {
        let pair = try Pair("stays")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        let (line, sender, receiver) = try breakOff(pair, first, second)
        let refusal = try first.expect(409, "PUT", "vmm.shutdown")
        #expect(refusal.text.contains("still needs") && refusal.text.contains("SIGTERM"), "\(refusal.text)")
        first.child.signal(SIGTERM)
        sleepThread(.milliseconds(500))
        #expect(try first.expect(200, "GET", "vmm.ping").status == 200)
        try first.expect(409, "PUT", "vmm.shutdown")
        line.isBroken = false
        #expect(try sender.reply(by: .seconds(60)).status == 204, "\(first.evidence)")
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        // It was asked to, and nobody needs it any more.
        #expect(try first.child.waitForEnd(by: .seconds(30)) == .exited(128 + SIGTERM), "\(first.evidence)")
        pair.expectProgress(second.evidence)
        #expect(try second.state() == "Running")
        #expect(pair.count != nil, "the count has a gap or a repeat")
    }

    /// Who asks twice means it.
    @Test func aSourceThatIsAskedTwiceEnds() throws {
        let pair = try Pair("leaves")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        let (line, _, receiver) = try breakOff(pair, first, second)
        first.child.signal(SIGTERM)
        #expect(
            Deadline.seconds(10).wait {
                (try? String(contentsOfFile: first.scratch.path("log"), encoding: .utf8))?.contains("does not end yet")
                    == true
            })
        first.child.signal(SIGINT)
        #expect(try first.child.waitForEnd(by: .seconds(30)) == .exited(128 + SIGINT), "\(first.evidence)")
        withExtendedLifetime((line, receiver)) {}
    }

    /// Moves a guest without the most of its memory, which cannot follow as long as the line is broken.
    private func breakOff(
        _ pair: Pair, _ first: TestVMM, _ second: TestVMM
    ) throws -> (line: Line, sender: RawConnection, receiver: Receiver) {
        try first.put("vm.create", pair.config())
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let path = pair.scratch.path("line")
        let line = try Line(path, to: pair.socket)
        let (sender, receiver) = try begin(pair, first, second, over: path, #","bandwidth":1048576"#)
        expectState(first, "postcopy")
        line.isBroken = true
        expectState(first, "reconnecting")
        return (line, sender, receiver)
    }
}
