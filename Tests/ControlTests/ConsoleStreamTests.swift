import CharBackend
import Host
import Synchronization
import TestSupport
import Testing

@testable import Control

/// `vm.console` and `vm.serial` between a connection and a guest's device.
struct ConsoleStreamTests {
    private final class FakeDevice: CharReceiver {
        private let state = Mutex<[UInt8]>([])
        var inputRoom: Int { 100 - state.withLock { $0.count } }
        func receive(_ bytes: [UInt8]) { state.withLock { $0 += bytes } }
        func outputDrained() {}
        var text: String { String(decoding: state.withLock { $0 }, as: UTF8.self) }
    }

    private let deadline = Deadline.seconds(10)

    @Test func aConnectionAttachesAgainAndAgain() throws {
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        let port = try loop.open(.null).port
        let device = FakeDevice()
        port.connect(device)
        #expect(port.write(Array("login: ".utf8).span) == 7)
        var typed = ""
        for round in 0..<3 {
            let sink = FakeSink()
            guard case .upgrade("swiftlet-console", let attach) = ConsoleStream.reply(port) else {
                Issue.record("not an upgrade")
                return
            }
            let receiver = attach(sink)
            let past = "login: " + String(repeating: "ok ", count: round)
            #expect(deadline.wait { sink.text == past })
            #expect(receiver.room == CharAttachment.capacity)
            receiver.receive(Array("root\(round)".utf8))
            typed += "root\(round)"
            #expect(deadline.wait { device.text == typed })
            #expect(port.write(Array("ok ".utf8).span) == 3)
            #expect(deadline.wait { sink.text == past + "ok " })
            sink.close()
            #expect(receiver.room == 0)
            receiver.receive(Array("lost".utf8))
        }
        let last = FakeSink()
        guard case .upgrade(_, let attach) = ConsoleStream.reply(port) else { return }
        let receiver = attach(last)
        loop.stop()
        #expect(last.isFinished && last.text == "login: ok ok ok ")
        #expect(receiver.room == 0 && device.text == typed)
    }

    /// Input that the device had no room for yet, from a client that has gone; too much of it is not kept for ever.
    @Test func whatAClientWroteBeforeItLeftReachesTheGuest() throws {
        let loop = try CharLoop(report: { _ in }, onQuit: {})
        let port = try loop.open(.null).port
        for _ in 0..<40 {
            let sink = FakeSink()
            guard case .upgrade(_, let attach) = ConsoleStream.reply(port) else { return }
            attach(sink).receive(Array("ab".utf8))
            sink.close()
        }
        HostClock.sleep(milliseconds: 50)
        let device = FakeDevice()
        port.connect(device)
        #expect(deadline.wait { device.text.count >= 32 }, "\(device.text)")
        HostClock.sleep(milliseconds: 50)
        #expect(device.text == String(repeating: "ab", count: 16))
        loop.stop()
    }
}
