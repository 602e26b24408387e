import Foundation
import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioNet

/// Tap queues that somebody else opened.
@Suite(.serialized) struct AdoptedTapTests {
    /// Queues of a new tap as a client opens them: numbers that their taker owns.
    private func queues(_ name: String, _ count: Int, several: Bool? = nil) throws -> [Int32] {
        try (0..<count).map { _ in
            let tap = try TapQueue(name: name, multiQueue: several ?? (count > 1))
            return try tap.file.duplicate().release()
        }
    }

    private func refusal(_ numbers: [Int32], pairs: Int? = nil) -> String? {
        do throws(NetError) {
            let taps = try AdoptedTaps(ReceivedDescriptors(owning: numbers), at: "$")
            try taps.check(pairs: pairs ?? numbers.count, at: "$")
            return nil
        } catch {
            return error.description
        }
    }

    @Test func packetsGoOverAdoptedQueuesInSeveralLives() throws {
        let name = "swladopt0"
        let taps = try AdoptedTaps(ReceivedDescriptors(owning: queues(name, 1)), at: "$")
        #expect(taps.interface == name)
        try NetBench.silence(name)
        let interface = try NetworkInterface(name)
        try interface.setUp()
        let wire = try PacketSocket(name)
        for life in 0..<2 as Range<UInt8> {
            let settings = NetSettings(field: "$", mac: [0x52, 0x54, 0, 1, 2, 3])
            let device = NetDevice(id: "_net0", try NetBackend(settings, taps), settings)
            let memory = try GuestMemory([MemoryRange(address: 0, size: 4 << 20)])
            let drivers = try (0..<3).map { try FakeDriver(memory, size: 16, base: 0x1000 + 0x4000 * UInt64($0)) }
            try device.activate(
                VirtioActivation(
                    memory: memory, features: 1 << 32, queues: drivers.enumerated().map { $1.resources(index: $0) },
                    transport: RecordingTransport()))
            defer { _ = device.deactivate() }
            try drivers[0].send([.writable(NetBench.received, 2048)])
            drivers[0].kick()
            let frame = NetBench.frame(600, life)
            try wire.send(frame)
            #expect(try drivers[0].waitUsed().length == 612)
            #expect(try memory.bytes(at: NetBench.received, count: 612)[12...] == frame[...])
        }
    }

    @Test func theInterfaceGoesWithItsLastQueue() throws {
        var taps: AdoptedTaps? = try AdoptedTaps(ReceivedDescriptors(owning: queues("swladopt1", 2)), at: "$")
        #expect(NetworkInterface.exists("swladopt1"))
        #expect(taps?.interface == "swladopt1")
        taps = nil
        #expect(NetworkInterface.goes("swladopt1"))
    }

    @Test func countsThatDoNotMatch() throws {
        #expect(
            refusal(try queues("swladopt2", 2), pairs: 1)
                == "$: 2 descriptors came for 2 queues; set num_queues to 4, two for each descriptor")
        #expect(refusal(try queues("swladopt7", 1), pairs: 3)?.contains("1 descriptor came for 6 queues") == true)
        #expect(refusal([]) == "$: no tap queue came with the request")
        #expect(NetworkInterface.goes("swladopt2") && NetworkInterface.goes("swladopt7"))
    }

    @Test func oneQueueThatCameTwice() throws {
        let first = try queues("swladopt8", 1, several: true)
        let again = try FileDescriptor.duplicate(number: first[0]).release()
        let refused = refusal(first + [again])
        #expect(refused?.contains("queue pairs 0 and 1 are the same open file") == true, "\(refused ?? "accepted")")
        #expect(NetworkInterface.goes("swladopt8"))
    }

    @Test func descriptorsThatAreNoTapQueues() throws {
        let file = try FileDescriptor.openForReading("/dev/null").release()
        let refused = refusal([file])
        #expect(refused?.hasPrefix("$: the descriptor of queue pair 0: ") == true, "\(refused ?? "accepted")")
        #expect(refused?.contains("IFF_VNET_HDR") == true)
        // A descriptor of the driver that no interface was attached to.
        let loose = try FileDescriptor.open("/dev/net/tun", O_RDWR).release()
        #expect(refusal([loose])?.contains("a descriptor that is no tap's") == true)
        // Single queues cannot be several, and several taps are not one.
        let single = try queues("swladopt3", 1) + queues("swladopt4", 1)
        #expect(refusal(single)?.contains("swladopt3 without IFF_MULTI_QUEUE") == true)
        let several = try queues("swladopt5", 1, several: true) + queues("swladopt6", 1, several: true)
        #expect(refusal(several)?.contains("queues of swladopt5 and of swladopt6") == true)
        for name in 3...6 { #expect(NetworkInterface.goes("swladopt\(name)"), "swladopt\(name) is left") }
    }
}
