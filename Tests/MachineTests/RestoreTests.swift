import Boot
import CharBackend
import Foundation
import Host
import KVM
import PCI
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// Machines that go on in another one.
@Suite(.serialized) struct RestoreTests {
    /// A guest that counts in a register and in memory, compares the two, and writes the number to its serial port.
    private static let counter = TinyKernel([
        0x31, 0xC9,  // xor ecx, ecx
        0x41,  // next: inc ecx
        0xFF, 0x05, 0x00, 0x00, 0x30, 0x00,  // inc dword [0x300000]
        0x39, 0x0D, 0x00, 0x00, 0x30, 0x00,  // cmp [0x300000], ecx
        0x75, 0x12,  // jne wrong
        0x66, 0xBA, 0xFD, 0x03,  // wait: mov dx, 0x3fd
        0xEC,  // in al, dx
        0xA8, 0x20,  // test al, 0x20
        0x74, 0xF7,  // jz wait
        0x66, 0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
        0x88, 0xC8,  // mov al, cl
        0xEE,  // out dx, al
        0xEB, 0xDF,  // jmp next
        0xB0, 0xEE,  // wrong: mov al, 0xee
        0xE6, 0x80,  // out 0x80, al
        0xEB, 0xFE,  // jmp to itself
    ])

    private func serial(_ config: VMConfig, _ path: String) -> VMConfig {
        var config = config
        config.serial = ConsoleConfig(file: path)
        return config
    }

