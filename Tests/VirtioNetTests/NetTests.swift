import Foundation
import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioNet

/// Packets between a driver and a real tap. They need /dev/net/tun and the right to make interfaces.
@Suite(.serialized)
struct NetTests {
    // MARK: To the guest

    @Test func packetIntoOneBuffer() throws {
        let bench = try NetBench()
        try bench.offerBuffers(8, 2048)
        let frame = NetBench.frame(600)
        try bench.wire.send(frame)
        let (buffers, bytes) = try bench.nextPacket(2048)
        #expect(buffers == 1 && bytes[12...] == frame[...])
        #expect(Array(bytes[..<12]) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        #expect(bench.receive.interrupt.count > 0)
    }

    @Test func packetOverMergedBuffers() throws {
        let bench = try NetBench()
        try bench.offerBuffers(16, 256)
        for round in 0..<3 as Range<UInt8> {
            let frame = NetBench.frame(1000, round)
            try bench.wire.send(frame)
            let (buffers, bytes) = try bench.nextPacket(256)
            #expect(buffers == 4 && bytes.count == 1012)
            #expect(bytes[12...] == frame[...] && Array(bytes[10..<12]) == [4, 0])
        }
    }

    @Test func packetIntoOneChainWithoutMerging() throws {
        let bench = try NetBench(features: 0)
        try bench.receive.send([
            .writable(NetBench.received, 12), .writable(NetBench.received + 12, 100),
            .writable(NetBench.received + 112, 2000),
        ])
        bench.receive.kick()
        let frame = NetBench.frame(900)
        try bench.wire.send(frame)
        #expect(try bench.receive.waitUsed().length == 912)
        #expect(try bench.memory.bytes(at: NetBench.received, count: 912)[12...] == frame[...])
    }

    @Test func aChainThatIsTooSmallLosesThePacket() throws {
        let bench = try NetBench(features: 0)
        try bench.receive.send([.writable(NetBench.received, 500)])
        try bench.receive.send([.writable(NetBench.received, 1000)])
        bench.receive.kick()
        try bench.wire.send(NetBench.frame(900))
        #expect(try bench.receive.waitUsed() == (0, 0))
        #expect(Deadline.seconds(5).wait { bench.device.reading.drops == 1 })
        let frame = NetBench.frame(800)
        try bench.wire.send(frame)
        #expect(try bench.receive.waitUsed().length == 812)
        #expect(try bench.memory.bytes(at: NetBench.received, count: 812)[12...] == frame[...])
    }

    @Test func tooFewBuffersUntilTheNextKick() throws {
        for features in [NetBench.mergeable, NetBench.mergeable | 1 << 29] {
            let bench = try NetBench(features: features)
            try bench.offerBuffers(2, 256)
            let frames = (0..<3 as Range<UInt8>).map { NetBench.frame(1000, $0) }
            for frame in frames { try bench.wire.send(frame) }
            sleepThread(.milliseconds(50))
            #expect(try bench.receive.usedIndex == 0)
            try bench.offerBuffers(14, 256, from: 2)
            for frame in frames {
                let (buffers, bytes) = try bench.nextPacket(256)
                #expect(buffers == 4 && bytes[12...] == frame[...])
            }
            #expect(bench.transport.reasons.isEmpty)
        }
    }

