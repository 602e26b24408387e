import Testing

@testable import Spec

@Suite struct EncodingTests {
    @Test(arguments: [
        AcceptanceTests.everything, "{}", #"{"payload":{"firmware":"/f"},"console":{"mode":"Null"}}"#,
        #"{"disks":[{"path":"/ä \"b\"\n"}],"net":[{}]}"#,
    ])
    func comesBackAsItWas(json: String) throws {
        let config = try config(json)
        let text = config.json.text()
        #expect(try VMConfig.parse(Array(text.utf8), mode: .strict).config == config)
        let indented = config.json.text(.indented)
        #expect(try VMConfig.parse(Array(indented.utf8), mode: .strict).config == config)
    }

    @Test func comesBackWithAssignedIDs() throws {
        var config = try config(AcceptanceTests.everything)
        config.rng.id = nil
        config.console.id = nil
        var names = DeviceNames()
        config.assignIDs(&names)
        #expect(config.rng.id == "__rng" && config.console.id == "__console")
        #expect(try Spec.VMConfig.parse(Array(config.json.text().utf8)).config == config)
    }

    @Test func leavesUnsetOptionsOut() {
        #expect(
            VMConfig().json.text()
                == #"{"cpus":{"boot_vcpus":1,"max_vcpus":1,"kvm_hyperv":false,"max_phys_bits":46,"#
                + #""features":{"amx":false},"nested":true,"core_scheduling":"Vm","profile":"Host"},"#
                + #""memory":{"size":536870912,"mergeable":false,"hotplug_method":"Acpi","shared":false,"#
                + #""hugepages":false,"prefault":false,"reserve":false,"thp":true},"payload":{},"#
                + #""rng":{"pci_segment":0,"src":"/dev/urandom"},"serial":{"mode":"Null"},"#
                + #""console":{"mode":"Tty","pci_segment":0},"debug_console":{"mode":"Off","iobase":233},"#
                + #""pvpanic":false,"iommu":false,"watchdog":false,"landlock_enable":false}"#)
    }

    @Test func sharesOneCounterAmongAutomaticIDs() {
        var config = VMConfig()
        config.disks = [DiskConfig(path: "/a"), DiskConfig(path: "/b"), DiskConfig(path: "/c")]
        config.disks[1].id = "_disk1"
        config.net = [NetConfig(), NetConfig()]
        config.console.mode = .off
        var names = DeviceNames()
        config.assignIDs(&names)
        #expect(config.disks.map(\.id) == ["_disk0", "_disk1", "_disk2"])
        #expect(config.net.map(\.id) == ["_net3", "_net4"])
        #expect(config.console.id == nil && config.rng.id == "__rng")
        #expect(names.next("_disk") == "_disk5")
        let before = config
        config.assignIDs(&names)
        #expect(config == before)
    }

    @Test func readsSingleDevices() throws {
        let disk = try DiskConfig.parse(Array(#"{"path":"/a","num_queues":2,"x":1}"#.utf8), bootVCPUs: 2)
        #expect(disk.config.queueCount == 2 && disk.warnings.map(\.path) == ["$.x"])
        let net = try NetConfig.parse(Array(#"{"tap":"t"}"#.utf8), bootVCPUs: 1)
        #expect(net.config.tap == "t")
        let wrong = #expect(throws: SpecError.self) { try DiskConfig.parse(Array("{}".utf8), bootVCPUs: 1) }
        #expect(wrong?.description == "$.path: missing; give the path of a disk image")
        #expect(throws: SpecError.self) { try NetConfig.parse(Array("[]".utf8), bootVCPUs: 1) }
    }

    @Test func validatesWhatCodeHasMade() {
        var config = VMConfig()
        config.cpus = CPUsConfig(boot: 0)
        config.memory.size = 1
        let error = #expect(throws: SpecError.self) { try config.validate() }
        #expect(
            error?.issues.map(\.path) == ["$.cpus.boot_vcpus", "$.cpus.max_vcpus", "$.memory.size", "$.memory.size"])
    }

    @Test func readsAndPrintsAddresses() {
        #expect(MACAddress("2e:89:A8:e4:92:05")?.description == "2e:89:a8:e4:92:05")
        for wrong in ["", "2e:89:a8:e4:92:95:01", "2e-89-a8-e4-92-95", "-1:89:a8:e4:92:95", "é:89:a8:e4:92:9"] {
            #expect(MACAddress(wrong) == nil)
        }
        #expect(IPv4Address("255.0.10.1")?.description == "255.0.10.1")
        for wrong in ["", "1.2.3.4.5", "1.2.3.", "+1.2.3.4", "1.2.3.-4", "1.2.3.4 ", "256.0.0.1"] {
            #expect(IPv4Address(wrong) == nil)
        }
        let masks: [(UInt32, Bool)] = [(0, true), (.max, true), (0xffff_ff00, true), (0xff00_ff00, false), (1, false)]
        for (mask, right) in masks { #expect(IPv4Address(value: mask).isMask == right) }
    }
}
