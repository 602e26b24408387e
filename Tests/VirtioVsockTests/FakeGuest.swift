import CLinux
import Host
import Memory
import TestSupport
import Virtio
import VirtioVsock

/// A packet as the guest sees it.
struct Packet: CustomStringConvertible {
    var header: VsockHeader
    var bytes: [UInt8] = []

    var operation: VsockOperation? { VsockOperation(rawValue: header.operation) }
    var description: String {
        "\(operation.map { "\($0)" } ?? "operation \(header.operation)") \(header.sourcePort)->\(header.targetPort) "
            + "\(bytes.count) bytes, flags \(header.flags)"
    }
}

/// A driver of the vsock device whose every packet the test chooses.
final class FakeGuest {
    static let cid: UInt64 = 42
    let memory: GuestMemory
    let receive: FakeDriver, transmit: FakeDriver, event: FakeDriver
    let scratch: ScratchDirectory
    let backend: VsockBackend
    let device: VsockDevice
    let transport = RecordingTransport()
    let socket: String
    /// Where each buffer that the device has begins, by its head.
    private var buffers: [UInt16: UInt64] = [:]
    private var nextBuffer = 0
    /// Bytes of payload in a buffer of the guest.
    let room: UInt32
    private static let stride: UInt64 = 0x3000
    private static let bufferBase: UInt64 = 0x10_0000, packetBase: UInt64 = 0x8_0000

    init(room: UInt32 = 4096, _ change: (inout VsockSettings) -> Void = { _ in }) throws {
        // A client that was closed on is a case for the tests, not for a signal.
        cl_ignore_write_signals()
        self.room = room
        memory = try GuestMemory([MemoryRange(address: 0, size: 4 << 20)])
        receive = try FakeDriver(memory, size: 128, base: 0)
        transmit = try FakeDriver(memory, size: 64, base: 0x4000)
        event = try FakeDriver(memory, size: 8, base: 0x6000)
        scratch = try ScratchDirectory("vsock")
        socket = scratch.path("vm.sock")
        var settings = VsockSettings(cid: UInt32(Self.cid), socket: socket)
        change(&settings)
        backend = try VsockBackend(settings)
        device = try VsockDevice(id: "_vsock0", backend)
    }

    deinit { _ = device.deactivate() }

    /// Starts the device with so many buffers to receive into.
    func start(buffers count: Int = 48) throws {
        try device.activate(
            VirtioActivation(
                memory: memory, features: 1,
                queues: [
                    receive.resources(index: 0), transmit.resources(index: 1), event.resources(index: 2),
                ], transport: transport))
        for _ in 0..<count { try post() }
        receive.kick()
    }

    /// Gives the device another buffer: one for the header, one for the payload, as Linux does.
    func post() throws {
        let place = Self.bufferBase + UInt64(nextBuffer % 64) * Self.stride
        nextBuffer += 1
        let head = try receive.send([.writable(place, 44), .writable(place + 64, room)])
        buffers[head] = place
    }

    /// Sends a packet and waits until the device has taken it.
    func send(_ header: VsockHeader, _ bytes: [UInt8] = []) throws {
        try memory.write(bytes, at: Self.packetBase + 64)
        try write(header, at: Self.packetBase)
        var chain: [FakeDriver.Buffer] = [.readable(Self.packetBase, 44)]
        if !bytes.isEmpty { chain.append(.readable(Self.packetBase + 64, UInt32(bytes.count))) }
        _ = try transmit.exchange(chain)
    }

    /// Writes a header to guest memory.
    func write(_ header: VsockHeader, at place: UInt64) throws {
        try memory.write(header.sourceCID, at: place)
        try memory.write(header.targetCID, at: place + 8)
        try memory.write(header.sourcePort, at: place + 16)
        try memory.write(header.targetPort, at: place + 20)
        try memory.write(header.length, at: place + 24)
        try memory.write(header.type, at: place + 28)
        try memory.write(header.operation, at: place + 30)
        try memory.write(header.flags, at: place + 32)
        try memory.write(header.bufferSize, at: place + 36)
        try memory.write(header.forwarded, at: place + 40)
    }

    /// Whether a packet has come.
    var hasPacket: Bool { (try? receive.usedIndex != receive.seen) ?? false }

