import Foundation
import Host
import TestSupport
import Testing

/// The sequence of Kata Containers' runtime, within its time.
@Suite(.timeLimit(.minutes(15))) struct KataTests {
    /// From the start of the process: ping every 10 ms, then on one connection create, info, add-net with the tap's
    /// queues as descriptors, boot, info.
    @Test func createsAndBootsWithinASecond() throws {
        // Other tests run at the same time: what counts is that it can be done.
        var times: [Duration] = []
        while times.count < 3, times.allSatisfy({ $0 >= .seconds(1) }) { times.append(try boot()) }
        #expect(times.contains { $0 < .seconds(1) }, "exec to Running took \(times)")
    }

    /// The whole sequence, and the time that it took.
    private func boot() throws -> Duration {
        let scratch = try ScratchDirectory("kata")
        let socket = scratch.path("clh-api.sock")
        let disk = try scratch.sparse("image", bytes: 1 << 20)
        let name = "swk\(getpid() % 100_000)"
        let tap = try TapQueue(name: name, multiQueue: false)

        let began = ContinuousClock.now
        let child = try ChildProcess(
            Command(try Built.swiftlet(), ["vmm", "--api-socket", socket, "-v", "--self-test", "mode=hang"]))
        defer { child.kill() }
        var connection: RawConnection?
        let pinged = Deadline.seconds(10).wait(every: .milliseconds(10)) {
            connection = try? RawConnection(socket)
            return (try? connection?.call("GET", "vmm.ping").status) == 200
        }
        try #require(pinged, "\(child.evidence)")
        let kata = try #require(connection)

        let payload = LinuxPayload("swiftlet.test=hello")?.json ?? #""payload":null"#
        let config =
            #"{"cpus":{"boot_vcpus":2,"max_vcpus":2},"memory":{"size":268435456,"shared":true},"#
            + #""disks":[{"path":"\#(disk)","readonly":true,"image_type":"Raw"}],"rng":{"src":"\/dev\/urandom"},"#
            + #""serial":{"mode":"Off"},"console":{"mode":"Off"},\#(payload)}"#
        #expect(try kata.call("PUT", "vm.create", config).status == 204)
        #expect(try kata.call("GET", "vm.info").json.state.string == "Created")
        let net = #"{"mac":"2e:89:a8:e4:92:95","num_queues":2,"id":"net0"}"#
        let added = try kata.call("PUT", "vm.add-net", net, descriptors: [tap.file.raw])
        #expect(added.status == 204, "\(added.line) \(added.text)")
        #expect(try kata.call("PUT", "vm.boot").status == 204, "\(child.evidence)")
        let info = try kata.call("GET", "vm.info").json
        let took = began.duration(to: .now)
        #expect(info.state.string == "Running")
        #expect(info.config.net[0].id.string == "net0")
        let bdf = try #require(info.device_tree["net0"].pci_bdf.string)
        #expect(bdf.wholeMatch(of: /0000:00:[0-9a-f]{2}\.0/) != nil, "\(bdf)")
        let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.id)/task")
        let names = try tasks.map {
            try String(contentsOfFile: "/proc/\(child.id)/task/\($0)/comm", encoding: .utf8)
                .trimmingCharacters(in: .newlines)
        }
        #expect(names.contains("vcpu0") && names.contains("vcpu1") && !names.contains("vcpu2"), "\(names)")
        return took
    }

    @Test func aCountOfDescriptorsThatDoesNotMatchIsRefused() throws {
        let vmm = try TestVMM()
        let tap = try TapQueue(name: "swn\(getpid() % 100_000)", multiQueue: false)
        let connection = try RawConnection(vmm.socket)
        #expect(try connection.call("PUT", "vm.create", vmm.config()).status == 204)
        let before = vmm.descriptors
        let reply = try connection.call("PUT", "vm.add-net", #"{"id":"n"}"#, descriptors: [tap.file.raw, tap.file.raw])
        #expect(reply.status == 400, "\(reply.line) \(reply.text)")
        #expect(reply.chain.count >= 2)
        let both = #"{"id":"n","tap":"other","num_queues":2}"#
        let named = try connection.call("PUT", "vm.add-net", both, descriptors: [tap.file.raw])
        #expect(named.status == 400 && named.chain.last?.contains("$.tap") == true, "\(named.line) \(named.text)")
        #expect(try connection.call("GET", "vm.info").json.config.net.count == 0)
        // And the descriptors of a refused request, or of one that takes none, are closed.
        #expect(try connection.call("GET", "vmm.ping", descriptors: [tap.file.raw]).status == 200)
        #expect(Deadline.seconds(5).wait { vmm.descriptors <= before }, "\(before), then \(vmm.descriptors)")
    }
}
