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
            // The alignment of a segment of memory, by which crash(8) tells the format from an older one.
            for header in 0..<(Int(core[56]) | Int(core[57]) << 8) where core[64 + header * 56] == 1 {
                let alignment = core[(64 + header * 56 + 48)...].prefix(8)
                #expect(alignment.allSatisfy { $0 == 0 }, "segment \(header)")
            }
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

    /// What gdb says of a vCPU is what the guest put there: registers, where it is, and the memory there.
    @Test func gdbShowsWhatTheGuestDid() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("gdb")
            var config = Guests.config()
            let code: [UInt8] = [
                0xE6, 0x80,  // out 0x80, al
                0xB8, 0x44, 0x33, 0x22, 0x11,  // mov eax, 0x11223344
                0xBD, 0x88, 0x77, 0x66, 0x55,  // mov ebp, 0x55667788
                0xC7, 0x05, 0x00, 0x00, 0x20, 0x00, 0xEF, 0xBE, 0xAD, 0xDE,  // mov dword [0x200000], 0xdeadbeef
                0xEB, 0xFE,  // jmp to itself
            ]
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", TinyKernel(code).elf)
            let vm = try RunningVM()
            try vm.create(config)
            try vm.command(.boot)
            let debug = try #require(vm.controller.status.read(\.instance)?.debugPort)
            #expect(Deadline.seconds(10).wait { debug.observed.firstAt > 0 })
            sleepThread(.milliseconds(100))
            try vm.command(.coredump(path: scratch.path("core")))
            #expect(vm.end() == .quit)
            let asked = ["p/x $rax", "p/x $rbp", "p/x $rip", "x/2xb $rip", "x/1xw 0x200000", "p/x $cs != 0"]
            let gdb = try runProcess(
                Command(
                    "gdb",
                    ["-batch", "-nx", "-ex", "core-file \(scratch.path("core"))"] + asked.flatMap { ["-ex", $0] }))
            let end = "0x" + String(Int(TinyKernel.address) + code.count - 2, radix: 16)
            for answer in [
                "$1 = 0x11223344\n", "$2 = 0x55667788\n", "$3 = \(end)\n", "\(end):\t0xeb\t0xfe\n",
                "0x200000:\t0xdeadbeef\n", "$4 = 0x1\n",
            ] {
                #expect(gdb.text.contains(answer), "\(answer) in \(gdb)")
            }
        }
    }
}
