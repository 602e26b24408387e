import CharBackend
import Host
import Memory
import Snapshot
import TestSupport
import Testing
import Virtio
import VirtioConsole

/// What a console keeps over a snapshot beside its queues.
struct ConsoleStateTests {
    private func document(_ state: String) throws -> StateDocument {
        let text = #"{"format":1,"devices":{"c":{"kind":"virtio-console","version":1,"state":\#(state)}}}"#
        return try StateDocument(Array(text.utf8), file: "state.json")
    }

    /// What came before the snapshot reaches the guest that goes on, and what the host had is not written again.
    @Test func whatWaitsComesAndWhatWentStaysAway() throws {
        let memory = try GuestMemory([MemoryRange(address: 0, size: 1 << 20)])
        let receive = try FakeDriver(memory, size: 16, base: 0)
        let transmit = try FakeDriver(memory, size: 16, base: 0x1000)
        let scratch = try ScratchDirectory("console-state")
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        let device = try ConsoleDevice(
            id: "__console", try loop.open(.file(scratch.path("output"))).port, size: (0, 0))
        // "typed" in base64, and three of the eight bytes of the next output.
        try device.restore(from: document(#"{"received":"dHlwZWQ=","written":3}"#), as: "c")
        var saved = StateDocument()
        try device.save(to: &saved, as: "c")
        #expect(try saved.read(ConsoleState.self, of: "c").received.bytes == Array("typed".utf8))
        try memory.write(Array("goingson".utf8), at: 0x30000)
        try transmit.send([.readable(0x30000, 8)])
        try receive.send([.writable(0x20000, 100)])
        try device.activate(
            VirtioActivation(
                memory: memory, features: 0, queues: [receive.resources(index: 0), transmit.resources(index: 1)],
                transport: RecordingTransport()))
        #expect(try receive.waitUsed().length == 5)
        #expect(try memory.bytes(at: 0x20000, count: 5) == Array("typed".utf8))
        _ = try transmit.waitUsed()
        #expect(device.deactivate().count == 2)
        loop.stop()
        #expect(try Array(scratch.read("output")) == Array("ngson".utf8))
    }

    @Test func statesThatNoConsoleHas() throws {
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        defer { loop.stop() }
        let device = try ConsoleDevice(id: "__console", try loop.open(.null).port, size: (0, 0))
        for (state, field) in [
            (#"{"received":"","written":-1}"#, "written"), (#"{"received":"","written":4294967296}"#, "written"),
            (#"{"received":"\#(String(repeating: "AAAA", count: 1366))","written":0}"#, "received"),
            (#"{"received":"?","written":0}"#, "received"), (#"{"received":""}"#, "written"),
        ] {
            let error = #expect(throws: SnapshotError.self) {
                try device.restore(from: document(state), as: "c")
            }
            #expect(error?.field == "devices.c.state.\(field)", "\(state): \(error as Any)")
        }
    }
}
