import Host
import TestSupport
import Testing
import Virtio
import VirtioVsock

/// A device over its guest's lives.
struct LifeTests {
    @Test func aRebootClosesEverythingAndTheNextLifeGoesOn() throws {
        let guest = try FakeGuest()
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_1")
        let (dialled, _) = try guest.dial(5)
        let (called, end) = try guest.call(listener, 1, from: 9)
        try end.send(.readWrite, [1])
        let waiting = try HostClient(guest.socket)
        try waiting.write("CONNECT 7\n")
        try guest.expect(.request)
        let progress = guest.device.deactivate()
        guest.device.reset()
        #expect(Set(progress.keys) == [0, 1, 2])
        #expect(try called.read(1) == [1])
        #expect(try dialled.isClosed() && called.isClosed() && waiting.isClosed())
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 0)

        // Between the lives clients wait to be accepted.
        let early = try HostClient(guest.socket)
        try early.write("CONNECT 8\n")
        sleepThread(.milliseconds(20))
        #expect(try early.readSome() == [])
        // The rings go on where they were, as they do for a driver that only stopped the device for a while.
        try guest.start(buffers: 0)
        let request = try guest.expect(.request).header
        #expect(request.targetPort == 8)
        try GuestEnd(guest, guestPort: 8, hostPort: request.sourcePort, window: 4096).send(.response)
        #expect(try early.read(20, until: "\n") == "OK \(request.sourcePort)\n")
        // A packet of the life before names nothing.
        try end.send(.readWrite, [1])
        try guest.expect(.reset)
    }

    @Test func connectionsOutliveAPause() throws {
        let guest = try FakeGuest()
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_1")
        let (dialled, first) = try guest.dial(5)
        let (called, second) = try guest.call(listener, 1, from: 9)
        #expect(guest.device.deactivate().count == 3)
        // What comes meanwhile waits.
        try dialled.write("while")
        try guest.start(buffers: 0)
        #expect(try first.receive(5) == Array("while".utf8))
        try second.send(.readWrite, Array("after".utf8))
        #expect(try called.read(5) == Array("after".utf8))
        #expect(guest.device.metrics.open.load(ordering: .relaxed) == 2)
        let (again, third) = try guest.dial(6)
        try third.send(.readWrite, [7])
        #expect(try again.read(1) == [7])
    }

    @Test func aTransportResetEndsEveryConnection() throws {
        let guest = try FakeGuest()
        try guest.start()
        let (client, end) = try guest.dial(5)
        guest.device.requestTransportReset()
        #expect(try client.isClosed())
        // The guest hears of it when it gives a buffer.
        #expect(guest.staysSilent())
        try guest.event.send([.readable(0xA_0000, 4)])
        try guest.memory.write(UInt32.max, at: 0xA_0100)
        try guest.event.send([.writable(0xA_0100, 4)])
        try guest.event.send([.writable(0xA_0200, 4)])
        guest.event.kick()
        #expect(try guest.event.waitUsed().length == 0)
        #expect(try guest.event.waitUsed().length == 4)
        #expect(try guest.memory.read(UInt32.self, at: 0xA_0100) == 0)
        #expect(guest.event.interrupt.count > 0)
        sleepThread(.milliseconds(20))
        #expect(try guest.event.usedIndex == 2)
        try end.send(.readWrite, [1])
        try guest.expect(.reset)
        let (again, other) = try guest.dial(5)
        try again.write("x")
        #expect(try other.receive(1) == [UInt8(ascii: "x")])
    }

    @Test func aResetThatWasAskedForBeforeTheDriverCame() throws {
        let guest = try FakeGuest()
        guest.device.requestTransportReset()
        try guest.event.send([.writable(0xA_0100, 4)])
        try guest.start()
        #expect(try guest.event.waitUsed().length == 4)
    }

    @Test func aDriverThatLeavesQueuesOut() throws {
        let guest = try FakeGuest()
        let transport = guest.transport
        try guest.device.activate(
            VirtioActivation(
                memory: guest.memory, features: 1, queues: [guest.receive.resources(index: 0)], transport: transport))
        #expect(guest.device.deactivate().isEmpty)
        try guest.device.activate(
            VirtioActivation(
                memory: guest.memory, features: 1,
                queues: [guest.receive.resources(index: 0), guest.transmit.resources(index: 1)], transport: transport))
        guest.device.requestTransportReset()
        try guest.post()
        try guest.post()
        guest.receive.kick()
        let (client, end) = try guest.dial(5)
        try end.send(.readWrite, [3])
        #expect(try client.read(1) == [3])
        #expect(guest.device.deactivate().count == 2)
    }

    @Test func aListenerWithoutRoomIsTriedAgain() throws {
        let guest = try FakeGuest()
        try guest.start()
        let listener = try UnixListener(path: guest.socket + "_1", backlog: 1)
        // The backlog takes two; the others wait, and come about as the listener accepts.
        for port in 0..<5 as Range<UInt32> {
            try GuestEnd(guest, guestPort: 100 + port, hostPort: 1, window: 4096).send(.request)
        }
        var answered: Set<UInt32> = []
        for _ in 0..<2 { answered.insert(try guest.expect(.response).header.targetPort) }
        #expect(guest.staysSilent())
        var accepted: [HostClient] = []
        while answered.count < 5 {
            while let client = listener.accept() { accepted.append(HostClient(owning: client)) }
            answered.insert(try guest.expect(.response).header.targetPort)
        }
        #expect(answered == Set(100..<105))
        // One whose listener never accepts is refused in the end.
        var refused = 0
        for port in 0..<6 as Range<UInt32> {
            try GuestEnd(guest, guestPort: 200 + port, hostPort: 1, window: 4096).send(.request)
        }
        for _ in 0..<6 where try guest.next().operation == .reset { refused += 1 }
        #expect(refused >= 3)
    }
}
