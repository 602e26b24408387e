import Foundation
import Synchronization
import TestSupport
import Testing

/// Many clients at once while a guest works. They take the whole machine, so `Tests/run` gives them a step of their own.
@Suite(.serialized, .timeLimit(.minutes(15))) struct LoadTests {
    private static let clients = 10
    private static let requests = 10_000

    /// What the clients have met.
    private struct Tally {
        var done = 0
        var errors: [String] = []
    }

    /// Ten clients, each with its connection and 10,000 requests of ping and of info.
    @Test func tenClientsWhileAGuestReadsItsDisk() throws {
        let vmm = try TestVMM(selfTest: "mode=disk-load seconds=600")
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        // The kernel makes huge pages of the guest's small ones when it has time, which is no growth of ours.
        let config = vmm.config(#""disks":[{"path":"\#(disk)","image_type":"Raw"}]"#)
            .replacingOccurrences(of: #""size":33554432"#, with: #""size":33554432,"thp":false"#)
        try vmm.put("vm.create", config)
        try vmm.put("vm.boot")
        try vmm.expectSerial("disk-load: 100 ms")

        // What the first requests warm up: connections' buffers, the allocator's arenas.
        try run(vmm, requests: 1_000)
        let (memory, descriptors) = (vmm.anonymousMemory, vmm.descriptors)
        let before = vmm.serial.count
        try run(vmm, requests: Self.requests)
        #expect(vmm.serial.count > before, "the guest stood still: \(vmm.serial.suffix(500))")
        #expect(!vmm.serial.contains("FAIL"), "\(vmm.serial.suffix(500))")
        #expect(vmm.anonymousMemory <= memory + 512, "from \(memory) KiB to \(vmm.anonymousMemory) KiB")
        #expect(Deadline.seconds(5).wait { vmm.descriptors <= descriptors }, "\(descriptors), then \(vmm.descriptors)")
    }

    private func run(_ vmm: TestVMM, requests: Int) throws {
        let tally = Mutex(Tally())
        let group = DispatchGroup()
        let socket = vmm.socket
        for client in 0..<Self.clients {
            group.enter()
            Thread.detachNewThread {
                defer { group.leave() }
                // Half of them keep a length in their GETs, as some clients do.
                let extra = client % 2 == 0 ? "" : "Content-Length: 0\r\n"
                var mine = Tally()
                do {
                    let connection = try RawConnection(socket)
                    for number in 0..<requests {
                        for name in ["vmm.ping", "vm.info"] {
                            try connection.send("GET /api/v1/\(name) HTTP/1.1\r\nHost: localhost\r\n\(extra)\r\n")
                            let reply = try connection.reply()
                            guard reply.status == 200, reply.body.first == UInt8(ascii: "{") else {
                                mine.errors.append("\(name) \(number): \(reply.line) \(reply.text)")
                                continue
                            }
                            mine.done += 1
                        }
                    }
                } catch {
                    mine.errors.append("\(error)")
                }
                tally.withLock {
                    $0.done += mine.done
                    $0.errors += mine.errors
                }
            }
        }
        #expect(group.wait(timeout: .now() + 600) == .success, "the clients are not done within 600 s")
        let met = tally.withLock { $0 }
        #expect(met.errors.isEmpty, "\(met.errors.prefix(5))\n\(vmm.evidence)")
        #expect(met.done == 2 * requests * Self.clients)
    }
}
