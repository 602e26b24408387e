import Foundation
import TestSupport
import Testing

/// Every error of the contract, by its status and its body.
@Suite(.timeLimit(.minutes(15))) struct ErrorTests {
    /// A request that is refused.
    struct Refusal: CustomTestStringConvertible {
        let status: Int
        let method: String
        let name: String
        var body: String?
        /// What the last line of the body holds.
        let says: String
        var testDescription: String { "\(method) \(name) \(body ?? "")" }

        init(_ status: Int, _ method: String, _ name: String, _ body: String? = nil, says: String) {
            (self.status, self.method, self.name, self.body, self.says) = (status, method, name, body, says)
        }
    }

    private func check(_ refusal: Refusal, _ vmm: TestVMM, at location: SourceLocation = #_sourceLocation) throws {
        let reply = try vmm.curl(refusal.method, refusal.name, refusal.body)
        let comment = Comment(rawValue: "\(refusal.testDescription): \(reply.line) \(reply.text)")
        #expect(reply.status == refusal.status, comment, sourceLocation: location)
        #expect(reply.line == "HTTP/1.1 \(refusal.status) ", comment, sourceLocation: location)
        #expect(reply.header("Content-Type") == "application/json", comment, sourceLocation: location)
        #expect(reply.header("Content-Length") == "\(reply.body.count)", comment, sourceLocation: location)
        #expect(reply.chain.first == "Error from API", comment, sourceLocation: location)
        #expect(reply.chain.count >= 2, comment, sourceLocation: location)
        #expect(reply.chain.last?.contains(refusal.says) == true, comment, sourceLocation: location)
    }

    @Test func withoutAVM() throws {
        let vmm = try TestVMM()
        for name in ["boot", "shutdown", "pause", "resume", "power-button", "nmi", "reboot"] {
            try check(Refusal(404, "PUT", "vm.\(name)", says: "VM is not"), vmm)
        }
        let info = try vmm.expect(404, "GET", "vm.info")
        #expect(info.text == #"["Error from API","The VM info is not available","VM is not created"]"#)
        try check(Refusal(404, "GET", "vm.counters", says: "VM is not created"), vmm)
        try check(Refusal(404, "PUT", "vm.add-disk", #"{"path":"/d"}"#, says: "VM is not created"), vmm)
        try check(Refusal(404, "PUT", "vm.add-net", "{}", says: "VM is not created"), vmm)
        try check(Refusal(404, "PUT", "vm.remove-device", #"{"id":"d"}"#, says: "VM is not created"), vmm)
        try check(
            Refusal(404, "PUT", "vm.resize-disk", #"{"id":"d","desired_size":4096}"#, says: "VM is not created"), vmm)
        try check(
            Refusal(404, "PUT", "vm.coredump", #"{"destination_url":"file:///x/y"}"#, says: "VM is not created"), vmm)
    }

    @Test func inTheWrongState() throws {
        let vmm = try TestVMM()
        try vmm.put("vm.create", vmm.config())
        try check(Refusal(500, "PUT", "vm.create", vmm.config(), says: "VM is already created"), vmm)
        for name in ["shutdown", "pause", "resume", "power-button", "nmi"] {
            try check(Refusal(500, "PUT", "vm.\(name)", says: "VM is not booted"), vmm)
        }
        try check(Refusal(500, "GET", "vm.counters", says: "VM is not booted"), vmm)
        try check(Refusal(404, "PUT", "vm.reboot", says: "VM is not booted"), vmm)
        try vmm.put("vm.boot")
        try check(Refusal(500, "PUT", "vm.boot", says: "already booted"), vmm)
        try check(Refusal(500, "PUT", "vm.create", vmm.config(), says: "VM is already created"), vmm)
        try check(Refusal(500, "PUT", "vm.resume", says: "VM is not paused"), vmm)
        try vmm.put("vm.pause")
        try check(Refusal(500, "PUT", "vm.pause", says: "already paused"), vmm)
        #expect(try vmm.state() == "Paused")
    }

    @Test func requestsThatAreWrong() throws {
        let vmm = try TestVMM()
        let refusals = [
            Refusal(404, "GET", "vm.nothing", says: "vm.nothing"),
            Refusal(404, "GET", "vmm.ping?x=1", says: "vmm.ping?x=1"),
            Refusal(404, "GET", "", says: "/api/v1/"),
            Refusal(400, "PUT", "vmm.ping", says: "GET"),
            Refusal(400, "GET", "vm.boot", says: "PUT"),
            Refusal(400, "DELETE", "vm.delete", says: "PUT"),
            Refusal(400, "PATCH", "vm.info", says: "GET"),
            Refusal(400, "PUT", "vm.boot", "{}", says: "body"),
            Refusal(400, "PUT", "vm.delete", " ", says: "body"),
            Refusal(400, "PUT", "vm.create", says: "body"),
            Refusal(400, "PUT", "vm.add-disk", says: "body"),
            Refusal(400, "PUT", "vm.create", "{", says: "$: "),
            Refusal(400, "PUT", "vm.create", "[]", says: "$: got a list, expected an object"),
            Refusal(400, "PUT", "vm.create", #"{"cpus":{"boot_vcpus":0,"max_vcpus":1}}"#, says: "$.cpus.boot_vcpus"),
            Refusal(400, "PUT", "vm.create", #"{"cpus":{"boot_vcpus":1}}"#, says: "$.cpus.max_vcpus: missing"),
            Refusal(400, "PUT", "vm.create", #"{"memory":{}}"#, says: "$.memory.size: missing"),
            Refusal(400, "PUT", "vm.create", #"{"serial":{}}"#, says: "$.serial.mode: missing"),
            Refusal(400, "PUT", "vm.create", #"{"memory":{"size":1e400}}"#, says: "$.memory.size: got 1e400"),
            Refusal(400, "PUT", "vm.create", #"{"fs":[{}]}"#, says: "$.fs: 'fs' is not supported yet"),
            Refusal(400, "PUT", "vm.create", #"{"disks":[{"path":"/d","id":"__d"}]}"#, says: "$.disks[0].id"),
            Refusal(
                400, "PUT", "vm.create", #"{"disks":[{"path":"/d","rate_limiter_config":{"x":1}}]}"#,
                says: "$.disks[0].rate_limiter_config.x: unknown"),
            Refusal(
                409, "PUT", "vm.create", #"{"disks":[{"path":"/a","id":"x"},{"path":"/b","id":"x"}]}"#,
                says: "$.disks[1].id"),
            Refusal(
                409, "PUT", "vm.create", #"{"disks":[{"path":"/a"},{"path":"/a"}]}"#, says: "$.disks[1].path"),
        ]
        for refusal in refusals { try check(refusal, vmm) }
        #expect(try vmm.state() == nil)
        #expect(try vmm.curl("GET", "vmm.ping").status == 200)
    }

    /// A link that leads to itself is the request's mistake wherever it stands in a path, and is named.
    @Test func linksThatLeadNowhere() throws {
        let vmm = try TestVMM()
        let loop = vmm.scratch.path("loop")
        try FileManager.default.createSymbolicLink(atPath: loop, withDestinationPath: loop)
        func refused(_ name: String, _ body: String) throws {
            let reply = try vmm.expect(400, "PUT", name, body)
            #expect(reply.text.contains(loop) && reply.text.contains("ELOOP"), "\(name): \(reply.text)")
        }
        for path in [loop, "\(loop)/below"] {
            try refused("vm.restore", #"{"source_url":"file://\#(path)"}"#)
            try refused(
                "vm.create", #"{"serial":{"mode":"File","file":"\#(path)"},"console":{"mode":"Off"}}"#)
            for members in [
                #""disks":[{"path":"\#(path)","image_type":"Raw"}]"#, #""payload":{"kernel":"\#(path)"}"#,
                #""rng":{"src":"\#(path)"}"#,
            ] {
                try vmm.put("vm.create", vmm.config(members))
                let reply = try vmm.expect(400, "PUT", "vm.boot")
                #expect(reply.text.contains(path) && reply.text.contains("ELOOP"), "\(members): \(reply.text)")
                try vmm.put("vm.delete")
            }
        }
        try vmm.put("vm.create", vmm.config())
        try vmm.put("vm.boot")
        try vmm.put("vm.pause")
        try refused("vm.snapshot", #"{"destination_url":"file://\#(loop)/below"}"#)
        try refused("vm.coredump", #"{"destination_url":"file://\#(loop)/below"}"#)
        try refused("vm.add-disk", #"{"path":"\#(loop)","image_type":"Raw"}"#)
        try refused(
            "vm.fork",
            #"{"directory_url":"file://\#(loop)","children":[{"api_socket":"\#(vmm.scratch.path("child"))"}]}"#)
        #expect(try vmm.state() == "Paused")
    }

    /// One file by two names is refused before anything is opened, and emptied, for it.
    @Test func filesByTwoNames() throws {
        let vmm = try TestVMM()
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        let dotted = vmm.scratch.path("./disk")
        let link = vmm.scratch.path("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: disk)
        for other in [dotted, link] {
            let both = #""disks":[{"path":"\#(disk)"},{"path":"\#(other)","readonly":true}]"#
            try check(
                Refusal(
                    409, "PUT", "vm.create", vmm.config(both),
                    says: #"$.disks[1].path: "\#(other)" is the same file as $.disks[0].path, "\#(disk)", and one"#),
                vmm)
        }
        let console =
            #"{"disks":[{"path":"\#(disk)"}],"serial":{"mode":"File","file":"\#(dotted)"},"console":{"mode":"Off"}}"#
        try check(
            Refusal(
                409, "PUT", "vm.create", console,
                says: #"$.serial.file: "\#(dotted)" is the same file as $.disks[0].path, "\#(disk)", which must not"#),
            vmm)
        #expect(try vmm.scratch.read("disk").count == 1 << 20)
        #expect(try vmm.state() == nil)
        // Readers may share it.
        let readers = #""disks":[{"path":"\#(disk)","readonly":true},{"path":"\#(link)","readonly":true}]"#
        try vmm.put("vm.create", vmm.config(readers))
    }

    @Test func devicesThatCannotBe() throws {
        let vmm = try TestVMM()
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        let other = try vmm.scratch.sparse("other", bytes: 1 << 20)
        try vmm.put("vm.create", vmm.config(#""disks":[{"path":"\#(disk)","id":"data","image_type":"Raw"}]"#))
        let refusals = [
            Refusal(409, "PUT", "vm.add-disk", #"{"path":"\#(other)","id":"data"}"#, says: "$.id"),
            Refusal(409, "PUT", "vm.add-disk", #"{"path":"\#(disk)"}"#, says: "$.path"),
            Refusal(400, "PUT", "vm.add-disk", #"{"id":"x"}"#, says: "$.path: missing"),
            Refusal(400, "PUT", "vm.add-disk", #"{"path":"\#(other)","num_queues":2}"#, says: "$.num_queues"),
            // The same file by another name.
            Refusal(409, "PUT", "vm.add-disk", #"{"path":"\#(vmm.scratch.path("./disk"))"}"#, says: "disk \"data\""),
            Refusal(400, "PUT", "vm.add-net", #"{"mac":"01:00:00:00:00:00"}"#, says: "$.mac"),
            Refusal(404, "PUT", "vm.remove-device", #"{"id":"nothing"}"#, says: "nothing"),
            Refusal(400, "PUT", "vm.remove-device", "{}", says: "$.id: missing"),
            Refusal(400, "PUT", "vm.resize-disk", #"{"id":"data"}"#, says: "$.desired_size: missing"),
            Refusal(400, "PUT", "vm.coredump", #"{"destination_url":"tcp:x"}"#, says: "$.destination_url"),
        ]
        for refusal in refusals { try check(refusal, vmm) }
        // Nothing of it has stayed.
        let disks = try vmm.curl("GET", "vm.info").json.config.disks
        #expect(disks.count == 1 && disks[0].id.string == "data")
    }

    /// What is in use by a device that the guest was asked to let go, and has not let go yet.
    @Test func devicesThatStillLeave() throws {
        let vmm = try TestVMM()
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        let other = try vmm.scratch.sparse("other", bytes: 1 << 20)
        try vmm.put("vm.create", vmm.config(#""disks":[{"path":"\#(disk)","id":"data","image_type":"Raw"}]"#))
        try vmm.put("vm.boot")
        try check(
            Refusal(
                400, "PUT", "vm.resize-disk", #"{"id":"data","desired_size":1000}"#,
                says: "$.desired_size: the disk data, "), vmm)
        try vmm.put("vm.remove-device", #"{"id":"data"}"#)
        let refusals = [
            Refusal(409, "PUT", "vm.add-disk", #"{"path":"\#(other)","id":"data"}"#, says: "wait for the event"),
            Refusal(409, "PUT", "vm.add-disk", #"{"path":"\#(disk)","id":"more"}"#, says: "wait for the event"),
            Refusal(409, "PUT", "vm.add-vsock", #"{"cid":3,"socket":"/tmp/v","id":"data"}"#, says: "$.id"),
        ]
        for refusal in refusals { try check(refusal, vmm) }
        #expect(try vmm.curl("GET", "vm.info").json.config.disks.count == 0)
    }

    /// What the later routes name as missing, where it is no sort of devices.
    private static let missing = [
        "resize": "resizing", "resize-zone": "memory zones", "add-fs": "virtio-fs", "add-pmem": "virtio-pmem",
    ]

    @Test(arguments: [
        "resize", "resize-zone", "add-device", "add-user-device", "add-fs", "add-pmem", "add-vdpa",
    ])
    func routesOfLaterVersionsSaySo(name: String) throws {
        let vmm = try TestVMM()
        try check(Refusal(501, "PUT", "vm.\(name)", "{}", says: Self.missing[name] ?? "devices"), vmm)
        let chain = try vmm.curl("PUT", "vm.\(name)", "{}").chain
        #expect(chain.contains { $0.hasPrefix("vm.\(name) is not supported by this version") }, "\(chain)")
    }

    /// What cannot boot is refused with the field's place, by create or by boot, and the VM can be deleted.
    @Test func payloadsThatCannotBoot() throws {
        let vmm = try TestVMM()
        let text = try vmm.scratch.write("text", "this is no kernel")
        for (kernel, says) in [
            (vmm.scratch.path("nothing"), "nothing"), (text, "text"), (vmm.scratch.path, "is a directory"),
        ] {
            let create = try vmm.curl("PUT", "vm.create", vmm.config(#""payload":{"kernel":"\#(kernel)"}"#))
            let refused = create.status == 204 ? try vmm.curl("PUT", "vm.boot") : create
            #expect(refused.status == 400 || refused.status == 500, "\(refused.line) \(refused.text)")
            #expect(refused.text.contains("$.payload.kernel"), "\(refused.text)")
            #expect(refused.text.contains(says), "\(refused.text)")
            try vmm.put("vm.delete")
        }
    }
}
