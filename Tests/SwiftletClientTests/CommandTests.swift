import Foundation
import SwiftletClient
import TestSupport
import Testing

/// `swiftlet ctl` against a server of the tests: what it sends, what it prints, how it exits.
@Suite(.timeLimit(.minutes(15))) struct CommandTests {
    /// Runs a verb.
    private func ctl(
        _ fake: FakeVMM, _ arguments: [String], input: String = ""
    ) throws -> ProcessResult {
        let words = ["ctl", "--api-socket", fake.path] + arguments
        return try runProcess(Command(try Built.swiftlet(), words), input: Array(input.utf8))
    }

    @Test(arguments: [
        "boot", "delete", "nmi", "pause", "power-button", "reboot", "resume", "shutdown",
    ]) func actionsSendTheirRouteAndSayNothing(_ verb: String) throws {
        let fake = try FakeVMM(reply: Reply.done)
        let result = try ctl(fake, [verb])
        #expect(result.succeeded && result.text.isEmpty && result.errors.isEmpty, "\(result)")
        #expect(fake.requests.map(\.line) == ["PUT /api/v1/vm.\(verb) HTTP/1.1"])
    }

    @Test func aMigrationInWords() throws {
        let body =
            #"{"role":"source","state":"copying","owner":"source","over":false,"round":2,"sent_bytes":2097152,"rate_bytes_per_s":1048576}"#
        let fake = try FakeVMM(reply: Reply.json(body))
        let shown = try ctl(fake, ["migration"])
        #expect(
            shown.text == """
                role              source
                state             copying
                owner             source
                over              no
                round             2
                sent_bytes        2 MiB
                rate_bytes_per_s  1 MiB/s

                """)
        #expect(try ctl(fake, ["migration", "--json"]).text == body + "\n")
    }

    @Test func aCheckTellsEveryReason() throws {
        let good = try FakeVMM(reply: Reply.json(#"{"possible":true,"reasons":[]}"#))
        let yes = try ctl(good, ["migration-check", "unix:/m"])
        #expect(yes.succeeded && yes.text.isEmpty, "\(yes)")
        #expect(good.requests.map(\.line) == ["PUT /api/v1/vm.migration.check HTTP/1.1"])
        let bad = try FakeVMM(reply: Reply.json(#"{"possible":false,"reasons":["no disk","no tap"]}"#))
        let no = try ctl(bad, ["migration-check", "unix:/m"])
        #expect(no.ending == .exited(1) && no.errors.contains("no disk") && no.errors.contains("no tap"), "\(no)")
    }

    @Test func migrationCancel() throws {
        let fake = try FakeVMM(reply: Reply.done)
        #expect(try ctl(fake, ["migration-cancel"]).succeeded)
        #expect(fake.requests.map(\.line) == ["PUT /api/v1/vm.migration.cancel HTTP/1.1"])
    }

    @Test func shutdownVMM() throws {
        let fake = try FakeVMM(reply: Reply.head(200) + "Content-Length: 0\r\n\r\n")
        let result = try ctl(fake, ["shutdown-vmm"])
        #expect(result.succeeded && result.text.isEmpty, "\(result)")
        #expect(fake.requests.map(\.line) == ["PUT /api/v1/vmm.shutdown HTTP/1.1"])
    }

    @Test func argumentsBecomeJSON() throws {
        let fake = try FakeVMM(reply: Reply.done)
        let cases: [([String], String, JSON)] = [
            (
                ["add-disk", "path=/a b.raw,readonly=on,image_type=raw,num_queues=2,id=d"], "vm.add-disk",
                ["path": "/a b.raw", "readonly": true, "image_type": "Raw", "num_queues": 2, "id": "d"]
            ),
            (
                ["add-net", "tap=t0,mac=52:54:00:00:00:01,mtu=1400"], "vm.add-net",
                ["tap": "t0", "mac": "52:54:00:00:00:01", "mtu": 1400]
            ),
            (["add-vsock", "cid=3,socket=/v"], "vm.add-vsock", ["cid": 3, "socket": "/v"]),
            (["add-fs", "tag=t,socket=/f"], "vm.add-fs", ["tag": "t", "socket": "/f"]),
            (["add-pmem", "file=/p,size=1G"], "vm.add-pmem", ["file": "/p", "size": 1_073_741_824]),
            (["add-device", "path=/sys/d,iommu=on"], "vm.add-device", ["path": "/sys/d", "iommu": true]),
            (["add-user-device", "socket=/u"], "vm.add-user-device", ["socket": "/u"]),
            (["add-vdpa", "path=/dev/v,num_queues=1"], "vm.add-vdpa", ["path": "/dev/v", "num_queues": 1]),
            (["remove-device", "_disk0"], "vm.remove-device", ["id": "_disk0"]),
            (
                ["resize", "--cpus", "2", "--memory", "1G", "--balloon", "5K"], "vm.resize",
                ["desired_vcpus": 2, "desired_ram": 1_073_741_824, "desired_balloon": 5120]
            ),
            (
                ["resize-disk", "--disk", "d", "--size", "2G"], "vm.resize-disk",
                ["id": "d", "desired_size": 2_147_483_648]
            ),
            (["resize-zone", "--id", "z", "--size", "9"], "vm.resize-zone", ["id": "z", "desired_ram": 9]),
            (["coredump", "file:///c"], "vm.coredump", ["destination_url": "file:///c"]),
            (["snapshot", "file:///s"], "vm.snapshot", ["destination_url": "file:///s"]),
            (
                ["snapshot", "--type", "Diff", "file:///s"], "vm.snapshot",
                ["destination_url": "file:///s", "type": "Diff"]
            ),
            (
                ["snapshot", "--disks", "copy", "file:///s"], "vm.snapshot",
                ["destination_url": "file:///s", "disks": "copy"]
            ),
            (
                ["restore", "source_url=file:///s,disks=reflink", "--override", "serial.file=/l"], "vm.restore",
                ["source_url": "file:///s", "disks": "reflink", "overrides": ["serial": ["file": "/l"]]]
            ),
            (
                ["restore", "source_url=file:///s,prefault=on,resume=true"], "vm.restore",
                ["source_url": "file:///s", "prefault": true, "resume": true]
            ),
            (
                ["send-migration", "--local", "unix:/m"], "vm.send-migration",
                ["destination_url": "unix:/m", "local": true]
            ),
            (
                ["send-migration", "destination_url=tcp:h:1,downtime_ms=300"], "vm.send-migration",
                ["destination_url": "tcp:h:1", "downtime_ms": 300]
            ),
            (
                ["send-migration", "destination_url=tcp:h:1,connections=8,bandwidth=1G,auto_converge=off"],
                "vm.send-migration",
                ["destination_url": "tcp:h:1", "connections": 8, "bandwidth": 1_073_741_824, "auto_converge": false]
            ),
            (
                ["send-migration", "destination_url=tcp:h:1,disks=mirror"], "vm.send-migration",
                ["destination_url": "tcp:h:1", "disks": "mirror"]
            ),
            (
                ["receive-migration", "--disk", "a=/x,y=z", "--disk", "b=/b", "unix:/m"], "vm.receive-migration",
                ["receiver_url": "unix:/m", "disks": [["id": "a", "path": "/x,y=z"], ["id": "b", "path": "/b"]]]
            ),
            (["migration-resolve", "abc", "discard"], "vm.migration.resolve", ["token": "abc", "action": "discard"]),
            (["receive-migration", "tcp:0.0.0.0:1"], "vm.receive-migration", ["receiver_url": "tcp:0.0.0.0:1"]),
        ]
        for (arguments, route, body) in cases {
            let result = try ctl(fake, arguments)
            #expect(result.succeeded, "\(arguments): \(result)")
            let request = fake.requests.last { $0.line.hasPrefix("PUT") }
            #expect(request?.line == "PUT /api/v1/\(route) HTTP/1.1")
            #expect(try JSON(parsing: #require(request).body) == body, "\(arguments)")
        }
    }

    /// Lines of JSON while a migration goes on and one at its end, where the output is no terminal.
    @Test func aMigrationTellsHowFarItIs() throws {
        let report = #"{"state":"copying","round":2}"#
        let fake = try FakeVMM { request in
            if request.line.hasPrefix("PUT") { return [.sleep(milliseconds: 1300), .send(Array(Reply.done.utf8))] }
            return [.send(Array(Reply.json(report).utf8))]
        }
        let told = try ctl(fake, ["send-migration", "tcp:h:1"])
        #expect(told.succeeded && told.errors.isEmpty, "\(told)")
        let lines = told.text.split(separator: "\n")
        #expect(lines.count >= 2 && lines.allSatisfy { $0 == report }, "\(told)")
        for quiet in [["send-migration", "--no-progress", "tcp:h:1"], ["--json", "send-migration", "tcp:h:1"]] {
            let result = try ctl(fake, quiet)
            #expect(result.succeeded && result.text.isEmpty, "\(quiet): \(result)")
        }
        #expect(try ctl(fake, ["--json", "send-migration", "--progress", "tcp:h:1"]).text.hasPrefix(report + "\n"))
    }

    @Test func createSendsTheFileAsItIs() throws {
        let fake = try FakeVMM(reply: Reply.done)
        let scratch = try ScratchDirectory("create")
        let config = "{ \"unknown\": 1,\n \"memory\":{}}\n"
        #expect(try ctl(fake, ["create", scratch.write("vm.json", config)]).succeeded)
        #expect(try ctl(fake, ["create"], input: config).succeeded)
        #expect(try ctl(fake, ["create", "-"], input: config).succeeded)
        #expect(fake.requests.map(\.text) == [config, config, config])
        let missing = try ctl(fake, ["create", scratch.path("none")])
        #expect(missing.ending == .exited(65) && missing.errors.contains("none: cannot be read: No such file"))
    }

    @Test func pingInWordsAndAsItIs() throws {
        let body = #"{"build_version":"b1","version":"54.0.0","pid":42,"features":["kvm"]}"#
        let fake = try FakeVMM(reply: Reply.json(body))
        #expect(try ctl(fake, ["ping"]).text == "version   54.0.0\nbuild     b1\npid       42\nfeatures  kvm\n")
        #expect(try ctl(fake, ["ping", "--json"]).text == body + "\n")
    }

    @Test func infoInWordsAndAsItIs() throws {
        let fake = try FakeVMM(reply: Reply.json(Samples.info))
        let text = """
            state    Running
            vcpus    2, at most 4
            memory   512 MiB, shared
            kernel   /boot/vmlinux
            cmdline  console=ttyS0
            serial   Tty
            console  Pty /dev/pts/7

            DEVICE     ADDRESS                 KIND     DETAILS
            _disk0     0000:00:02.0            disk     /srv/a.raw, raw, read-only
            _net1      -                       net      tap0, 52:54:00:00:00:01, MTU 1500
            _vsock2    -                       vsock    cid 3, /run/v
            __console  -                       console  Pty /dev/pts/7
            __rng      0000:00:01.0            rng      /dev/urandom
            old        0000:00:03.0 (leaving)  disk
            new        0000:00:04.0

            """
        #expect(try ctl(fake, ["info"]).text == text)
        #expect(try ctl(fake, ["--json", "info"]).text == Samples.info + "\n")
    }

    @Test func countersAreATable() throws {
        let body = """
            {"_net1":{"rx":7,"rx_frames":8,"rx_bytes":1023},"_vsock2":{"tx_packets":1},\
            "_disk0":{"write_ops":12345,"read_ops":9,"read_bytes":1610612736,"read_latency_avg":850,\
            "read_latency_max":18446744073709551615}}
            """
        let fake = try FakeVMM(reply: Reply.json(body))
        let text = """
            DEVICE   COUNTER                          VALUE  UNIT
            _disk0   read_bytes                         1.5  GiB
            _disk0   read_latency_avg                   850  us
            _disk0   read_latency_max  18446744073709551615  us
            _disk0   read_ops                             9  requests
            _disk0   write_ops                        12345  requests
            _net1    rx                                   7
            _net1    rx_bytes                          1023  B
            _net1    rx_frames                            8  frames
            _vsock2  tx_packets                           1  packets

            """
        #expect(try ctl(fake, ["counters"]).text == text)
        #expect(try ctl(fake, ["counters", "--json"]).text == body + "\n")
    }

    @Test func addedDevicesAreNamed() throws {
        let body = #"{"id":"_disk1","bdf":"0000:00:05.0"}"#
        let running = try FakeVMM(reply: Reply.json(body))
        #expect(try ctl(running, ["add-disk", "path=/a"]).text == "_disk1 is at 0000:00:05.0\n")
        #expect(try ctl(running, ["add-disk", "path=/a", "--json"]).text == body + "\n")
        let cold = try FakeVMM(reply: Reply.done)
        #expect(try ctl(cold, ["add-disk", "path=/a"]).text == "added to the VM's configuration\n")
        #expect(try ctl(cold, ["add-disk", "path=/a", "--json"]).text.isEmpty)
    }

    @Test func childrenOfAForkAreNamed() throws {
        let body = #"{"children":[{"api_socket":"/a","pid":7},{"api_socket":"/b","pid":8}]}"#
        let fake = try FakeVMM(reply: Reply.json(body))
        #expect(try ctl(fake, ["fork", "/a", "/b"]).text == "/a 7\n/b 8\n")
        #expect(try ctl(fake, ["fork", "/a", "/b", "--json"]).text == body + "\n")
        let neither = try ctl(fake, ["fork"])
        #expect(neither.ending == .exited(64) && neither.errors.contains("--request"), "\(neither)")
    }

    @Test func metricsAreThemselves() throws {
        let fake = try FakeVMM(reply: Reply.json("# TYPE a counter\na 1\n"))
        #expect(try ctl(fake, ["metrics"]).text == "# TYPE a counter\na 1\n")
    }

    @Test func aRefusalIsAChainOfCauses() throws {
        let fake = try FakeVMM(
            reply: Reply.json(#"["Error from API","The VM could not boot","bad\u001b[2J thing"]"#, 500))
        let result = try ctl(fake, ["boot"])
        #expect(result.ending == .exited(1) && result.text.isEmpty)
        let lines = """
            swiftlet: the VMM refused PUT /api/v1/vm.boot with 500 Internal Server Error
              caused by: Error from API
              caused by: The VM could not boot
              caused by: bad [2J thing

            """
        #expect(result.errors == lines)
    }

    @Test func exitStatusesAreAsDocumented() throws {
        let scratch = try ScratchDirectory("status")
        func status(_ arguments: [String]) throws -> (Ending, String) {
            let result = try runProcess(Command(try Built.swiftlet(), ["ctl"] + arguments))
            #expect(result.errors.hasPrefix("swiftlet: "), "\(result)")
            return (result.ending, result.errors)
        }
        let nobody = try status(["--api-socket", scratch.path("none"), "ping"])
        #expect(nobody.0 == .exited(69) && nobody.1.contains("caused by: No such file or directory (ENOENT)"))
        #expect(try status(["ping"]).0 == .exited(64))
        for usage in [
            ["add-disk", "pth=/a"], ["add-disk", "path"], ["resize"], ["resize", "--memory", "1X"], ["resize-disk"],
            ["remove-device"], ["wait", "sleeping"], ["wait", "running", "--timeout", "-1"], ["frobnicate"],
            ["add-net", "fd=[200]"], ["send-migration", "local=on"],
        ] {
            #expect(try status(["--api-socket", scratch.path("none")] + usage).0 == .exited(64), "\(usage)")
        }
        let other = try FakeVMM(reply: "SSH-2.0\r\n\r\n")
        #expect(try status(["--api-socket", other.path, "ping"]).0 == .exited(76))
        let silent = try FakeVMM { _ in [] }
        #expect(try status(["--api-socket", silent.path, "ping"]).0 == .exited(76))
        let time = try status(["--api-socket", scratch.path("none"), "wait", "running", "--timeout", "0.2"])
        #expect(time.0 == .exited(124) && time.1.contains("the VM was not running in time"))
    }

    @Test func asChRemoteItPrintsJSON() throws {
        let scratch = try ScratchDirectory("remote")
        let link = scratch.path("ch-remote")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: try Built.swiftlet())
        let fake = try FakeVMM(reply: Reply.json(#"{"version":"54.0.0"}"#))
        let result = try runProcess(Command(link, ["--api-socket", fake.path, "ping"]))
        #expect(result.text == #"{"version":"54.0.0"}"# + "\n", "\(result)")
        let version = try runProcess(Command(link, ["--version"]))
        #expect(version.succeeded && version.text.hasPrefix("ch-remote v"), "\(version)")
    }

    @Test func watchShowsEventsAsTheyCome() throws {
        let event =
            #"{"timestamp":{"secs":1,"nanos":2000},"source":"vm","event":"device-removed","properties":{"id":"d"}}"#
        let plain = #"{"timestamp":{"secs":12,"nanos":0},"source":"vmm","event":"shutdown","properties":null}"#
        let fake = try FakeVMM { _ in
            [
                .send(Array((Reply.events + "data: \(event)\n\n").utf8)), .sleep(milliseconds: 50),
                .send(Array("data: \(plain)\n\n".utf8)),
            ]
        }
        let text = "1.000002  vm  device-removed  id=d\n12.000000  vmm  shutdown\n"
        #expect(try ctl(fake, ["watch"]).text == text)
        #expect(try ctl(fake, ["watch", "--json"]).text == "\(event)\n\(plain)\n")
    }

    @Test func waitEndsWithTheState() throws {
        func fake(_ state: String) throws -> FakeVMM {
            try FakeVMM(reply: Reply.json(Samples.info.replacing("Running", with: state)))
        }
        #expect(try ctl(fake("Running"), ["wait", "running"]).succeeded)
        #expect(try ctl(fake("Running"), ["wait", "running", "--timeout", "0"]).succeeded)
        #expect(try ctl(fake("Shutdown"), ["wait", "shutdown"]).succeeded)
        #expect(try ctl(fake("Created"), ["wait", "shutdown"]).succeeded)
        #expect(try ctl(fake("Paused"), ["wait", "running", "--timeout", "0.1"]).ending == .exited(124))
        #expect(try ctl(fake("Running"), ["wait", "shutdown", "--timeout", "0.1"]).ending == .exited(124))
        let gone = try FakeVMM(reply: Reply.json(#"["Error from API","The VM info is not available"]"#, 404))
        #expect(try ctl(gone, ["wait", "shutdown"]).succeeded)
        let broken = try FakeVMM(reply: Reply.json("[]", 500))
        #expect(try ctl(broken, ["wait", "running"]).ending == .exited(1))
        let stuck = try FakeVMM { _ in [.hold] }
        #expect(try ctl(stuck, ["wait", "running", "--timeout", "0.2"]).ending == .exited(124))
    }
}
