import Glibc
import SwiftletClient
import TestSupport
import Testing

/// Events and terminals against a server of the tests.
@Suite(.timeLimit(.minutes(15))) struct StreamTests {
    private static let event =
        #"{"timestamp":{"secs":1,"nanos":2000},"source":"vm","event":"booted","properties":{"id":"_disk0"}}"#

    @Test func eventsComeInOrderAndEnd() async throws {
        let fake = try FakeVMM { _ in
            let first = Reply.events + "id: 64\nevent: vm.booted\ndata: \(Self.event)\n\n: still here\n\n"
            let second = "data: " + Self.event.replacing("booted", with: "shutdown") + "\n\n"
            return [.trickle(Array(first.utf8)), .sleep(milliseconds: 30), .send(Array(second.utf8))]
        }
        var names: [String] = []
        var ids: [UInt64?] = []
        for try await event in try await VMMClient(socketPath: fake.path).events() {
            names.append(event.event)
            ids.append(event.id)
            #expect(event.source == "vm" && event.timestamp.secs == 1 && event.timestamp.nanos == 2000)
            #expect(event.properties?["id"]?.string == "_disk0")
        }
        #expect(names == ["booted", "shutdown"])
        // An event without a number does not get that of the one before.
        #expect(ids == [64, nil])
    }

    @Test func anEventThatIsNoneIsAnError() async throws {
        let fake = try FakeVMM { _ in [.send(Array((Reply.events + "data: {\"event\":1}\n\n").utf8))] }
        let events = try await VMMClient(socketPath: fake.path).events()
        let error = await #expect(throws: VMMClientError.self) { for try await _ in events {} }
        #expect(error?.kind == .protocolError)
    }

    @Test func aRefusedStreamSaysWhy() async throws {
        let fake = try FakeVMM(reply: Reply.json(#"["The serial port is off"]"#, 404))
        let error = await #expect(throws: VMMClientError.self) {
            _ = try await VMMClient(socketPath: fake.path).serial()
        }
        #expect(error?.kind == .api(status: 404) && error?.causes == ["The serial port is off"])
    }

    @Test func aServerThatDoesNotUpgradeIsNoTerminal() async throws {
        let fake = try FakeVMM(reply: Reply.json("{}"))
        let error = await #expect(throws: VMMClientError.self) {
            _ = try await VMMClient(socketPath: fake.path).console()
        }
        #expect(error?.kind == .protocolError)
    }

    @Test func aTerminalCarriesBytesBothWays() async throws {
        let fake = try FakeVMM { _ in [.send(Array((Reply.upgraded + "login: ").utf8)), .echo] }
        let terminal = try await VMMClient(socketPath: fake.path).console()
        #expect(fake.requests[0].head.contains("\r\nConnection: Upgrade\r\nUpgrade: swiftlet-console"))
        // More than sockets and queues hold: reading and writing go on side by side.
        let typed = FakeVMM.pattern(3 << 20)
        async let writing: Void = terminal.write(typed)
        let greeting = Array("login: ".utf8)
        var seen: [UInt8] = []
        for try await bytes in terminal {
            seen += bytes
            if seen.count >= greeting.count + typed.count { break }
        }
        try await writing
        // Compared apart: a failed expectation would look for the difference for minutes.
        let isWhole = seen == greeting + typed
        #expect(isWhole)
    }

    @Test func aSlowReaderLosesNothingAndHoldsLittle() async throws {
        let fake = try FakeVMM { _ in [.send(Array(Reply.upgraded.utf8)), .flood(8 << 20)] }
        let terminal = try await VMMClient(socketPath: fake.path).serial()
        try await Task.sleep(for: .milliseconds(200))
        var seen: [UInt8] = []
        var largest = 0
        for try await bytes in terminal {
            largest = max(largest, bytes.count)
            seen += bytes
        }
        let isWhole = seen == FakeVMM.pattern(8 << 20)
        #expect(isWhole)
        #expect(largest <= 512 << 10)
    }

    @Test func closingEndsTheReading() async throws {
        let fake = try FakeVMM { _ in [.send(Array(Reply.upgraded.utf8)), .hold] }
        let terminal = try await VMMClient(socketPath: fake.path).serial()
        let reading = Task { for try await _ in terminal {} }
        try await Task.sleep(for: .milliseconds(20))
        terminal.close()
        try await reading.value
        let error = await #expect(throws: VMMClientError.self) { try await terminal.write("x") }
        #expect(error?.kind == .connectionLost(errno: 0))
    }

    @Test func cancellingEndsTheReading() async throws {
        let fake = try FakeVMM { _ in [.send(Array(Reply.events.utf8)), .hold] }
        let events = try await VMMClient(socketPath: fake.path).events()
        let reading = Task { for try await _ in events {} }
        try await Task.sleep(for: .milliseconds(20))
        reading.cancel()
        let result = await reading.result
        #expect(throws: VMMClientError.self) { try result.get() }
    }

    @Test func droppingAStreamEndsItsConnection() async throws {
        let before = try OpenFiles.sockets()
        let fake = try FakeVMM { _ in [.send(Array(Reply.upgraded.utf8)), .hold] }
        for _ in 0..<20 { _ = try await VMMClient(socketPath: fake.path).serial() }
        // The listening socket is the one more.
        #expect(Deadline.seconds(10).wait { (try? OpenFiles.sockets()) ?? .max <= before + 3 })
    }

    @Test func aPeerThatGoesWhileBytesWaitDoesNotHang() async throws {
        let fake = try FakeVMM { _ in [.send(Array((Reply.upgraded + "bye").utf8))] }
        let terminal = try await VMMClient(socketPath: fake.path).serial()
        let typed = [UInt8](repeating: 0x61, count: 4 << 20)
        let error = await #expect(throws: VMMClientError.self) { try await terminal.write(typed) }
        guard case .connectionLost? = error?.kind else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}
