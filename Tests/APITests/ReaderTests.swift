import Host
import Synchronization
import TestSupport
import Testing

/// Clients that look at a VM hold nothing of it that it lets go of.
@Suite(.timeLimit(.minutes(15))) struct ReaderTests {
    private final class Failures: Sendable {
        let isOver = Atomic<Bool>(false)
        let texts = Mutex<[String]>([])
    }

    @Test func whoReadsTheMetricsHoldsNoDisk() throws {
        let vmm = try TestVMM()
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        try vmm.put("vm.create", vmm.config(#""disks":[{"path":"\#(disk)","image_type":"Raw"}]"#))
        let failures = Failures()
        let readers = try ["vmm.metrics", "vmm.metrics", "vm.counters"].map { route in
            let socket = vmm.socket
            return try Thread("reader") {
                do {
                    let connection = try RawConnection(socket)
                    while !failures.isOver.load(ordering: .relaxed) { _ = try connection.call("GET", route) }
                } catch {
                    failures.texts.withLock { $0.append("\(route): \(error)") }
                }
            }
        }
        defer {
            failures.isOver.store(true, ordering: .relaxed)
            for reader in readers { reader.join() }
        }
        let (one, other) = (try RawConnection(vmm.socket), try RawConnection(vmm.socket))
        for round in 0..<100 {
            let first = try one.call("PUT", "vm.boot")
            #expect(first.status == 204, "round \(round): \(first.text)")
            // The boot waits behind the shutdown, unless it overtakes it and finds the VM on.
            try one.send("PUT", "vm.shutdown")
            try other.send("PUT", "vm.boot")
            #expect(try one.reply().status == 204)
            let second = try other.reply()
            #expect(second.status == 204 || second.text.contains("already"), "round \(round): \(second.text)")
            if second.status == 204 { #expect(try one.call("PUT", "vm.shutdown").status == 204) }
        }
        #expect(failures.texts.withLock { $0 } == [])
    }
}