    @Test func aBufferWithoutRoomAmongMergedOnesReturnsThemAll() throws {
        let bench = try NetBench()
        try bench.receive.send([.writable(NetBench.received, 256)])
        try bench.receive.send([.writable(NetBench.received + 256, 256)])
        try bench.receive.send([.readable(NetBench.received + 512, 256)])
        bench.receive.kick()
        try bench.wire.send(NetBench.frame(1000))
        for head in 0..<3 as Range<UInt32> { #expect(try bench.receive.waitUsed() == (head, 0)) }
        try bench.receive.send([.writable(NetBench.received, 2048)])
        bench.receive.kick()
        let frame = NetBench.frame(700)
        try bench.wire.send(frame)
        #expect(try bench.receive.waitUsed() == (3, 712))
        #expect(bench.device.reading.drops == 1)
    }

    @Test func aPacketLargerThanAllBuffersIsDropped() throws {
        let bench = try NetBench(queueSize: 4)
        try bench.offerBuffers(4, 128)
        try bench.wire.send(NetBench.frame(1400))
        for head in 0..<4 as Range<UInt32> { #expect(try bench.receive.waitUsed() == (head, 0)) }
        try bench.offerBuffers(4, 128)
        let frame = NetBench.frame(300)
        try bench.wire.send(frame)
        #expect(try bench.nextPacket(128).bytes[12...] == frame[...])
    }

    @Test func brokenReceiveRingStopsItsQueueAlone() throws {
        let bench = try NetBench()
        try bench.receive.offer(99)
        bench.receive.kick()
        try bench.wire.send(NetBench.frame(100))
        #expect(Deadline.seconds(10).wait { bench.transport.reasons.count == 1 })
        try bench.memory.write([UInt8](repeating: 0, count: 12) + NetBench.frame(80), at: NetBench.sent)
        #expect(try bench.transmit.exchange([.readable(NetBench.sent, 92)]) == 0)
        #expect(bench.wire.receive() == NetBench.frame(80))
    }

    // MARK: From the guest

    @Test func packetsOfTheGuest() throws {
        let bench = try NetBench()
        let frame = NetBench.frame(1200)
        try bench.memory.write([UInt8](repeating: 0, count: 12) + frame, at: NetBench.sent)
        let buffers: [FakeDriver.Buffer] = [
            .readable(NetBench.sent, 12), .readable(NetBench.sent + 12, 1), .readable(NetBench.sent + 13, 1199),
        ]
        #expect(try bench.transmit.exchange(buffers) == 0)
        #expect(bench.wire.receive() == frame)
        #expect(bench.device.reading.operations[1].requests == 1)
        #expect(bench.device.reading.operations[1].bytes == 1200)
    }

    @Test func packetsThatCannotBeSentAreGivenBack() throws {
        let bench = try NetBench()
        try bench.memory.write([UInt8](repeating: 0xFF, count: 0x20000), at: NetBench.sent)
        for length in [0, 1, 11, 12, 13, 65_575, 0x20000] as [UInt32] {
            #expect(try bench.transmit.exchange([.readable(NetBench.sent, length)]) == 0)
        }
        #expect(try bench.transmit.exchange([.writable(NetBench.sent, 100)]) == 0)
        // A header of nonsense in front of a good packet.
        try bench.memory.write(NetBench.frame(100), at: NetBench.sent + 12)
        #expect(try bench.transmit.exchange([.readable(NetBench.sent, 112)]) == 0)
        #expect(Deadline.seconds(5).wait { bench.device.reading.drops == 9 })
        #expect(bench.transport.reasons.isEmpty)
    }

    // MARK: Control, configuration, backend

    @Test func controlQueue() throws {
        let bench = try NetBench(features: NetBench.mergeable | 1 << 22 | 1 << 17, pairs: 2)
        func command(_ bytes: [UInt8]) throws -> UInt8 {
            try bench.memory.write(bytes, at: NetBench.sent)
            try bench.memory.write(0xEE as UInt8, at: NetBench.sent + 100)
            let parts: [FakeDriver.Buffer] = [
                .readable(NetBench.sent, 2), .readable(NetBench.sent + 2, UInt32(bytes.count - 2)),
                .writable(NetBench.sent + 100, 1),
            ]
            #expect(try bench.control.exchange(parts) == 1)
            return try bench.memory.read(at: NetBench.sent + 100)
        }
        #expect(try command([4, 0, 2, 0]) == 0)
        #expect(try command([4, 0, 1, 0]) == 0)
        #expect(try command([4, 0, 0, 0]) == 1)
        #expect(try command([4, 0, 3, 0]) == 1)
        #expect(try command([4, 0, 0xFF, 0xFF]) == 1)
        #expect(try command([4, 0, 1]) == 1)
        #expect(try command([4, 1, 1, 0]) == 1)
        #expect(try command([0, 0, 1]) == 1)
        #expect(try bench.control.exchange([.writable(NetBench.sent, 1)]) == 1)
        #expect(try bench.control.exchange([.readable(NetBench.sent, 4)]) == 0)
        // Both pairs carry packets.
        #expect(try command([4, 0, 2, 0]) == 0)
        try bench.memory.write([UInt8](repeating: 0, count: 12) + NetBench.frame(64), at: NetBench.sent)
        #expect(try bench.extra[1].exchange([.readable(NetBench.sent, 76)]) == 0)
        #expect(bench.wire.receive() == NetBench.frame(64))
    }

    @Test func configurationSpace() throws {
        let bench = try NetBench { settings in
            settings.mtu = 1400
            settings.hostMAC = [2, 0, 0, 0, 7, 7]
            (settings.address, settings.mask) = ([192, 0, 2, 1], [255, 255, 255, 252])
        }
        #expect(bench.device.configuration() == [0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0x78, 5])
        let shown = try runProcess(Command("ip", ["addr", "show", "dev", bench.backend.interface]))
        #expect(shown.text.contains("mtu 1400") && shown.text.contains("02:00:00:00:07:07"))
        #expect(shown.text.contains("192.0.2.1/30") && shown.text.contains("UP"))
    }

    @Test func progressOfTheQueues() throws {
        let bench = try NetBench()
        #expect(try bench.transmit.exchange([.readable(NetBench.sent, 1)]) == 0)
        let progress = bench.device.deactivate()
        #expect(progress[1] == QueueProgress(nextAvailable: 1, nextUsed: 1) && progress[2] == QueueProgress())
    }

    @Test func anInterfaceOfOurOwnGoesWithItsBackend() throws {
        var name = ""
        do {
            let backend = try NetBackend(NetSettings(field: "$.net[0]", mac: [2, 0, 0, 0, 0, 1]))
            name = backend.interface
            #expect(name.hasPrefix("vmtap") && NetworkInterface.exists(name))
        }
        #expect(NetworkInterface.goes(name))
    }

    @Test func aTapInUse() throws {
        let bench = try NetBench()
        var settings = NetSettings(field: "$.net[1]", mac: [2, 0, 0, 0, 0, 1])
        settings.tap = bench.backend.interface
        do throws(NetError) {
            _ = try NetBackend(settings)
            Issue.record("a second owner was let in")
        } catch {
            #expect(
                error.description
                    == "$.net[1].tap: cannot attach to the tap \(settings.tap): Device or resource busy (EBUSY); "
                    + "another process uses this tap: name another one")
        }
    }

    @Test func anInterfaceThatIsNoTap() throws {
        func mistake(_ change: (inout NetSettings) -> Void) -> NetError? {
            var settings = NetSettings(field: "$.net[0]", mac: [2, 0, 0, 0, 0, 1])
            change(&settings)
            do throws(NetError) {
                _ = try NetBackend(settings)
                return nil
            } catch {
                return error
            }
        }
        let loopback = mistake { $0.tap = "lo" }
        #expect(loopback?.description.hasPrefix("$.net[0].tap: lo is not a tap interface; name a tap") == true)
        #expect(loopback?.isMistake == true)
        let made = try runProcess(Command("ip", ["tuntap", "add", "mode", "tap", "name", "swlone0"]))
        try #require(made.succeeded, "\(made)")
        defer { _ = try? runProcess(Command("ip", ["link", "delete", "dev", "swlone0"])) }
        let queues = mistake {
            $0.tap = "swlone0"
            $0.pairs = 2
        }
        #expect(
            queues?.description
                == "$.net[0].tap: swlone0 was made for one queue pair, and num_queues is 4; change num_queues, or make "
                + "the tap anew: ip tuntap add mode tap multi_queue name swlone0")
        let size = mistake { $0.mtu = 70_000_000 }
        #expect(size?.field == "$.net[0].mtu" && size?.isMistake == false, "\(String(describing: size))")
    }

