import Foundation
import Glibc
import TestSupport
import Testing

/// What the network hears of a VM that arrives.
@Suite(.serialized, .timeLimit(.minutes(15))) struct AnnouncementTests {
    /// Prints each packet that comes in from a hardware address: the interface and the protocol.
    private static let listener = """
        import socket, sys
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        print("listens", flush=True)
        while True:
            frame, (name, protocol, kind, *_) = line.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING and frame[6:12].hex(":") == sys.argv[1]:
                print(name, f"{protocol:04x}", frame[22:28].hex(":"), flush=True)
        """

    /// From the tap a reverse ARP request in the guest's name, also where the guest stands still.
    @Test(arguments: [false, true]) func whereItIsNow(_ isPaused: Bool) throws {
        let number = getpid() % 100_000
        let tap = "swa\(number)"
        let mac =
            "52:54:00:"
            + [number >> 12, number >> 4, number << 4].map { String(format: "%02x", $0 & 255) }
            .joined(separator: ":")
        let made = try runProcess(Command("ip", ["tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr"]))
        try #require(made.succeeded, "\(made)")
        defer { _ = try? runProcess(Command("ip", ["link", "delete", tap])) }
        let pair = try MigrationTests.Pair("announces")
        let (first, second) = (try TestVMM(selfTest: nil), try TestVMM(selfTest: nil))
        let card = #","net":[{"id":"card","tap":"\#(tap)","mac":"\#(mac)"}]"#
        try first.put("vm.create", pair.config(#""size":33554432"#, card))
        try first.put("vm.boot")
        pair.expectProgress(first.evidence)
        if isPaused { try first.put("vm.pause") }
        let listener = try ChildProcess(Command("python3", ["-c", Self.listener, mac]), .pipes)
        defer { listener.kill() }
        let deadline = Deadline.seconds(60)
        try listener.expect("listens", by: deadline)
        try pair.move(first, second)
        try listener.expect("\(tap) 8035 \(mac)", by: deadline)
        #expect(try second.state() == (isPaused ? "Paused" : "Running"))
    }
}
