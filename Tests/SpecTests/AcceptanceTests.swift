import Testing

@testable import Spec

@Suite struct AcceptanceTests {
    static let everything = #"""
        {"cpus":{"boot_vcpus":4,"max_vcpus":8,"max_phys_bits":40,"nested":true,"kvm_hyperv":false,
          "topology":{"threads_per_core":2,"cores_per_die":2,"dies_per_package":1,"packages":2},
          "affinity":[{"vcpu":0,"host_cpus":[0,2]},{"vcpu":7,"host_cpus":[8191]}],"core_scheduling":"Vm"},
         "memory":{"size":2147483648,"shared":true,"hugepages":true,"hugepage_size":1073741824,"prefault":true,
          "mergeable":false,"thp":false,"dirty_log":"Ring"},
         "payload":{"kernel":"/boot/vmlinux","cmdline":"console=hvc0 root=\/dev\/vda","initramfs":"/boot/initrd"},
         "disks":[{"path":"/a.raw","readonly":true,"direct":true,"serial":"12345678901234567890","id":"root",
           "num_queues":4,"queue_size":4,"image_type":"Raw","sparse":false,"disable_io_uring":true,
           "disable_aio":true,"lock_granularity":"Full","logical_block_size":512,"physical_block_size":4096},
          {"path":"/b.raw"}],
         "net":[{"tap":"tap0","ip":"192.168.249.1","mask":"255.255.255.0","mac":"2E:89:A8:E4:92:95",
           "host_mac":"2e:89:a8:e4:92:96","mtu":1280,"num_queues":8,"queue_size":32768,"id":"lan",
           "offload_tso":false,"offload_ufo":false,"offload_csum":false},{}],
         "rng":{"src":"/dev/random","iommu":false,"id":"entropy"},
         "serial":{"mode":"File","file":"/serial.log"},
         "console":{"mode":"Socket","socket":"/console.sock","id":"con"},
         "debug_console":{"mode":"Pty","iobase":1026}}
        """#

    @Test func readsEveryField() throws {
        let config = try config(Self.everything)
        #expect(config.cpus.bootVCPUs == 4 && config.cpus.maxVCPUs == 8 && config.cpus.maxPhysBits == 40)
        #expect(
            config.cpus.topology
                == CPUTopology(threadsPerCore: 2, coresPerDie: 2, diesPerPackage: 1, packages: 2))
        #expect(
            config.cpus.affinity
                == [CPUAffinity(vcpu: 0, hostCPUs: [0, 2]), CPUAffinity(vcpu: 7, hostCPUs: [8191])])
        var memory = MemoryConfig(size: 2 << 30)
        memory.shared = true
        memory.hugepages = true
        memory.hugepageSize = 1 << 30
        memory.prefault = true
        memory.thp = false
        memory.dirtyLog = .ring
        #expect(config.memory == memory)
        #expect(
            config.payload
                == PayloadConfig(
                    kernel: "/boot/vmlinux", cmdline: "console=hvc0 root=/dev/vda", initramfs: "/boot/initrd"))
        #expect(config.rng.source == "/dev/random" && config.rng.id == "entropy")
        #expect(config.serial == ConsoleConfig(file: "/serial.log"))
        #expect(config.console.mode == .socket && config.console.socket == "/console.sock")
        #expect(config.console.id == "con")
        #expect(config.debugConsole.mode == .pty && config.debugConsole.ioBase == 1026)
    }

    @Test func readsEveryFieldOfDevices() throws {
        let config = try config(Self.everything)
        var disk = DiskConfig(path: "/a.raw")
        disk.readonly = true
        disk.direct = true
        disk.serial = "12345678901234567890"
        disk.id = "root"
        disk.queueCount = 4
        disk.queueSize = 4
        disk.imageType = .raw
        disk.sparse = false
        disk.disableIOUring = true
        disk.disableAIO = true
        disk.lockGranularity = .full
        disk.logicalBlockSize = 512
        disk.physicalBlockSize = 4096
        #expect(config.disks == [disk, DiskConfig(path: "/b.raw")])
        var net = NetConfig()
        net.tap = "tap0"
        net.ip = IPv4Address(value: 0xc0a8_f901)
        net.mask = IPv4Address("255.255.255.0")
        net.mac = MACAddress(bytes: [0x2e, 0x89, 0xa8, 0xe4, 0x92, 0x95])
        net.hostMAC = MACAddress("2e:89:a8:e4:92:96")
        net.mtu = 1280
        net.queueCount = 8
        net.queueSize = 32768
        net.id = "lan"
        net.offloadTSO = false
        net.offloadUFO = false
        net.offloadChecksum = false
        #expect(config.net == [net, NetConfig()])
    }

    @Test func hasTheDefaultsOfCloudHypervisor() throws {
        let config = try config("{}")
        #expect(config == VMConfig())
        #expect(config.cpus == CPUsConfig(boot: 1, max: 1) && config.cpus.maxPhysBits == 46)
        #expect(config.memory.size == 512 << 20 && config.memory.thp && !config.memory.shared)
        #expect(config.payload == nil && config.disks.isEmpty && config.net.isEmpty)
        #expect(config.console == ConsoleConfig(mode: .tty) && config.serial == ConsoleConfig(mode: .null))
        #expect(config.debugConsole.mode == .off && config.debugConsole.ioBase == 0xe9)
        #expect(config.rng.source == "/dev/urandom")
        let disk = DiskConfig(path: "/a")
        #expect(disk.queueCount == 1 && disk.queueSize == 128 && disk.sparse && disk.imageType == .unknown)
        let net = NetConfig()
        #expect(net.queueCount == 2 && net.queueSize == 256 && net.offloadTSO && net.offloadUFO)
        #expect(net.offloadChecksum && net.mac == nil)
    }

    @Test func takesNullForOptionalFields() throws {
        let json = #"""
            {"cpus":{"boot_vcpus":1,"max_vcpus":1,"topology":null,"affinity":null,"max_phys_bits":null},
             "memory":{"size":536870912,"hugepage_size":null,"zones":null,"hotplug_size":null},
             "payload":null,"disks":[{"path":"/a","id":null,"serial":null,"rate_limiter_config":null}],
             "net":[{"tap":null,"ip":null,"mac":null,"fds":null,"mtu":null}],"rng":null,"serial":null,
             "console":{"mode":"Off","file":null,"socket":null},"debug_console":{"mode":"Off","iobase":null},
             "fs":null,"vsock":null,"balloon":null,"platform":null,"numa":null}
            """#
        var expected = VMConfig()
        expected.disks = [DiskConfig(path: "/a")]
        expected.net = [NetConfig()]
        expected.console = ConsoleConfig(mode: .off)
        #expect(try config(json) == expected)
    }

    @Test func takesUnsupportedFieldsThatAskForNothing() throws {
        let json = #"""
            {"cpus":{"boot_vcpus":1,"max_vcpus":1,"nested":true,"kvm_hyperv":false,"features":{"amx":false},
              "profile":"Host"},
             "memory":{"size":536870912,"hotplug_method":"Acpi","hotplug_size":0,"reserve":false,"zones":[]},
             "payload":{"kernel":"/k"},"fs":[],"pmem":[],"devices":[],"pvpanic":false,"iommu":false,
             "watchdog":false,"landlock_enable":false,"disks":[],"net":[],
             "platform":{"num_pci_segments":1,"iommu_segments":null,"iommu_address_width_bits":64,"tdx":false,
              "vfio_p2p_dma":true}}
            """#
        var expected = VMConfig()
        expected.payload = PayloadConfig(kernel: "/k")
        #expect(try config(json) == expected)
    }

    @Test func takesAnEmptyPayloadForNone() throws {
        for json in [#"{"payload":{}}"#, #"{"payload":{"kernel":null,"cmdline":null}}"#, #"{"payload":null}"#] {
            #expect(try config(json) == VMConfig())
        }
    }

    @Test func givesTheTerminalToTheConsoleThatAsksForIt() throws {
        let serial = try config(#"{"serial":{"mode":"Tty"}}"#)
        #expect(serial.serial.mode == .tty && serial.console.mode == .null)
        let debug = try config(#"{"console":null,"debug_console":{"mode":"Tty"}}"#)
        #expect(debug.debugConsole.mode == .tty && debug.console.mode == .null)
        #expect(try config { $0.serial = "tty" } == serial)
        #expect(try config(#"{"serial":{"mode":"Pty"}}"#).console.mode == .tty)
    }

    @Test func takesImagesThatNobodyWritesTwice() throws {
        let twice = try config(#"{"disks":[{"path":"/a","readonly":true},{"path":"/a","readonly":true}]}"#)
        #expect(twice.disks.count == 2)
        // Two spellings of one letter are two names to the kernel.
        let spellings = try config(#"{"disks":[{"path":"/\u00e9"},{"path":"/e\u0301"}]}"#)
        #expect(spellings.disks.count == 2)
    }

    @Test func takesWholeNumbersInAnyForm() throws {
        #expect(try config(#"{"memory":{"size":1.073741824e9}}"#).memory.size == 1 << 30)
    }

    @Test func passesOverUnknownFieldsWhenLenient() throws {
        let json = #"{"sgx_epc":[1],"disks":[{"path":"/a","raedonly":true}],"memory":{"size":16777216,"x":{}}}"#
        let parsed = try VMConfig.parse(Array(json.utf8), mode: .lenient)
        #expect(
            parsed.warnings.map(\.description) == [
                "$.memory.x: unknown and ignored; allowed: dirty_log, file, hotplug_method, hotplug_size, hotplugged_size, "
                    + "hugepage_size, hugepages, mergeable, prefault, reserve, shared, size, thp, zones",
                "$.disks[0].raedonly: unknown and ignored; did you mean 'readonly'?",
                parsed.warnings[2].description,
            ])
        #expect(parsed.warnings[2].path == "$.sgx_epc" && parsed.warnings[2].kind == .unknownField)
        #expect(parsed.config.disks == [DiskConfig(path: "/a")])
        #expect(issues(#"{"fs":[{}]}"#, mode: .lenient) == issues(#"{"fs":[{}]}"#))
        #expect(issues(#"{"cpus":{"boot_vcpus":0,"max_vcpus":1}}"#, mode: .lenient).count == 1)
    }

    @Test func refusesUnknownFieldsOfARateLimiterAlways() throws {
        let json = #"{"net":[{"rate_limiter_config":{"bandwidth":null,"opps":null}}]}"#
        let issue = "$.net[0].rate_limiter_config.opps: unknown; did you mean 'ops'?"
        #expect(issues(json) == [issue])
        #expect(issues(json, mode: .lenient) == [issue])
    }

    @Test func warnsOfWhatAFirmwareIgnores() throws {
        let json = #"{"payload":{"firmware":"/f","cmdline":"quiet"}}"#
        let parsed = try VMConfig.parse(Array(json.utf8))
        #expect(
            parsed.warnings == [
                SpecIssue(.ignored, "$.payload.cmdline", "ignored, as a firmware boots; give a kernel to use it")
            ])
    }

    /// Numbers of a client's descriptors mean nothing here: the descriptors come beside the request.
    @Test func ignoresNumbersOfDescriptorsOverTheAPI() throws {
        let parsed = try NetConfig.parse(Array(#"{"fds":[3,4],"num_queues":4}"#.utf8), bootVCPUs: 2)
        #expect(parsed.config.queueCount == 4)
        #expect(
            parsed.warnings == [
                SpecIssue(
                    .ignored, "$.fds",
                    "numbers of descriptors are ignored; send the descriptors with the request (SCM_RIGHTS)")
            ])
    }
}
