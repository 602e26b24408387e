import CLinux
import Foundation
import Host
import Spec
import TestSupport
import Testing

@testable import Machine

/// Core files of the self-test guest.
@Suite(.serialized) struct CoredumpTests {
    @Test func aCoreHasMemoryAndRegisters() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("core")
            var config = Guests.config(vcpus: 2)
            config.serial = ConsoleConfig(socket: scratch.path("serial"))
            let vm = try RunningVM("mode=echo seconds=50")
            try vm.create(config)
            #expect(try vm.refusal(.coredump(path: scratch.path("core"))).chain.last == "VM is not booted")
            let line = try Conversation.connect(socket: scratch.path("serial"), by: .seconds(5))
            try vm.command(.boot)
            #expect(Deadline.seconds(10).wait { line.output.contains("echo: until q") })
            try line.write("x")
            #expect(Deadline.seconds(10).wait { line.output.contains("x") })
            try vm.command(.coredump(path: scratch.path("core")))
            #expect(vm.controller.status.state == .running)
            let again = try vm.refusal(.coredump(path: scratch.path("core")))
            #expect(again.kind == .invalid && again.chain.last?.contains("name a file that does not exist") == true)
            // What is refused has not begun.
            #expect(vm.events.all == ["vm.booting", "vm.booted", "vm.coredumping"], "\(vm.events.all)")
            try line.write("y")
            #expect(Deadline.seconds(10).wait { line.output.contains("y") })
            #expect(vm.end() == .quit)

            let core = try scratch.read("core")
            #expect(core.prefix(4) == [0x7F, 0x45, 0x4C, 0x46])
            // The first instructions of the guest's image lie at 1 MiB or above; the whole of RAM is in one segment.
            #expect(core.count >= 32 << 20)
            #expect(core.count < (32 << 20) + (1 << 20))
            let file = try FileManager.default.attributesOfItem(atPath: scratch.path("core"))
            #expect(file[.posixPermissions] as? Int == 0o600)
            let room = try runProcess(Command("du", ["-k", scratch.path("core")])).text.split(separator: "\t").first
            #expect(try #require(room.flatMap { Int($0) }) < 16 << 10, "zero pages take room")
        }
    }

    @Test func gdbReadsACore() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("gdb")
            let vm = try RunningVM("mode=spin")
            try vm.create(Guests.config(vcpus: 3))
            try vm.command(.boot)
            sleepThread(.milliseconds(300))
            try vm.command(.coredump(path: scratch.path("core")))
            #expect(vm.end() == .quit)
            let gdb = try runProcess(
                Command(
                    "gdb",
                    [
                        "-batch", "-nx", "-ex", "core-file \(scratch.path("core"))", "-ex", "info threads",
                        "-ex", "thread 1", "-ex", "x/1i $rip", "-ex", "p/x $cs",
                    ]))
            // Three vCPUs, the first of them in the guest's code, which is 64-bit.
            #expect(gdb.text.contains("LWP 3") && !gdb.text.contains("LWP 4"), "\(gdb)")
            #expect(gdb.text.contains("=> 0x") && !gdb.text.contains("Cannot access memory"), "\(gdb)")
        }
    }
}
