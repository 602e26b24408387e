import Boot
import Foundation
import Host
import Spec
import TestSupport
import Testing

@testable import Machine

/// The self-test guest in this process.
@Suite(.serialized) struct SelfTestGuestTests {
    @Test(arguments: [1, 2, 4]) func startsEveryVCPU(_ count: UInt32) throws {
        let run = try Guests.run(Guests.config(vcpus: count))
        expectPass(run)
        #expect(run.log.contains("the guest runs vcpus=\(count)"))
    }

    @Test(arguments: [UInt64(16), 128, 3584, 6144]) func bootsWithMemoryOf(_ mebibytes: UInt64) throws {
        let run = try Guests.run(Guests.config(mebibytes: mebibytes))
        expectPass(run)
        #expect(
            run.log.contains { $0.hasPrefix("memory ready: \(mebibytes) MiB in \(mebibytes > 3072 ? 2 : 1) range") })
    }

    @Test func bootsWithEveryKindOfMemory() throws {
        var shared = Guests.config()
        shared.memory.shared = true
        expectPass(try Guests.run(shared))
        shared.memory.prefault = true
        expectPass(try Guests.run(shared))
        var mergeable = Guests.config()
        mergeable.memory.mergeable = true
        mergeable.memory.thp = false
        expectPass(try Guests.run(mergeable))
        var prefault = Guests.config()
        prefault.memory.prefault = true
        expectPass(try Guests.run(prefault))
    }

    @Test func writesTheMarkedDiskOnly() throws {
        let scratch = try ScratchDirectory("machine")
        let size = 1 << 20
        var marked = [UInt8](repeating: 0, count: size)
        marked.replaceSubrange(0..<17, with: Array("SWIFTLET-SELFTEST".utf8))
        let plain = [UInt8](repeating: 0x5A, count: size)
        var config = Guests.config(vcpus: 2)
        config.disks = try [
            DiskConfig(path: scratch.write("marked", marked)), DiskConfig(path: scratch.write("plain", plain)),
            DiskConfig(path: scratch.write("fixed", marked)),
        ]
        config.disks[0].serial = "marked-disk"
        config.disks[2].readonly = true
        let run = try Guests.run(config)
        expectPass(run)
        #expect(run.serial.contains("id \"marked-disk"))
        #expect(run.serial.contains("2048 sectors"))
        let written = try scratch.read("marked")
        #expect(written.count == size)
        #expect(written.prefix(size - 512) == marked.prefix(size - 512))
        // The pattern: word n is the seed, which is word 0, times 2n + 1.
        let words = stride(from: size - 512, to: size, by: 8).map { start in
            written[start..<start + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
        let pattern = (0..<UInt64(64)).map { words[0] &* (2 * $0 + 1) }
        #expect(words[0] & 1 == 1)
        #expect(words == pattern)
        #expect(try scratch.read("plain") == plain)
        #expect(try scratch.read("fixed") == marked)
    }

    @Test func asksTheHostOverANewTap() throws {
        try #require(geteuid() == 0, "making a tap needs root")
        var config = Guests.config()
        config.net = [NetConfig()]
        config.net[0].tap = "swlmach0"
        config.net[0].ip = IPv4Address("192.168.245.1")
        config.net[0].mask = IPv4Address("255.255.255.0")
        let run = try Guests.run(config, "net_host=192.168.245.1 net_guest=192.168.245.2")
        expectPass(run)
        #expect(run.serial.contains("192.168.245.1 is at "))
        #expect(NetworkInterface.goes("swlmach0"))
    }

    @Test func writesALineToTheConsole() throws {
        let scratch = try ScratchDirectory("machine")
        var config = Guests.config()
        config.console = ConsoleConfig(file: scratch.path("console"))
        expectPass(try Guests.run(config))
        #expect(try scratch.read("console") == Array("swiftlet self-test: virtio console\r\n".utf8))
    }

    @Test func followsABARThatMoves() throws { expectPass(try Guests.run(Guests.config(), "mode=bar-move")) }

    @Test func movesABARInThe32BitWindow() throws {
        var config = Guests.config()
        config.cpus.maxPhysBits = 32
        expectPass(try Guests.run(config, "mode=bar-move"))
    }

    @Test func runsWithXAPIC() throws { expectPass(try Guests.run(Guests.config(vcpus: 2), "apic=xapic")) }

    // MARK: Ends

    @Test(arguments: ["hang", "spin"], [UInt32(1), 2])
    func stopsAGuestThatDoesNotEnd(_ mode: String, _ vcpus: UInt32) throws {
        let started = ContinuousClock.now
        let run = try Guests.run(Guests.config(vcpus: vcpus), "mode=\(mode)", limit: 700)
        #expect(run.outcome == .died("it did not end within 700 ms"))
        #expect(run.serial.contains(mode))
        #expect(!run.log.contains { $0.contains("did not leave the guest") }, "\(run.log)")
        #expect(started.duration(to: .now) < .seconds(5))
        try expectNothingLeft()
    }

    @Test(arguments: ["reset", "i8042-reset"]) func rebootsManyTimesWithoutALeak(_ mode: String) throws {
        let scratch = try ScratchDirectory("machine")
        var config = Guests.config(vcpus: 2)
        config.disks = [DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))]
        config.console = ConsoleConfig(mode: .null)
        let run = try Guests.run(config, "mode=\(mode)", limit: 1500)
        let reboots = run.log.filter { $0.hasPrefix("the guest reboots") }
        #expect(reboots.count > 5, "\(run.log)")
        #expect(reboots.last == "the guest reboots count=\(reboots.count)")
        try expectNothingLeft()
    }

    @Test func tellsATripleFault() throws {
        let run = try Guests.run(Guests.config(), "mode=triple-fault")
        guard case .died(let words) = run.outcome else {
            Issue.record("it ended with \(run.outcome)")
            return
        }
        #expect(words.wholeMatch(of: /vCPU 0 took a triple fault at RIP 0x[0-9a-f]+/) != nil, "\(words)")
        try expectNothingLeft()
    }

    private func expectNothingLeft(at location: SourceLocation = #_sourceLocation) throws {
        try Guests.alone {
            let (descriptors, threads) = (try Guests.machineDescriptors(), try Guests.machineThreads())
            #expect(descriptors.isEmpty, sourceLocation: location)
            #expect(threads.isEmpty, sourceLocation: location)
        }
    }
}
