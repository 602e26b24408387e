import Testing

@testable import Spec

@Suite struct FlagTests {
    @Test func readsEveryFlag() throws {
        let config = try config {
            $0.cpus = "boot=4,max=8,topology=2:2:1:2,affinity=[0@[1,3-5],7@[2]],max_phys_bits=40,nested=on"
            $0.memory =
                "size=1G,shared=on,hugepages=true,hugepage_size=2M,prefault=off,mergeable=false,"
                + "thp=OFF,dirty_log=ring"
            $0.kernel = "/boot/vmlinux"
            $0.cmdline = "console=hvc0, \"x\"=[1"
            $0.initramfs = "/boot/initrd"
            $0.disks = [
                "path=a.raw,readonly=on,id=x,serial=s,num_queues=4,queue_size=64,image_type=raw,direct=on",
                "path=\"b,[c\"\".raw\",sparse=off,_disable_io_uring=on,_disable_aio=on,lock_granularity=full,"
                    + "logical_block_size=4K,physical_block_size=4K,bw_size=0",
            ]
            $0.net = [
                "tap=,mac=2e:89:a8:e4:92:95,ip=10.0.0.1,mask=255.0.0.0,mtu=1500,num_queues=4,queue_size=512",
                "tap=tap1,host_mac=2e:89:a8:e4:92:96,offload_tso=off,offload_ufo=off,offload_csum=off,id=n",
            ]
            $0.rng = "src=/dev/random"
            $0.console = "file=/tmp/c.log,id=con"
            $0.serial = "socket=/tmp/s.sock"
            $0.debugConsole = "tty,iobase=0x402"
        }
        let json = #"""
            {"cpus":{"boot_vcpus":4,"max_vcpus":8,"max_phys_bits":40,
              "topology":{"threads_per_core":2,"cores_per_die":2,"dies_per_package":1,"packages":2},
              "affinity":[{"vcpu":0,"host_cpus":[1,3,4,5]},{"vcpu":7,"host_cpus":[2]}]},
             "memory":{"size":1073741824,"shared":true,"hugepages":true,"hugepage_size":2097152,"thp":false,
              "dirty_log":"Ring"},
             "payload":{"kernel":"/boot/vmlinux","cmdline":"console=hvc0, \"x\"=[1","initramfs":"/boot/initrd"},
             "disks":[{"path":"a.raw","readonly":true,"id":"x","serial":"s","num_queues":4,"queue_size":64,
               "image_type":"Raw","direct":true},
              {"path":"b,[c\".raw","sparse":false,"disable_io_uring":true,"disable_aio":true,
               "lock_granularity":"Full","logical_block_size":4096,"physical_block_size":4096}],
             "net":[{"mac":"2e:89:a8:e4:92:95","ip":"10.0.0.1","mask":"255.0.0.0","mtu":1500,"num_queues":4,
               "queue_size":512},
              {"tap":"tap1","host_mac":"2e:89:a8:e4:92:96","offload_tso":false,"offload_ufo":false,
               "offload_csum":false,"id":"n"}],
             "rng":{"src":"/dev/random"},"console":{"mode":"File","file":"/tmp/c.log","id":"con"},
             "serial":{"mode":"Socket","socket":"/tmp/s.sock"},"debug_console":{"mode":"Tty","iobase":1026}}
            """#
        #expect(config == (try Self.json(json)))
    }

    private static func json(_ text: String) throws -> VMConfig { try VMConfig.parse(Array(text.utf8)).config }

    @Test func hasTheDefaultsOfTheJSONFormat() throws {
        #expect(VMFlags().isEmpty)
        #expect(try config { _ in } == VMConfig())
        #expect(try config { $0.cpus = "" } == VMConfig())
        #expect(try config { $0.memory = "shared=off" } == VMConfig())
        #expect(try config { $0.cpus = "boot=3" }.cpus == CPUsConfig(boot: 3, max: 3))
        #expect(try config { $0.firmware = "/f" }.payload?.firmware == "/f")
        for (text, mode) in [("off", ConsoleMode.off), ("null", .null), ("pty", .pty), ("tty", .tty)] {
            #expect(try config { $0.console = text }.console == ConsoleConfig(mode: mode))
        }
    }

    @Test func namesTheFlagAndTheKey() {
        #expect(issues { $0.disks = ["pth=/a"] } == ["--disk: key 'pth': unknown; did you mean 'path'?"])
        #expect(
            issues { $0.disks = ["path=/a", "readonly=on"] }
                == ["--disk #2: key 'path': missing; give the path of a disk image"])
        #expect(
            issues { $0.cpus = "boot=0" } == [
                "--cpus: key 'boot': got 0, expected a whole number from 1 to 4096",
                "--cpus: key 'max': got 0, expected a whole number from 1 to 4096",
            ])
        #expect(
            issues { $0.cpus = "boot=2,affinity=[2@[0]]" }
                == ["--cpus: key 'affinity[0].vcpu': 2 is no vCPU of this VM; its vCPUs are 0 to 1"])
        #expect(
            issues {
                $0.kernel = ""
                $0.cmdline = "a\0"
            } == [
                "--kernel: empty; give a path or remove the field",
                "--cmdline: \"a\\u0000\" contains a NUL character; remove it",
            ])
        #expect(
            issues { $0.initramfs = "/i" } == [
                "--kernel: names neither a kernel nor a firmware; give one, or leave the payload out for the self-test"
            ])
        #expect(
            issues {
                $0.console = "tty"
                $0.serial = "tty"
            } == [
                "--serial: Tty is already the mode of --console; only one can have the terminal, turn one off"
            ])
        #expect(
            issues { $0.disks = ["path=/a", "path=/a"] } == [
                "--disk #2: key 'path': \"/a\" is already written by --disk; two writers destroy a file system; "
                    + "set readonly or use a copy"
            ])
    }

    @Test(arguments: [
        ("readonly=maybe", "key 'readonly': got \"maybe\", expected on, off, true or false"),
        ("num_queues=x", "key 'num_queues': got \"x\", expected a whole number"),
        ("num_queues=-1", "key 'num_queues': got \"-1\", expected a whole number"),
        ("num_queues=99999999999999999999", "key 'num_queues': got \"99999999999999999999\", expected a whole number"),
        ("num_queues=65537", "key 'num_queues': got 65537, expected a whole number from 1 to 1024"),
        (
            "logical_block_size=1T",
            "key 'logical_block_size': got \"1T\", expected a size in bytes, or with K, M or G, like 512M"
        ),
        (
            "logical_block_size=99999999999G",
            "key 'logical_block_size': got \"99999999999G\", expected a size in bytes, or with K, M or G, like 512M"
        ),
        ("image_type=iso", "key 'image_type': got \"iso\", expected one of qcow2, raw, vhd, vhdx, vmdk"),
        (
            "image_type=qcow2",
            "key 'image_type': Qcow2 is not supported yet by this version; only Raw and Unknown are; "
                + "convert the image with 'qemu-img convert -O raw'"
        ),
        ("queue_affinity=[0@1@2]", "key 'queue_affinity': got \"[0@1@2]\", expected a list like [0@[1,2],1@[3]]"),
        (
            "queue_affinity=[0@[1]]",
            "key 'queue_affinity': 'queue_affinity' is not supported yet by this version; remove it"
        ),
        ("socket=/s", "key 'socket': 'socket' is not supported yet by this version; remove it"),
        ("bw_size=10", "key 'bw_size': \"10\": rate limiting is not supported yet by this version; remove it"),
        ("direct", "key 'direct': has no value; write direct=…"),
        ("direct=on,direct=off", "key 'direct': given twice; keep one"),
        ("", "key 'path': missing; give the path of a disk image"),
    ])
    func refusesWrongDisks(options: String, message: String) {
        let text = options.isEmpty ? "" : "path=/a," + options
        #expect(issues { $0.disks = [text] } == ["--disk: " + message])
    }

    @Test func callsKeysWhatTheyAreOnTheCommandLine() {
        #expect(
            issues { $0.cpus = "boot_vcpus=2" } == ["--cpus: key 'boot_vcpus': unknown; did you mean 'boot'?"])
        #expect(
            issues { $0.cpus = "boot=4,max=2" }
                == ["--cpus: key 'max': 2 is less than boot, 4; raise it or lower boot"])
        #expect(
            issues { $0.cpus = "boot=4,topology=1:2:1:1" }
                == ["--cpus: key 'topology': 1 x 2 x 1 x 1 is 2, but max is 4; make them equal"])
        #expect(
            issues {
                $0.cpus = "max_phys_bits=36"
                $0.memory = "size=64G"
            } == [
                "--memory: key 'size': 68719476736 bytes do not fit into 36 address bits; "
                    + "raise --cpus: key 'max_phys_bits'"
            ])
        #expect(
            issues { $0.disks = ["path=/a,vhost_user=on"] }
                == ["--disk: key 'vhost_user': on is not supported yet by this version; only off is"])
        #expect(issues { $0.disks = ["path=/a,vhost_user=off"] } == [])
        #expect(issues { $0.net = ["fds=[3]"] } == ["--net: key 'fds': unknown; did you mean 'fd'?"])
        #expect(
            issues { $0.cpus = "nested=off" }
                == ["--cpus: key 'nested': off is not supported yet by this version; only on is"])
    }

    @Test func keepsMessagesOnOneShortLine() {
        let found = issues { $0.disks = ["path=/a,x\ny\u{2028}\u{202e}" + String(repeating: "k", count: 500) + "=1"] }
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("--disk: key 'x\\ny\\u2028\\u202ekkk") == true)
        #expect((found.first?.utf8.count ?? 0) < 800)
    }

    @Test func refusesWrongLists() {
        #expect(
            issues { $0.disks = ["path=\"a"] } == ["--disk: \"path=\\\"a\" has a quotation mark without its partner"])
        #expect(issues { $0.cpus = "affinity=[0@[1]" } == ["--cpus: \"affinity=[0@[1]\" has a '[' without its ']'"])
        #expect(issues { $0.cpus = "affinity=0]" } == ["--cpus: \"affinity=0]\" has a ']' without its '['"])
        #expect(
            issues { $0.cpus = "topology=1:2:3" }
                == ["--cpus: key 'topology': got \"1:2:3\", expected threads:cores:dies:packages, like 1:2:1:1"])
        #expect(
            issues { $0.cpus = "features=[amx]" }
                == ["--cpus: key 'features.amx': on is not supported yet by this version; only off is"])
        #expect(
            issues { $0.cpus = "affinity=[0@[3-1]]" }
                == ["--cpus: key 'affinity': got \"[0@[3-1]]\", expected a list like [0@[1,2],1@[3]]"])
        #expect(
            issues { $0.cpus = "affinity=[0@[0-18446744073709551615]]" }.first?.hasPrefix("--cpus: key 'affinity': got")
                == true)
        #expect(
            issues { $0.net = ["fd=[3,4]"] }
                == ["--net: key 'fd': 'fd' is not supported yet by this version; remove it"])
    }

    @Test func refusesWrongConsoles() {
        #expect(
            issues { $0.console = "ttyy" } == ["--console: key 'ttyy': unknown; did you mean 'tty'?"])
        #expect(issues { $0.console = "off,pty" } == ["--console: key 'pty': stands beside mode Off; give one mode"])
        #expect(issues { $0.serial = "file=" } == ["--serial: key 'file': missing; mode File needs the file's path"])
        #expect(issues { $0.serial = "file" } == ["--serial: key 'file': has no value; write file=…"])
        #expect(
            issues { $0.serial = "" }
                == ["--serial: no mode; give one of off|tty|pty|null|file=<path>|socket=<path>"])
        #expect(
            issues { $0.console = "id=x" }
                == ["--console: no mode; give one of off|tty|pty|null|file=<path>|socket=<path>"])
        #expect(
            issues { $0.debugConsole = "iobase=0xe9" }
                == ["--debug-console: no mode; give one of off|tty|pty|null|file=<path>"])
        #expect(
            issues { $0.debugConsole = "pty,iobase=233" } == [
                "--debug-console: key 'iobase': got \"233\", expected a port in hexadecimal from 0x0 to 0xffff, like 0xe9"
            ])
        #expect(
            issues { $0.debugConsole = "pty,iobase=0x3f8" } == [
                "--debug-console: key 'iobase': port 1016 belongs to the serial port; choose another, like 233 (0xe9)"
            ])
    }
}