    /// The next packet from the device; the buffer is given back.
    func next(by deadline: Deadline = .seconds(10)) throws -> Packet {
        let entry = try receive.waitUsed(by: deadline)
        guard let place = buffers.removeValue(forKey: UInt16(entry.head)), entry.length >= 44 else {
            throw FakeDriverError(description: "a buffer came back with \(entry.length) bytes")
        }
        var header = VsockHeader()
        header.sourceCID = try memory.read(at: place)
        header.targetCID = try memory.read(at: place + 8)
        header.sourcePort = try memory.read(at: place + 16)
        header.targetPort = try memory.read(at: place + 20)
        header.length = try memory.read(at: place + 24)
        header.type = try memory.read(at: place + 28)
        header.operation = try memory.read(at: place + 30)
        header.flags = try memory.read(at: place + 32)
        header.bufferSize = try memory.read(at: place + 36)
        header.forwarded = try memory.read(at: place + 40)
        guard header.length == entry.length - 44 else {
            throw FakeDriverError(description: "\(entry.length) bytes written, \(header.length) in the header")
        }
        let bytes = try memory.bytes(at: place + 64, count: Int(header.length))
        try post()
        receive.kick()
        return Packet(header: header, bytes: bytes)
    }

    /// Waits a little to see that nothing comes.
    func staysSilent(_ duration: Duration = .milliseconds(60)) -> Bool {
        !Deadline(after: duration).wait { hasPacket }
    }

    /// Waits for a packet of a kind; any other is an error.
    @discardableResult
    func expect(_ operation: VsockOperation) throws -> Packet {
        let packet = try next()
        guard packet.operation == operation else {
            throw FakeDriverError(description: "got \(packet), expected \(operation)")
        }
        return packet
    }

    /// A client of the host that asks for a port, and the guest's end of it, accepted.
    func dial(_ port: UInt32, window: UInt32 = 1 << 20) throws -> (HostClient, GuestEnd) {
        let client = try HostClient(socket)
        try client.write("CONNECT \(port)\n")
        let request = try expect(.request)
        let end = GuestEnd(self, guestPort: port, hostPort: request.header.sourcePort, window: window)
        end.learn(request.header)
        try end.send(.response)
        guard try client.read(16, until: "\n") == "OK \(request.header.sourcePort)\n" else {
            throw FakeDriverError(description: "no OK")
        }
        return (client, end)
    }

    /// A connection from the guest to a listener of the host, accepted.
    func call(
        _ listener: borrowing UnixListener, _ port: UInt32, from guestPort: UInt32, window: UInt32 = 1 << 20
    ) throws -> (HostClient, GuestEnd) {
        let end = GuestEnd(self, guestPort: guestPort, hostPort: port, window: window)
        try end.send(.request)
        end.learn(try expect(.response).header)
        guard let accepted = listener.accept() else { throw FakeDriverError(description: "nobody connected") }
        return (HostClient(owning: accepted), end)
    }
}

/// The guest's end of one connection, with its side of the credit.
final class GuestEnd {
    let guest: FakeGuest
    let guestPort: UInt32, hostPort: UInt32
    var window: UInt32
    var forwarded: UInt32 = 0
    var sent: UInt32 = 0
    var peerWindow: UInt32 = 0, peerForwarded: UInt32 = 0

    init(_ guest: FakeGuest, guestPort: UInt32, hostPort: UInt32, window: UInt32) {
        (self.guest, self.guestPort, self.hostPort, self.window) = (guest, guestPort, hostPort, window)
    }

    func header(_ operation: VsockOperation) -> VsockHeader {
        var header = VsockHeader()
        (header.sourceCID, header.targetCID) = (FakeGuest.cid, 2)
        (header.sourcePort, header.targetPort) = (guestPort, hostPort)
        (header.type, header.operation) = (1, operation.rawValue)
        (header.bufferSize, header.forwarded) = (window, forwarded)
        return header
    }

    func send(_ operation: VsockOperation, flags: UInt32 = 0, _ bytes: [UInt8] = []) throws {
        var header = header(operation)
        (header.flags, header.length) = (flags, UInt32(bytes.count))
        sent &+= UInt32(bytes.count)
        try guest.send(header, bytes)
    }