    /// A count that goes through many machines has neither a gap nor a repeat.
    @Test func aCountGoesOnWithoutAGap() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("count")
            var config = Guests.config(mebibytes: 16)
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", Self.counter.elf)
            var saved: TestMachine.Saved?
            var bytes: [UInt8] = []
            for round in 0..<25 {
                let name = "serial\(round)"
                let machine = try TestMachine(serial(config, scratch.path(name)), from: saved)
                if saved == nil { try machine.instance.start() } else { try machine.instance.resume() }
                // The file gets what waits when the line is closed.
                #expect(Deadline.seconds(10).wait { (try? scratch.read(name))?.isEmpty == false }, "round \(round)")
                sleepThread(.milliseconds(3 * round))
                saved = try machine.save()
                machine.end()
                #expect(machine.heard.all.isEmpty, "\(machine.heard.all)")
                let more = try scratch.read(name)
                bytes += more
            }
            #expect(bytes.enumerated().allSatisfy { UInt8(truncatingIfNeeded: $0 + 1) == $1 }, "\(bytes.count) bytes")
            let memory = try #require(saved?.memory.first)
            let count = (0..<4).reduce(0) { $0 | Int(memory[0x30_0000 + $1]) << (8 * $1) }
            #expect(count == bytes.count || count == bytes.count + 1)
        }
    }

    /// An address of PCI's configuration space that the guest has written, and not used yet, is part of its state.
    @Test func anAddressThatKVMKeepsIsSaved() throws {
        let kernel = TinyKernel([
            0x66, 0xBA, 0xF8, 0x0C,  // mov dx, 0xcf8
            0xB8, 0x00, 0x08, 0x00, 0x80,  // mov eax, 0x80000800
            0xEF,  // out dx, eax: from here on KVM keeps them
            0xB8, 0x04, 0x08, 0x00, 0x80,  // mov eax, 0x80000804
            0xEF,  // out dx, eax
            0xB0, 0x2A,  // mov al, 0x2a
            0xE6, 0x80,  // out 0x80, al
            0xEB, 0xFE,  // jmp to itself
        ])
        try Guests.alone {
            let scratch = try ScratchDirectory("address")
            var config = Guests.config(mebibytes: 16)
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", kernel.elf)
            let machine = try TestMachine(config)
            defer { machine.end() }
            try machine.instance.start()
            #expect(Deadline.seconds(10).wait { machine.instance.debugPort.saved.code == 0x2A })
            let saved = try machine.save()
            let bus = try saved.document.read(PCIRootState.self, of: StateName.bus)
            #expect(bus.portAddress == 0x8000_0804)
        }
    }

    /// A machine that was restored and never ran is what it was, byte for byte.
    @Test func aMachineThatDoesNotRunStaysWhatItIs() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("same")
            var config = serial(Guests.config(vcpus: 2), scratch.path("serial"))
            config.disks = [DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))]
            func load() throws -> TestMachine.Saved {
                let machine = try TestMachine(config, "mode=disk-load seconds=20")
                try machine.instance.start()
                #expect(Deadline.seconds(10).wait { machine.transportsRun >= 1 })
                sleepThread(.milliseconds(30))
                defer { machine.end() }
                return try machine.save()
            }
            let first = try load()
            for round in 0..<5 {
                let again = try TestMachine(serial(config, scratch.path("serial\(round)")), from: first)
                let second = try again.saved()
                again.end()
                // All but the generation id, which is new.
                let place = Int(MachineLayout.generationID)..<Int(MachineLayout.generationID) + 16
                var (before, after) = (first.memory[0], second.memory[0])
                #expect(before[place] != after[place])
                before.replaceSubrange(place, with: after[place])
                #expect(before == after)
                after = []
                // On a host whose own counter is not stable KVM moves the guest's by itself, never back.
                let differences = Self.differences(first.state, second.state).filter { !$0.contains(".tsc:") }
                for vcpu in 0..<2 {
                    let name = StateName.vcpu(vcpu)
                    let (before, after) = (
                        try first.document.read(SavedVCPU.self, of: name),
                        try second.document.read(SavedVCPU.self, of: name)
                    )
                    #expect(after.tsc >= before.tsc && after.tsc - before.tsc < 30_000_000_000)
                }
                #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
            }
        }
    }

    /// The fields that are not the same in two documents, but for what depends on when they were taken: the current count
    /// of a local APIC's timer.
    private static func differences(_ left: [UInt8], _ right: [UInt8]) -> [String] {
        let (left, right) = (fields(left), fields(right))
        return Set(left.keys).union(right.keys).filter { left[$0] != right[$0] }.sorted().map {
            "\($0): \(left[$0]?.prefix(900) ?? "none") != \(right[$0]?.prefix(900) ?? "none")"
        }
    }

    private static func fields(_ state: [UInt8]) -> [String: String] {
        let object = (try? JSONSerialization.jsonObject(with: Data(state))) as? [String: Any]
        var fields: [String: String] = [:]
        for (name, section) in object?["devices"] as? [String: Any] ?? [:] {
            for (key, value) in (section as? [String: Any])?["state"] as? [String: Any] ?? [:] {
                guard key == "localAPIC", let text = value as? String, let page = Data(base64Encoded: text) else {
                    let text = try? JSONSerialization.data(
                        withJSONObject: value, options: [.sortedKeys, .fragmentsAllowed])
                    fields["\(name).\(key)"] = text.map { String(decoding: $0, as: UTF8.self) }
                    continue
                }
                for register in stride(from: 0, to: page.count, by: 16) where register != 0x390 {
                    fields["\(name).\(key)[\(String(register, radix: 16))]"] =
                        "\([UInt8](page[register..<register + 4]))"
                }
            }
        }
        return fields
    }

    /// The self-test guest, moved into another machine in the middle of its work again and again, passes.
    /// A state that is refused when the machine is there already leaves nothing of it, nor of its serial port.
    @Test func aMachineThatIsRefusedIsGone() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("refused")
            let config = serial(Guests.config(), scratch.path("serial"))
            let machine = try TestMachine(config, "mode=hang")
            try machine.instance.start()
            let saved = try machine.save()
            machine.end()
            var state = try #require(JSONSerialization.jsonObject(with: Data(saved.state)) as? [String: Any])
            var devices = try #require(state["devices"] as? [String: Any])
            devices["zzz"] = ["kind": "x", "version": 1, "state": [String: Int]()]
            state["devices"] = devices
            let forged = TestMachine.Saved(
                config: saved.config, state: Array(try JSONSerialization.data(withJSONObject: state)),
                memory: saved.memory)
            weak var port: CharPort?
            #expect(throws: SnapshotError.self) { try TestMachine(config, from: forged) { port = $0.serial } }
            #expect(port == nil)
        }
    }

    @Test(arguments: [1, 2]) func theSelfTestPassesOverManyMachines(_ vcpus: UInt32) throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("selftest")
            var config = Guests.config(vcpus: vcpus)
            let disk = try scratch.write(
                "disk", Array("SWIFTLET-SELFTEST".utf8) + [UInt8](repeating: 0, count: (1 << 20) - 17))
            config.disks = [DiskConfig(path: disk)]
            config.disks[0].imageType = .raw
            config.console = ConsoleConfig(file: scratch.path("console"))
            config.vsock = VsockConfig(cid: 5, socket: scratch.path("vsock"))
            var saved: TestMachine.Saved?
            var text = ""
            var moves = 0
            while moves < 200 {
                let name = "serial\(moves)"
                let machine = try TestMachine(serial(config, scratch.path(name)), from: saved)
                if saved == nil { try machine.instance.start() } else { try machine.instance.resume() }
                let isOver = Deadline(after: .milliseconds(10 + moves % 7)).wait { machine.isOver }
                if !isOver { saved = try machine.save() }
                let heard = machine.heard.all
                machine.end()
                text += String(decoding: try scratch.read(name), as: UTF8.self)
                if isOver {
                    #expect(heard.first == "exit(0)", "\(heard)")
                    break
                }
                moves += 1
            }
            #expect(text.contains("selftest: PASS"), "after \(moves) moves: \(text)")
            #expect(moves > 3)
        }
    }
}

extension TestMachine {
    /// How many functions a driver has set up.
    fileprivate var transportsRun: Int {
        instance.transports.filter { $0.readConfiguration(4, size: 2) & 2 != 0 }.count
    }

    /// Whether the guest has said its last word.
    fileprivate var isOver: Bool { heard.all.contains { $0.hasPrefix("exit") || $0.hasPrefix("vCPU") } }
}
