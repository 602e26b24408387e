import Foundation
import TestSupport
import Testing

/// Snapshots by curl: a VM goes on in another process.
@Suite(.timeLimit(.minutes(15))) struct SnapshotTests {
    /// A guest that reads its disk without a break and tells how often, every 100 ms of its own clock.
    private func load(_ vmm: TestVMM, disk: String, shared: Bool = false) throws {
        let config =
            vmm.config(
                #""disks":[{"path":"\#(disk)","image_type":"Raw","id":"data"}],"vsock":{"cid":5,"socket":"\#(vmm.scratch.path("vsock"))"}"#
            )
        try vmm.put(
            "vm.create",
            config.replacing(#""size":33554432"#, with: #""size":33554432,"shared":\#(shared)"#))
        try vmm.put("vm.boot")
        try vmm.expectSerial("requests")
    }

    @Test(arguments: [("Copy", false), ("OnDemand", false), ("OnDemand", true)])
    func aVMGoesOnInAnotherProcess(_ mode: String, shared: Bool) throws {
        let scratch = try ScratchDirectory("snapshot")
        let disk = try scratch.sparse("disk", bytes: 1 << 20)
        let first = try TestVMM(selfTest: "mode=disk-load seconds=60")
        try load(first, disk: disk, shared: shared)
        let url = #"{"destination_url":"file://\#(scratch.path("snap"))"}"#
        #expect(try first.curl("PUT", "vm.snapshot", url).status == 500)
        try first.put("vm.pause")
        try first.put("vm.snapshot", url)
        #expect(try first.expect(409, "PUT", "vm.snapshot", url).text.contains("this exists"))
        // The VM is as it was, and goes on.
        try first.put("vm.resume")
        let before = first.serial.utf8.count
        #expect(Deadline.seconds(10).wait { first.serial.utf8.count > before })
        let info = try first.expect(200, "GET", "vm.info").json
        try first.put("vm.delete")

        let second = try TestVMM(selfTest: "mode=disk-load seconds=60")
        let source = #""source_url":"file://\#(scratch.path("snap"))","memory_restore_mode":"\#(mode)""#
        try second.put("vm.restore", "{\(source)}")
        #expect(try second.state() == "Paused")
        #expect(second.threads.contains("vcpu0"))
        let restored = try second.expect(200, "GET", "vm.info").json
        #expect(restored.config.disks.count == 1 && restored.memory_actual_size.int == info.memory_actual_size.int)
        #expect(try second.curl("PUT", "vm.restore", "{\(source)}").status == 500)
        // The serial port's file goes on behind what the guest has written before.
        let written = first.serial
        #expect(written.contains("requests"))
        try second.put("vm.resume")
        #expect(
            Deadline.seconds(20).wait { first.serial.dropFirst(written.count).contains("requests") },
            "\(second.evidence)")
        #expect(first.serial.hasPrefix(written))
        #expect(!first.serial.contains("FAILED"))
        // A reboot finds the payload again.
        try second.put("vm.reboot")
        #expect(try second.state() == "Running")
        try second.put("vm.delete")

        // At once, and again from the same directory.
        try second.put("vm.restore", #"{\#(source),"resume":true}"#)
        #expect(try second.state() == "Running")
        #expect(Deadline.seconds(20).wait { first.serial.contains("requests") }, "\(second.evidence)")
    }

    /// A snapshot with its disk is restored while the original goes on: clones with disks, sockets and logs of their own.
    @Test func clonesRunBesideTheOriginal() throws {
        let scratch = try ScratchDirectory("clones")
        let disk = try scratch.sparse("disk", bytes: 1 << 20)
        let first = try TestVMM(selfTest: "mode=disk-load seconds=60")
        try load(first, disk: disk)
        try first.put("vm.pause")
        #expect(
            try first.expect(400, "PUT", "vm.snapshot", #"{"destination_url":"file:///x","disks":"later"}"#).text
                .contains("one of reflink, copy"))
        try first.put("vm.snapshot", #"{"destination_url":"file://\#(scratch.path("snap"))","disks":"copy"}"#)
        try first.put("vm.resume")

        var clones: [TestVMM] = []
        for number in 1...2 {
            let clone = try TestVMM(selfTest: "mode=disk-load seconds=60")
            let source = #""source_url":"file://\#(scratch.path("snap"))""#
            func overrides(_ disk: String) -> String {
                #""overrides":{"disks":[{"id":"data","path":"\#(disk)"}],"vsock":{"socket":"\#(clone.scratch.path("vsock"))"},"#
                    + #""serial":{"file":"\#(clone.scratch.path("serial"))"}}"#
            }
            if number == 1 {
                // The original has all that the snapshot names, and what is there is not overwritten.
                let locked = try clone.expect(400, "PUT", "vm.restore", "{\(source)}")
                #expect(locked.text.contains("is locked: another VM uses it"), "\(locked.text)")
                let taken = try clone.expect(409, "PUT", "vm.restore", #"{\#(source),"disks":"copy"}"#)
                #expect(taken.text.contains("\(disk): this exists"), "\(taken.text)")
                let id = #"{\#(source),"overrides":{"disks":[{"id":"x","path":"/y"}]}}"#
                #expect(try clone.expect(400, "PUT", "vm.restore", id).text.contains("it has \\\"data\\\""))
                #expect(try clone.state() == nil)
            }
            let own = scratch.path("clone\(number)")
            try clone.put("vm.restore", #"{\#(source),"disks":"copy","resume":true,\#(overrides(own))}"#)
            let info = try clone.expect(200, "GET", "vm.info").json
            #expect(info.config.disks[0].path.string == own)
            try clone.expectSerial("requests")
            clones.append(clone)
        }
        // A clone that may write to the snapshot is none, and a mistake in what changes is said to be there.
        let careless = try TestVMM()
        let snapshot = #""source_url":"file://\#(scratch.path("snap"))""#
        func refusal(_ overrides: String) throws -> String {
            try careless.expect(400, "PUT", "vm.restore", #"{\#(snapshot),"overrides":{\#(overrides)}}"#).text
        }
        for (what, file) in [("serial port", "memory.bin"), ("serial port", "new"), ("disk", "disk0.raw")] {
            let path = scratch.path("snap/\(file)")
            let change =
                what == "disk" ? #""disks":[{"id":"data","path":"\#(path)"}]"# : #""serial":{"file":"\#(path)"}"#
            #expect(try refusal(change).contains("lies in the snapshot"))
        }
        #expect(try refusal(#""serial":{"mode":"Bogus"}"#).contains("$.overrides"))
        let verified = try runProcess(Command(try Built.swiftlet(), ["snapshot", "verify", scratch.path("snap")]))
        #expect(verified.succeeded, "\(verified)")
        // All three go on.
        let before = first.serial.utf8.count
        #expect(Deadline.seconds(10).wait { first.serial.utf8.count > before })
        for clone in clones { #expect(!clone.serial.contains("FAILED"), "\(clone.serial)") }
        // A restore that fails leaves no image behind.
        let other = try TestVMM()
        let bad =
            #"{"source_url":"file://\#(scratch.path("snap"))","disks":"copy","overrides":{"disks":[{"id":"data","path":"\#(scratch.path("left"))"}]}}"#
        #expect(try other.curl("PUT", "vm.restore", bad).status >= 400, "the vsock socket is the original's")
        #expect(!FileManager.default.fileExists(atPath: scratch.path("left")))
    }

    @Test func anEmptyDirectoryMayBeThere() throws {
        let vmm = try TestVMM()
        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        try vmm.put("vm.pause")
        let path = vmm.scratch.path("snap")
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try vmm.put("vm.snapshot", #"{"destination_url":"file://\#(path)"}"#)
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).contains("state.json"))
    }

    @Test func whatCannotBeRestoredIsRefusedByFileAndField() throws {
        let vmm = try TestVMM()
        func refusal(_ body: String, _ status: Int = 400) throws -> String {
            try vmm.expect(status, "PUT", "vm.restore", body).text
        }
        #expect(try refusal("{}").contains("$.source_url: missing"))
        #expect(try refusal(#"{"source_url":"/x"}"#).contains("$.source_url: got"))
        #expect(try refusal(#"{"source_url":"file:///nowhere/at/all"}"#).contains("/nowhere/at/all: there is no such"))
        #expect(try refusal(#"{"source_url":"file:///tmp","memory_restore_mode":"Later"}"#).contains("Copy, OnDemand"))
        let contradiction = #"{"source_url":"file:///tmp","memory_restore_mode":"OnDemand","prefault":true}"#
        #expect(try refusal(contradiction).contains("$.prefault"))
        #expect(try vmm.expect(400, "PUT", "vm.snapshot", "{}").text.contains("$.destination_url: missing"))
        #expect(try vmm.expect(404, "PUT", "vm.snapshot", #"{"destination_url":"file:///tmp/x"}"#).status == 404)

        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        try vmm.put("vm.pause")
        let nowhere = #"{"destination_url":"file:///nowhere/at/all"}"#
        #expect(try vmm.expect(500, "PUT", "vm.snapshot", nowhere).text.contains("no directory to put"))
        let path = vmm.scratch.path("snap")
        try vmm.put("vm.snapshot", #"{"destination_url":"file://\#(path)"}"#)
        try vmm.put("vm.delete")
        let source = #""source_url":"file://\#(path)""#
        let named = #"{\#(source),"net_fds":[{"id":"n","num_fds":1}]}"#
        #expect(try refusal(named).contains("1 descriptor is named and 0 came"))
        let both = named.dropLast() + #","overrides":{"net":[{"id":"n","tap":"tap9"}]}}"#
        #expect(try refusal(String(both)).contains("$.overrides.net[0].tap: the queues of"))
        #expect(try vmm.state() == nil)
        // A bit that flipped, and a file that is gone; nothing of the VM is left, and the sound directory is restored.
        let state = try Data(contentsOf: URL(filePath: path + "/state.json"))
        var broken = state
        broken[broken.count / 2] ^= 1
        try broken.write(to: URL(filePath: path + "/state.json"))
        #expect(try refusal("{\(source)}").contains("state.json"))
        try FileManager.default.removeItem(atPath: path + "/state.json")
        #expect(try refusal("{\(source)}").contains("state.json: this file of the snapshot is missing"))
        #expect(try vmm.state() == nil && !vmm.threads.contains("vcpu0"))
        try state.write(to: URL(filePath: path + "/state.json"))
        try vmm.put("vm.restore", "{\(source)}")
        #expect(try vmm.state() == "Paused")
    }
}