    @Test func aTapThatIsRemovedDoesNotKeepTheWorkerBusy() throws {
        let bench = try NetBench()
        try bench.offerBuffers(8, 2048)
        let removed = try runProcess(Command("ip", ["link", "delete", "dev", bench.backend.interface]))
        #expect(removed.succeeded)
        sleepThread(.milliseconds(100))
        let before = try threadTime("_net0-p0")
        sleepThread(.milliseconds(500))
        #expect(try threadTime("_net0-p0") - before < 20)
        // The guest's packets are lost, and given back.
        try bench.memory.write([UInt8](repeating: 0, count: 12) + NetBench.frame(64), at: NetBench.sent)
        #expect(try bench.transmit.exchange([.readable(NetBench.sent, 76)]) == 0)
    }

    /// The processor time of this process's threads of a name, in hundredths of a second.
    private func threadTime(_ name: String) throws -> Int {
        let result = try runProcess(
            Command("sh", ["-c", "cat /proc/\(ProcessInfo.processInfo.processIdentifier)/task/*/stat"]))
        var total = 0
        for line in result.text.split(separator: "\n") where line.contains("(\(name))") {
            let fields = line[(line.lastIndex(of: ")") ?? line.startIndex)...].split(separator: " ")
            total += (Int(fields[12]) ?? 0) + (Int(fields[13]) ?? 0)
        }
        return total
    }
}
