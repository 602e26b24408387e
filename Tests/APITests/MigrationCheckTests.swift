import Foundation
import TestSupport
import Testing

/// What a destination says before anything moves, and to whom it listens.
extension MigrationTests {
    /// Consoles and sockets whose directories the destination does not have: the check tells of all at once.
    @Test func theCheckLooksAtConsolesAndSockets() throws {
        let pair = try Pair("consoles")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        let directory = pair.scratch.path("gone")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        let more =
            #","vsock":{"cid":5,"socket":"\#(directory)/vsock"},"debug_console":{"mode":"File","file":"\#(directory)/log"}"#
        try first.put(
            "vm.create",
            pair.config(#""size":33554432"#, more, console: #"{"mode":"Socket","socket":"\#(directory)/console"}"#))
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        let receiver = try pair.receiver(second)
        let target = #"{"destination_url":"unix:\#(pair.socket)"}"#
        #expect(try first.expect(200, "PUT", "vm.migration.check", target).json.reasons.count == 0)
        try FileManager.default.removeItem(atPath: directory)
        try FileManager.default.removeItem(atPath: pair.serial)
        try FileManager.default.createDirectory(atPath: pair.serial, withIntermediateDirectories: false)
        let text = try first.expect(200, "PUT", "vm.migration.check", target).text
        for field in ["$.vsock.socket", "$.debug_console.file", "$.console.socket", "$.serial.file"] {
            #expect(text.contains("\(field): "), "\(text)")
        }
        #expect(try first.state() == "Running" && second.state() == nil)
        _ = receiver
    }

    /// Who connects and says nothing keeps no source out.
    @Test func silentCallersKeepNobodyOut() throws {
        let pair = try Pair("silent")
        let (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        let receiver = try pair.receiver(second)
        let silent = try (0..<80).map { _ in try RawConnection(pair.socket) }
        let target = #"{"destination_url":"unix:\#(pair.socket)","connections":3}"#
        let began = ContinuousClock.now
        #expect(try first.expect(200, "PUT", "vm.migration.check", target).json.reasons.count == 0)
        try first.expect(204, "PUT", "vm.send-migration", target)
        #expect(try receiver.reply().status == 204, "\(second.evidence)")
        // Three of them had the source give up after 30 s.
        #expect(began.duration(to: .now) < .seconds(25))
        pair.expectProgress(second.evidence)
        withExtendedLifetime(silent) {}
    }
}
