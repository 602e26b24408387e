import Host
import Synchronization
import TestSupport
import Testing

@testable import SecureStream

/// Bytes over an encrypted stream.
@Suite(.timeLimit(.minutes(5))) struct TransferTests {
    private let scratch: ScratchDirectory
    private let client: SecureCredentials, server: SecureCredentials

    init() throws {
        scratch = try ScratchDirectory("tls")
        let directory = try TLSFixtures.directory(scratch)
        (client, server) = (try SecureEnds.client(directory), try SecureEnds.server(directory))
    }

    /// Pieces of many sizes, more than any buffer holds, both ways at the same time.
    @Test func muchGoesBothWaysAtOnce() throws {
        let ends = try SecureEnds(client, server)
        let (left, right) = (try ends.client.get(), try ends.server.get())
        let sizes = [1, 5 << 20, 16_384, 16_385, 3, 2 << 20, 262_144, 262_145, 100_000]
        let faults = Mutex<[String]>([])
        var threads: [Thread] = []
        for (index, (from, to)) in [(left, right), (right, left)].enumerated() {
            threads.append(
                try Thread("send\(index)") {
                    do {
                        for (number, size) in sizes.enumerated() {
                            let room = try ScratchMemory(count: size)
                            room.fill([UInt8](repeating: UInt8(number + index * 100), count: size))
                            try from.send(room.range, within: 120_000, heeding: nil)
                            try from.send([UInt8(number)], descriptors: [], within: 120_000, heeding: nil)
                        }
                    } catch { faults.withLock { $0.append("\(error)") } }
                })
            threads.append(
                try Thread("receive\(index)") {
                    do {
                        for (number, size) in sizes.enumerated() {
                            let room = try ScratchMemory(count: size + 1)
                            try to.receive(into: room.range.part(0..<size / 2), within: 120_000, heeding: nil)
                            try to.receive(into: room.range.part(size / 2..<size + 1), within: 120_000, heeding: nil)
                            let bytes = room.range.bytes
                            if bytes.last != UInt8(number)
                                || !bytes.dropLast().allSatisfy({ $0 == UInt8(number + index * 100) })
                            {
                                faults.withLock { $0.append("piece \(number) of \(index) is another") }
                            }
                        }
                    } catch { faults.withLock { $0.append("\(error)") } }
                })
        }
        for thread in threads { thread.join() }
        #expect(faults.withLock { $0 } == [])
    }

    /// A peer that takes nothing does not hold its sender for ever, and a half-sent record is not followed by others.
    @Test func aPeerThatTakesNothing() throws {
        let ends = try SecureEnds(client, server)
        let left = try ends.client.get()
        let room = try ScratchMemory(count: 8 << 20)
        #expect(throws: StreamFault.timeUp) { try left.send(room.range, within: 100, heeding: nil) }
        #expect(throws: StreamFault.timeUp) { try left.send([1], descriptors: [], within: 100, heeding: nil) }
        _ = try ends.server.get()
    }

    /// One looks whether something is there while another waits for it, and nothing is lost.
    @Test func lookingDoesNotDisturbWhoWaits() throws {
        let ends = try SecureEnds(client, server)
        let (left, right) = (try ends.client.get(), try ends.server.get())
        let isOver = Atomic<Bool>(false)
        try withThread({ while !isOver.load(ordering: .relaxed) { _ = right.hasInput } }) {
            defer { isOver.store(true, ordering: .relaxed) }
            let room = try ScratchMemory(count: 2)
            for round in 0..<2000 {
                let bytes = [UInt8(round & 0xFF), UInt8(round >> 8)]
                try left.send(bytes, descriptors: [], within: 60_000, heeding: nil)
                try right.receive(into: room.range, within: 60_000, heeding: nil)
                #expect(room.range.bytes == bytes)
            }
        }
    }

    private func withThread(_ body: @escaping @Sendable () -> Void, _ main: () throws -> Void) throws {
        let thread = try Thread("beside", body)
        defer { thread.join() }
        try main()
    }

    /// A line that ends, or changes a bit, after any number of bytes: both ends notice, and nothing wrong is received.
    @Test(arguments: [ByteRelay.Deed.cut, .flip]) func aBadLineIsNoticed(_ deed: ByteRelay.Deed) throws {
        let text = Array("what goes over".utf8)
        var places = Array(stride(from: 0, to: 6000, by: 97))
        places += [1, 2, 3, 4, 5, 6]
        for place in places {
            let (left, near) = try StreamConnection.pair()
            let (far, right) = try StreamConnection.pair()
            let relay = try ByteRelay(near, far, at: place, deed)
            let ends = try SecureEnds(client, server, over: (left, right), milliseconds: 2000)
            let room = try ScratchMemory(count: text.count)
            for (from, to) in [(ends.client, ends.server), (ends.server, ends.client)] {
                guard let from = try? from.get(), let to = try? to.get() else { continue }
                do throws(StreamFault) {
                    try from.send(text, descriptors: [], within: 2000, heeding: nil)
                    try to.receive(into: room.range, within: 2000, heeding: nil)
                    #expect(room.range.bytes == text, "\(deed) at \(place)")
                } catch {
                    #expect(error != .unencrypted, "\(deed) at \(place)")
                }
            }
            left.shutDown()
            right.shutDown()
            relay.join()
        }
    }
}
