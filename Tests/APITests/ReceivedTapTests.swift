import Foundation
import Host
import TestSupport
import Testing

/// Taps that a client opened and sent: what the VM changes of them, and what it leaves alone.
@Suite(.serialized, .timeLimit(.minutes(15))) struct ReceivedTapTests {
    private let name = "swr\(getpid() % 100_000)"

    /// The MTU and the hardware address of an interface.
    private func look(_ name: String) throws -> (mtu: Int, mac: [UInt8]) {
        let interface = try NetworkInterface(name)
        return (try interface.mtu(), try interface.mac())
    }

    private func log(_ vmm: TestVMM) throws -> String { String(decoding: try vmm.scratch.read("log"), as: UTF8.self) }

    /// Opens a tap as its own, and runs `swiftlet ctl add-net` with it: FD in the options is the descriptor's number.
    private static let script = """
        import fcntl, struct, subprocess, sys
        name, swiftlet, socket, options = sys.argv[1:]
        tap = open("/dev/net/tun", "r+b", buffering=0)
        fcntl.ioctl(tap, 0x400454ca, struct.pack("16sH22x", name.encode(), 0x5002))
        options = options.replace("FD", str(tap.fileno()))
        command = [swiftlet, "ctl", "--api-socket", socket, "add-net", options]
        sys.exit(subprocess.call(command, pass_fds=[tap.fileno()]))
        """

    private func addNet(_ vmm: TestVMM, _ options: String, elsewhere: Bool = false) throws -> ProcessResult {
        let words = ["-c", Self.script, name, try Built.swiftlet(), vmm.socket, options]
        return try runProcess(
            elsewhere ? Command("unshare", ["-n", "python3"] + words) : Command("python3", words))
    }

    @Test func theMTUIsSetAndTheAddressesAreLeft() throws {
        let vmm = try TestVMM()
        try vmm.put("vm.create", vmm.config())
        do {
            let tap = try TapQueue(name: name, multiQueue: false)
            let before = try look(name)
            let net =
                #"{"id":"card","num_queues":2,"mtu":1400,"ip":"10.9.8.7","mask":"255.255.255.0","#
                + #""host_mac":"02:00:00:00:00:09"}"#
            let reply = try RawConnection(vmm.socket).call("PUT", "vm.add-net", net, descriptors: [tap.file.raw])
            #expect(reply.status == 204, "\(reply.text)")
            let after = try look(name)
            #expect(after.mtu == 1400 && after.mac == before.mac)
            let addresses = try runProcess(Command("ip", ["-4", "addr", "show", "dev", name])).text
            #expect(!addresses.contains("10.9.8.7"), "\(addresses)")
            let lines = try log(vmm)
            for field in ["ip", "mask", "host_mac"] {
                #expect(
                    lines.contains("vm.add-net: $.\(field): ignored, since the tap came as descriptors"), "\(lines)")
            }
            let most = #"{"num_queues":2,"mtu":65535}"#
            let other = try TapQueue(name: "\(name)w", multiQueue: false)
            let wide = try RawConnection(vmm.socket).call("PUT", "vm.add-net", most, descriptors: [other.file.raw])
            let twice = #"{"num_queues":2}"#
            let again = try RawConnection(vmm.socket).call("PUT", "vm.add-net", twice, descriptors: [tap.file.raw])
            #expect(again.status == 409, "\(again.text)")
            #expect(wide.status == 400 && wide.chain.last?.hasPrefix("$.mtu: ") == true, "\(wide.text)")
        }
        try vmm.put("vm.delete")
        #expect(NetworkInterface.goes(name))
    }

    /// A descriptor that `ctl` was started with goes over to the VMM, and is the VMM's from then on.
    @Test func ctlHandsATapOver() throws {
        let vmm = try TestVMM()
        let kernel = try vmm.scratch.write("kernel", TinyKernel.ejector.elf)
        try vmm.put("vm.create", vmm.config(#""payload":{"kernel":"\#(kernel)"}"#))
        try vmm.put("vm.boot")
        let added = try addNet(vmm, "fd=[FD],mtu=1300,id=card")
        #expect(added.succeeded && added.text == "card is at 0000:00:02.0\n", "\(added)")
        #expect(NetworkInterface.exists(name))
        let mtu = try look(name).mtu
        #expect(mtu == 1300)
        try vmm.put("vm.remove-device", #"{"id":"card"}"#)
        #expect(NetworkInterface.goes(name), "\(vmm.evidence)")
    }

    /// A tap of another network namespace is not mistaken for an interface here that has its name.
    @Test func aTapOfAnotherNamespaceIsNotConfiguredFromHere() throws {
        let vmm = try TestVMM()
        try vmm.put("vm.create", vmm.config())
        let twin = try TapQueue(name: name, multiQueue: false)
        let refused = try addNet(vmm, "fd=[FD],mtu=1300,id=card", elsewhere: true)
        #expect(refused.ending == .exited(1), "\(refused)")
        #expect(refused.errors.contains("$.mtu: the tap \(name) is in another network namespace"), "\(refused)")
        let accepted = try addNet(vmm, "fd=[FD],id=card", elsewhere: true)
        #expect(accepted.succeeded && accepted.text == "added to the VM's configuration\n", "\(accepted)")
        try vmm.put("vm.boot")
        let mtu = try look(name).mtu
        #expect(mtu == 1500)
        _ = twin
    }
}
