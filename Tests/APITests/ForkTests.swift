import Foundation
import Glibc
import TestSupport
import Testing

/// VMs that are made of one that runs, by curl.
@Suite(.serialized, .timeLimit(.minutes(15))) struct ForkTests {
    /// Ends the processes that a fork made, whatever becomes of the test.
    private final class Children {
        var ids: [pid_t] = []
        deinit { for id in ids { kill(id, SIGKILL) } }

        func areGone() -> Bool {
            Deadline.seconds(10).wait { ids.allSatisfy { kill($0, 0) != 0 } }
        }
    }

    private func template(_ disk: String, memory: String = #""size":67108864"#) throws -> TestVMM {
        let vmm = try TestVMM(selfTest: "mode=disk-load seconds=60")
        let config = vmm.config(#""disks":[{"path":"\#(disk)","image_type":"Raw","id":"data"}]"#)
        try vmm.put("vm.create", config.replacingOccurrences(of: #""size":33554432"#, with: memory))
        try vmm.put("vm.boot")
        try vmm.expectSerial("requests")
        return vmm
    }

    private func child(_ scratch: ScratchDirectory, _ number: Int, _ more: String = "") -> String {
        #"{"api_socket":"\#(scratch.path("api\(number)"))","log_file":"\#(scratch.path("log\(number)"))","disks":"copy","#
            + #""overrides":{"serial":{"file":"\#(scratch.path("serial\(number)"))"},"#
            + #""disks":[{"id":"data","path":"\#(scratch.path("disk\(number)"))"}]}\#(more)}"#
    }

    /// One request by curl to a child.
    private func curl(_ socket: String, _ method: String, _ name: String) throws -> String {
        let words = ["-sS", "-i", "--max-time", "20", "--unix-socket", socket, "-X", method]
        return try runProcess(Command("curl", words + ["http://localhost/api/v1/\(name)"])).text
    }

    private func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

    @Test func childrenGoOnFromWhereTheTemplateStands() throws {
        let scratch = try ScratchDirectory("fork")
        let vmm = try template(try scratch.sparse("disk", bytes: 1 << 20))
        let list = (1...3).map { child(scratch, $0) }.joined(separator: ",")
        let reply = try vmm.expect(200, "PUT", "vm.fork", #"{"children":[\#(list)]}"#).json
        let children = Children()
        for number in 0..<3 {
            let process = try #require(reply.children[number].pid.int)
            children.ids.append(pid_t(process))
            #expect(reply.children[number].api_socket.string == scratch.path("api\(number + 1)"))
            // It is its own process, and nobody's child.
            #expect(getsid(pid_t(process)) != getsid(vmm.child.id))
            #expect(text("/proc/\(process)/comm").hasPrefix("swiftlet"))
        }
        #expect(try vmm.state() == "Paused")
        for number in 1...3 {
            let socket = scratch.path("api\(number)")
            #expect(try curl(socket, "GET", "vm.info").contains(#""state":"Paused""#))
            #expect(try curl(socket, "PUT", "vm.resume").contains(" 204"))
        }
        for number in 1...3 {
            let serial = scratch.path("serial\(number)")
            #expect(
                Deadline.seconds(20).wait { text(serial).contains("requests") }, "\(text(scratch.path("log\(number)")))"
            )
            #expect(!text(serial).contains("FAILED"))
        }
        // The template goes on, too, and each is on its own: a child's end is nobody else's.
        kill(children.ids[0], SIGKILL)
        let before = vmm.serial.utf8.count
        try vmm.put("vm.resume")
        #expect(Deadline.seconds(20).wait { vmm.serial.utf8.count > before })
        // What the children are from is gone, so a diff needs a full one first.
        #expect(try curl(scratch.path("api3"), "PUT", "vm.pause").contains(" 204"))
        let diff = try runProcess(
            Command(
                try Built.swiftlet(),
                ["ctl", "--api-socket", scratch.path("api3"), "snapshot", "--type", "Diff", "file:///x"]))
        #expect(diff.errors.contains("take one with the type Full first"), "\(diff)")
        // It has its memory from files without names, and so has a snapshot of it all that there is.
        try vmm.put("vm.pause")
        try vmm.put("vm.snapshot", #"{"destination_url":"file://\#(scratch.path("snap"))"}"#)
        let verified = try runProcess(Command(try Built.swiftlet(), ["snapshot", "verify", scratch.path("snap")]))
        #expect(verified.succeeded, "\(verified)")
        let maps = text("/proc/\(vmm.child.id)/maps")
        #expect(maps.contains("/dev/shm/swiftlet-fork-\(vmm.child.id)-") && maps.contains("memory.bin (deleted)"))
        let left = try FileManager.default.contentsOfDirectory(atPath: "/dev/shm")
        #expect(!left.contains { $0.contains("swiftlet-fork-\(vmm.child.id)-") })
        // A child is forked as well.
        let again = try runProcess(
            Command(try Built.swiftlet(), ["ctl", "--api-socket", scratch.path("api2"), "pause"]))
        #expect(again.succeeded)
        let request = scratch.path("request.json")
        try #"{"children":[\#(child(scratch, 4))],"resume":true}"#.write(
            toFile: request, atomically: true, encoding: .utf8)
        let forked = try runProcess(
            Command(try Built.swiftlet(), ["ctl", "--api-socket", scratch.path("api2"), "fork", "--request", request]))
        #expect(forked.succeeded && forked.text.hasPrefix(scratch.path("api4") + " "), "\(forked)")
        children.ids += forked.text.split(separator: " ").compactMap { pid_t($0.trimmingCharacters(in: .newlines)) }
        #expect(children.ids.count == 4)
        #expect(try curl(scratch.path("api2"), "GET", "vm.info").contains(#""state":"Running""#))
        for id in children.ids { kill(id, SIGTERM) }
        #expect(children.areGone())
    }

    /// What a process that was killed in the middle of a fork has left is removed by the next fork, and nothing else is.
    @Test func whatADeadForkLeftIsRemoved() throws {
        let scratch = try ScratchDirectory("fork")
        let vmm = try template(try scratch.sparse("disk", bytes: 1 << 20))
        let names = [
            "swiftlet-fork-1-old", ".swiftlet-fork-1-old.x.incomplete", "swiftlet-fork-1-new", "swiftlet-fork-backup",
            "other",
        ]
        for name in names {
            try FileManager.default.createDirectory(
                atPath: scratch.path("base/\(name)"), withIntermediateDirectories: true)
            try "x".write(toFile: scratch.path("base/\(name)/memory.bin"), atomically: false, encoding: .utf8)
            if name.hasSuffix("new") { continue }
            if name == "other" {
                try FileManager.default.createSymbolicLink(
                    atPath: scratch.path("base/swiftlet-fork-1-link"), withDestinationPath: scratch.path("base/other"))
            }
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSinceNow: -600)], ofItemAtPath: scratch.path("base/\(name)"))
        }
        let body = #"{"children":[\#(child(scratch, 1))],"directory_url":"file://\#(scratch.path("base"))"}"#
        let reply = try vmm.expect(200, "PUT", "vm.fork", body).json
        let children = Children()
        children.ids = [pid_t(try #require(reply.children[0].pid.int))]
        let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path("base"))
        #expect(left.sorted() == ["other", "swiftlet-fork-1-link", "swiftlet-fork-1-new", "swiftlet-fork-backup"])
        #expect(FileManager.default.fileExists(atPath: scratch.path("base/other/memory.bin")))
    }

    /// All children or none: whatever keeps one from being made, none is left, nor a disk of one, and the VM runs on.
    @Test func nothingIsLeftOfAForkThatFails() throws {
        let scratch = try ScratchDirectory("fork")
        let vmm = try template(try scratch.sparse("disk", bytes: 1 << 20))
        func refusal(_ status: Int, _ children: String, _ more: String = "") throws -> String {
            let reply = try vmm.expect(status, "PUT", "vm.fork", #"{"children":[\#(children)]\#(more)}"#)
            #expect(try vmm.state() == "Running")
            let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
            #expect(!left.contains { $0.hasPrefix("disk") && $0 != "disk" }, "\(left)")
            return reply.text
        }
        #expect(try refusal(400, "").contains("$.children: got 0"))
        let twice = #"{"api_socket":"/a"},{"api_socket":"/a"}"#
        #expect(try refusal(400, twice).contains("$.children[1].api_socket: "))
        #expect(
            try refusal(400, #"{"api_socket":"/a","overrides":{"cpus":{}}}"#).contains("$.children[0].overrides.cpus"))
        let unknown = #"{"api_socket":"/a","overrides":{"disks":[{"id":"x","path":"/y"}]}}"#
        #expect(try refusal(400, unknown).contains("is no disk of the snapshot"))
        // The second one cannot listen; the first one was ready.
        let deaf = child(scratch, 2).replacingOccurrences(of: scratch.path("api2"), with: "/nowhere/at/all/api2")
        let failed = try refusal(500, child(scratch, 1) + "," + deaf)
        #expect(failed.contains("$.children[1]") && failed.contains("/nowhere/at/all/api2"), "\(failed)")
        #expect(!FileManager.default.fileExists(atPath: scratch.path("api1")), "a child's socket is still there")
        // The template's own disk is locked; what its serial port has written stays.
        let written = vmm.serial
        #expect(written.contains("requests"))
        defer { #expect(vmm.serial.hasPrefix(written)) }
        #expect(try refusal(500, #"{"api_socket":"\#(scratch.path("api3"))"}"#).contains("is locked"))
        let nowhere = try refusal(400, child(scratch, 1), #","directory_url":"file:///nowhere/at/all""#)
        #expect(nowhere.contains("$.directory_url: there is no directory /nowhere/at/all"), "\(nowhere)")
        let text = try vmm.expect(400, "PUT", "vm.fork", #"{"children":"x"}"#).text
        #expect(text.components(separatedBy: "$.children").count == 2, "\(text)")
        let left = try FileManager.default.contentsOfDirectory(atPath: "/dev/shm")
        #expect(!left.contains { $0.contains("swiftlet-fork-\(vmm.child.id)-") })
        let before = vmm.serial.utf8.count
        #expect(Deadline.seconds(10).wait { vmm.serial.utf8.count > before })

        let other = try TestVMM()
        #expect(
            try other.expect(404, "PUT", "vm.fork", #"{"children":[{"api_socket":"/a"}]}"#).text.contains("not created")
        )
        try other.put(
            "vm.create",
            other.config().replacingOccurrences(of: #""size":33554432"#, with: #""size":33554432,"shared":true"#))
        try other.put("vm.boot")
        #expect(
            try other.expect(500, "PUT", "vm.fork", #"{"children":[{"api_socket":"/a"}]}"#).text
                .contains("$.memory.shared"))
    }
}