    func learn(_ header: VsockHeader) { (peerWindow, peerForwarded) = (header.bufferSize, header.forwarded) }

    /// What it may send.
    var room: Int { Int(peerWindow &- (sent &- peerForwarded)) }

    /// Receives exactly so many bytes of the stream, taking them out of its buffer at once.
    func receive(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let packet = try guest.next()
            learn(packet.header)
            switch packet.operation {
            case .readWrite:
                bytes += packet.bytes
                forwarded &+= UInt32(packet.bytes.count)
            case .creditRequest: try send(.creditUpdate)
            case .creditUpdate: break
            default: throw FakeDriverError(description: "got \(packet) after \(bytes.count) bytes")
            }
            if forwarded % (window / 2) < UInt32(packet.bytes.count) { try send(.creditUpdate) }
        }
        return bytes
    }

    /// Sends bytes as the credit allows, while `pump` lets the other side take them.
    func transfer(_ bytes: [UInt8], _ pump: () throws -> Void = {}) throws {
        var done = 0
        let deadline = Deadline.seconds(20)
        while done < bytes.count {
            while guest.hasPacket { learn(try guest.next().header) }
            let part = min(room, bytes.count - done, 0x8000)
            if part > 0 {
                try send(.readWrite, Array(bytes[done..<done + part]))
                done += part
            }
            try pump()
            if deadline.hasPassed { throw FakeDriverError(description: "\(done) bytes sent in time") }
        }
    }
}

/// A program of the host at one end of a Unix socket.
final class HostClient {
    private let file: FileDescriptor

    init(_ path: String) throws { file = try UnixConnection.connect(path) }
    init(owning file: consuming FileDescriptor) { self.file = file }

    func write(_ text: String) throws { try write(Array(text.utf8)) }

    /// Writes all the bytes, waiting for room.
    func write(_ bytes: [UInt8]) throws {
        var done = 0
        let deadline = Deadline.seconds(10)
        while done < bytes.count, !deadline.hasPassed { done += try writeSome(bytes[done...]) }
        if done < bytes.count { throw FakeDriverError(description: "\(done) of \(bytes.count) bytes written in time") }
    }

    /// Writes what there is room for now.
    func writeSome(_ bytes: ArraySlice<UInt8>) throws -> Int {
        do throws(Errno) {
            return try file.write(Array(bytes).span)
        } catch {
            if error != .wouldBlock { throw error }
            sleepThread(.milliseconds(1))
            return 0
        }
    }

    /// What is there to read now, up to the limit; nil at the end.
    func readSome(_ limit: Int = 1 << 16) throws -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: limit)
        do throws(Errno) {
            var span = bytes.mutableSpan
            let count = try file.read(into: &span)
            return count == 0 ? nil : Array(bytes[..<count])
        } catch {
            if error == Errno(104) { return nil }
            if error != .wouldBlock { throw error }
            return []
        }
    }

    /// Reads exactly so many bytes.
    func read(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let deadline = Deadline.seconds(10)
        while bytes.count < count, !deadline.hasPassed {
            guard let more = try readSome(min(count - bytes.count, 1 << 16)) else { break }
            bytes += more
            if more.isEmpty { sleepThread(.milliseconds(1)) }
        }
        return bytes
    }

    /// Reads up to a text, byte by byte.
    func read(_ limit: Int, until end: String) throws -> String {
        var text = ""
        while text.utf8.count < limit, !text.hasSuffix(end) {
            let byte = try read(1)
            if byte.isEmpty { break }
            text += String(decoding: byte, as: UTF8.self)
        }
        return text
    }

    /// Whether the other side has closed, with nothing left to read.
    func isClosed(by deadline: Deadline = .seconds(10)) throws -> Bool {
        try deadline.wait {
            guard let bytes = try readSome(1) else { return true }
            guard bytes.isEmpty else { throw FakeDriverError(description: "bytes came instead of the end") }
            return false
        }
    }

    func shutDown(_ half: UnixConnection.Half) { file.shutDown(half) }
}

/// Bytes that differ everywhere from each other's neighbours, told apart by a seed.
func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ seed &* 17) ^ ($0 >> 8) ^ ($0 >> 16)) }
}
