import CLinux
import Foundation
import Host
import KVM
import Snapshot
import Synchronization
import TestSupport
import Testing

/// A machine of one vCPU, never run, for its registers alone.
private struct Machine {
    let handle: VMHandle
    let vcpu: VCPUHandle
    let sizes: VCPUStateSizes

    init(_ system: borrowing KVMSystem) throws {
        handle = try system.createVM()
        try handle.setTSS(at: 0xFFFB_D000)
        try handle.createInterruptChip()
        if system.value(of: .x2apicAPI) != 0 { try handle.enable(.x2apicAPI, 3) }
        vcpu = try handle.createVCPU(id: 0)
        sizes = try VCPUStateSizes(handle)
    }

    func save(_ listed: [UInt32], hostTSC: UInt64) throws -> SavedVCPU {
        try vcpu.save(listed, sizes, hostTSC: hostTSC)
    }
}

/// A vCPU's whole state: set, saved, given to another machine, saved again.
@Suite(.serialized) struct StateTests {
    private let listed: [UInt32]
    private let cpuid: [CPUIDEntry]

    init() throws {
        let system = try KVMSystem()
        listed = try system.stateMSRs()
        cpuid = try system.supportedCPUID()
    }

    /// Sets everything that has a value of its own to one that a new vCPU does not have.
    private func fill(_ machine: Machine, seed: UInt64) throws {
        let vcpu = machine.vcpu
        try vcpu.setCPUID(cpuid)
        var special = try vcpu.specialRegisters()
        special.cr0 = 0x8005_0033
        special.cr2 = 0x1234_5000 &+ seed
        special.cr3 = 0x9000
        special.cr4 = 0x6A0
        special.cr8 = 5
        special.efer = 0xD01
        special.cs = kvm_segment(
            base: 0, limit: 0xFFFF_FFFF, selector: 8, type: 11, present: 1, dpl: 0, db: 0, s: 1, l: 1, g: 1, avl: 0,
            unusable: 0, padding: 0)
        special.fs.base = 0x7F00_1122_3000 &+ seed
        special.gs.base = 0x7F00_4455_6000
        special.gdt = kvm_dtable(base: 0xFFFF_8000_0000_1000, limit: 0x7F, padding: (0, 0, 0))
        special.idt = kvm_dtable(base: 0xFFFF_8000_0000_2000, limit: 0xFFF, padding: (0, 0, 0))
        try vcpu.setSpecialRegisters(special)
        var registers = kvm_regs()
        (registers.rax, registers.rbx, registers.rcx, registers.rdx) = (seed, seed &+ 1, ~seed, seed << 7)
        (registers.rsi, registers.rdi, registers.rsp, registers.rbp) = (11, 12, 0x8000, 0x7000)
        (registers.r8, registers.r9, registers.r10, registers.r11) = (seed &* 3, 9, 10, 11)
        (registers.r12, registers.r13, registers.r14, registers.r15) = (12, 13, 14, .max)
        (registers.rip, registers.rflags) = (0x10_1234, 0x246)
        try vcpu.setRegisters(registers)
        try fillVectors(machine, seed)
        try vcpu.setMSRs([
            MSR(0x174, 0x10), MSR(0x175, 0x1111_0000 &+ seed), MSR(0x176, 0x2222_0000),
            MSR(0xC000_0081, 0x23_0010 << 32),
            MSR(0xC000_0082, 0xFFFF_8000_1234_0000), MSR(0xC000_0084, 0x4_7700),
            MSR(0xC000_0102, 0xFFFF_8880_0000_0000),
            MSR(0x277, 0x0007_0406_0007_0406), MSR(0x2FF, 0xC06), MSR(0x250, 0x0606_0606_0606_0606), MSR(0x3B, 77),
        ])
        try fillInterrupts(machine)
    }

    private func fillVectors(_ machine: Machine, _ seed: UInt64) throws {
        var saved = try machine.save(listed, hostTSC: 0)
        var area = saved.xsave.bytes
        // Rounding up, and all exceptions masked (FCW, MXCSR); ST0 to ST7 and XMM0 to XMM15 behind the 32 bytes of each.
        (area[0], area[1], area[24], area[25]) = (0x7F, 0x0B, 0x80, 0x5F)
        for byte in 0..<10 { area[32 + byte] = UInt8(truncatingIfNeeded: 0x40 + byte) }
        for byte in 0..<256 { area[160 + byte] = UInt8(truncatingIfNeeded: UInt64(byte) &* 7 &+ seed) }
        // XSTATE_BV: x87 and SSE, and AVX with its halves where the processor has it (CPUID 0xD, subleaf 2).
        var features: UInt8 = 3
        if let avx = cpuid.first(where: { $0.function == 0xD && $0.index == 2 }), avx.eax == 256, avx.ebx >= 576,
            cpuid.contains(where: { $0.function == 0xD && $0.index == 0 && $0.eax & 4 != 0 })
        {
            features |= 4
            for byte in 0..<256 { area[Int(avx.ebx) + byte] = UInt8(truncatingIfNeeded: byte ^ 0xA5) }
            var control = kvm_xcrs()
            control.nr_xcrs = 1
            control.xcrs.0.value = 7
            saved.extendedControl = RawBytes(of: control)
        }
        area[512] = features
        saved.xsave = RawBytes(area)
        try machine.vcpu.restore(saved, "vcpu0", machine.sizes, hostTSC: 0)
    }

    /// The local APIC on, its timer's registers set, an interrupt requested and one in service; an NMI and an exception on
    /// their way; inputs of the IOAPIC routed and one waiting behind its mask.
    private func fillInterrupts(_ machine: Machine) throws {
        let vcpu = machine.vcpu
        var page = LocalAPICPage(try vcpu.localAPIC())
        page[0xF0] = 0x1FF
        page[0x320] = 0x2_0031
        page[0x3E0] = 0xB
        page[0x100 + 0x10 * 2] = 1 << 5  // in service: 0x45
        page[0x200 + 0x10 * 2] = 1 << 1  // requested: 0x41
        page[0x200 + 0x10 * 7] = 1 << 30  // requested: 0xFE
        try vcpu.setLocalAPIC(page.state)
        var saved = try machine.save(listed, hostTSC: 0)
        var events = try saved.events.value(as: kvm_vcpu_events.self, "events")
        (events.nmi.pending, events.nmi.masked, events.interrupt.shadow) = (1, 1, 1)
        (events.exception.injected, events.exception.nr, events.exception.has_error_code) = (1, 13, 1)
        events.exception.error_code = 0x1234
        saved.events = RawBytes(of: events)
        var debug = try saved.debug.value(as: kvm_debugregs.self, "debug")
        debug.db = (0x1000, 0x2000, 0x3000, 0x4000)
        (debug.dr6, debug.dr7) = (0xFFFF_0FF1, 0x455)
        saved.debug = RawBytes(of: debug)
        saved.multiprocessor = UInt32(KVM_MP_STATE_HALTED)
        saved.tsc = 0x1234_5678_9ABC
        try vcpu.restore(saved, "vcpu0", machine.sizes, hostTSC: 0)
        var chips = try machine.handle.saveInterruptChips()
        var ioapic = chips.chips[2].bytes
        // Entry 4 of the redirection table behind base, selector, id, IRR: edge-triggered, vector 0x41, masked.
        let entry = 8 + 24 + 8 * 4
        (ioapic[entry], ioapic[entry + 2], ioapic[entry + 7]) = (0x41, 1, 0)
        chips.chips[2] = RawBytes(ioapic)
        var pic = chips.chips[0].bytes
        (pic[8 + 2], pic[8 + 4]) = (0xFB, 0x20)  // the mask, the vectors' base
        chips.chips[0] = RawBytes(pic)
        try machine.handle.restore(chips, "irqchip")
    }

    /// A thousand times, while other threads keep the processors busy and have their own vector registers.
    @Test func everyRegisterIsTheSameInAnotherMachine() throws {
        let system = try KVMSystem()
        let isOver = Atomic<Bool>(false)
        let load = try (0..<2).map { number in
            try Thread("load\(number)") {
                // Other tests are not to wait for it.
                yieldPrecedence(steps: 19)
                var numbers = SIMD16<Float>(repeating: Float(number))
                while !isOver.load(ordering: .relaxed) { numbers = numbers * 1.000_1 + 1 }
                #expect(numbers[0] != 0.5)
            }
        }
        defer {
            isOver.store(true, ordering: .relaxed)
            for thread in load { thread.join() }
        }
        for round in 0..<1000 {
            let seed = UInt64(round) &* 0x9E37_79B9
            let first = try Machine(system)
            try fill(first, seed: seed)
            let hostTSC = HostTSC.now
            let state = try first.save(listed, hostTSC: hostTSC)
            let chips = try first.handle.saveInterruptChips()
            // As a snapshot has it, through JSON; or as a migration does, packed.
            var document = StateDocument()
            try document.add(state, as: "vcpu0")
            try document.add(chips, as: "irqchip")
            let coded = try round % 2 == 0 ? document.encoded() : document.packed()
            let read = try StateDocument(moved: coded, "the state")

            let second = try Machine(system)
            try second.handle.restore(read.read(SavedInterruptChips.self, of: "irqchip"), "irqchip")
            try second.vcpu.restore(read.read(SavedVCPU.self, of: "vcpu0"), "vcpu0", second.sizes, hostTSC: hostTSC)
            let again = try second.save(listed, hostTSC: hostTSC)
            #expect(again == state, "round \(round): \(Self.difference(state, again))")
            #expect(try second.handle.saveInterruptChips() == chips, "round \(round)")
            if round == 0 { try look(state) }
            if again != state { break }
        }
    }

    /// What was set is in the state at all.
    private func look(_ state: SavedVCPU) throws {
        let registers = try state.registers.value(as: kvm_regs.self, "registers")
        #expect(registers.r15 == .max && registers.rip == 0x10_1234)
        #expect(state.xsave.bytes[160 + 1] == 7 && state.xsave.bytes[512] & 3 == 3)
        #expect(state.msrs.contains(MSR(0xC000_0102, 0xFFFF_8880_0000_0000)))
        #expect(state.msrs.contains(MSR(0x250, 0x0606_0606_0606_0606)) && state.msrs.contains(MSR(0x3B, 77)))
        #expect(
            state.tsc &- 0x1234_5678_9ABC < 1 << 62, "\(state.tsc) at \(state.tscKilohertz) kHz, host \(HostTSC.now)")
        #expect(state.multiprocessor == UInt32(KVM_MP_STATE_HALTED))
        let page = LocalAPICPage(try state.localAPIC.value(as: kvm_lapic_state.self, "localAPIC"))
        #expect(page[0x220] & 2 != 0 && page[0x270] & 1 << 30 != 0 && page[0x120] & 1 << 5 != 0)
        let events = try state.events.value(as: kvm_vcpu_events.self, "events")
        #expect(events.exception.nr == 13 && events.nmi.masked == 1)
        let debug = try state.debug.value(as: kvm_debugregs.self, "debug")
        #expect(debug.db.3 == 0x4000)
    }

    /// Which fields differ, in words.
    private static func difference(_ left: SavedVCPU, _ right: SavedVCPU) -> String {
        let pairs = zip(Mirror(reflecting: left).children, Mirror(reflecting: right).children)
        return pairs.filter { "\($0.value)" != "\($1.value)" }.map {
            "\($0.label ?? ""): \($0.value) != \($1.value)"
        }.joined(separator: "; ")
    }

    @Test func refusesWhatIsNoState() throws {
        let system = try KVMSystem()
        let machine = try Machine(system)
        try machine.vcpu.setCPUID(cpuid)
        let good = try machine.save(listed, hostTSC: 0)
        func refusal(_ change: (inout SavedVCPU) -> Void) throws -> SnapshotError? {
            var bad = good
            change(&bad)
            let fresh = try Machine(system)
            do throws(SnapshotError) {
                try fresh.vcpu.restore(bad, "vcpu0", fresh.sizes, hostTSC: 0)
                return nil
            } catch { return error }
        }
        #expect(try refusal { _ in } == nil)
        let short = RawBytes([1, 2, 3])
        let at = "devices.vcpu0.state"
        #expect(try refusal { $0.registers = short }?.field == "\(at).registers")
        #expect(try refusal { ($0.special2, $0.special) = (short, nil) }?.field == "\(at).special2")
        #expect(try refusal { ($0.special2, $0.special) = (nil, nil) }?.field == "\(at).special")
        #expect(try refusal { $0.xsave = short }?.field == "\(at).xsave")
        #expect(try refusal { $0.xsave = RawBytes([UInt8](repeating: 0xFF, count: 8192)) }?.field == "\(at).xsave")
        #expect(try refusal { $0.xsave = RawBytes([UInt8](repeating: 0xFF, count: 4096)) }?.field == "\(at).xsave")
        #expect(try refusal { $0.extendedControl = short }?.field == "\(at).extendedControl")
        #expect(try refusal { $0.debug = short }?.field == "\(at).debug")
        #expect(try refusal { $0.localAPIC = short }?.field == "\(at).localAPIC")
        #expect(try refusal { $0.events = short }?.field == "\(at).events")
        #expect(try refusal { $0.multiprocessor = 99 }?.field == "\(at).multiprocessor")
        #expect(try refusal { $0.apicID = 7 }?.field == "\(at).apicID")
        #expect(try refusal { $0.cpuid = Array(repeating: CPUIDEntry(1), count: 300) }?.field == "\(at).cpuid")
        let msr = try refusal { $0.msrs.append(MSR(0x4242_4242, 1)) }
        #expect(msr?.field == "\(at).msrs" && msr?.words.contains("0x42424242") == true, "\(String(describing: msr))")
        #expect(try refusal { $0.msrs.append(MSR(0x4242_4242, 0)) } == nil)
        #expect(throws: SnapshotError.self) {
            try machine.handle.restore(SavedInterruptChips(chips: [short, short, short]), "irqchip")
        }
        #expect(throws: SnapshotError.self) { try machine.handle.restore(SavedInterruptChips(chips: []), "irqchip") }
    }

    /// A counter of another frequency than the host's, where the host scales it or says why it cannot.
    /// Leaves and MSRs are written as lists of numbers; those with a name for each number are read as before.
    @Test func namedNumbersStayReadable() throws {
        let system = try KVMSystem()
        let machine = try Machine(system)
        try machine.vcpu.setCPUID(cpuid)
        let state = try machine.save(listed, hostTSC: 0)
        #expect(state.cpuid.count > 10 && !state.msrs.isEmpty)
        let written = try JSONEncoder().encode(state)
        #expect(try JSONDecoder().decode(SavedVCPU.self, from: written) == state)
        var fields = try #require(try JSONSerialization.jsonObject(with: written) as? [String: Any])
        #expect((fields["cpuid"] as? [UInt64])?.count == 7 * state.cpuid.count)
        #expect((fields["msrs"] as? [UInt64])?.count == 2 * state.msrs.count)
        fields["cpuid"] = try JSONSerialization.jsonObject(with: JSONEncoder().encode(state.cpuid))
        fields["msrs"] = try JSONSerialization.jsonObject(with: JSONEncoder().encode(state.msrs))
        let named = try JSONSerialization.data(withJSONObject: fields)
        #expect(try JSONDecoder().decode(SavedVCPU.self, from: named) == state)
        for (key, numbers) in [("cpuid", [1, 2, 3] as [UInt64]), ("msrs", [1]), ("msrs", [1 << 32, 0])] {
            fields[key] = numbers
            let damaged = try JSONSerialization.data(withJSONObject: fields)
            #expect(throws: DecodingError.self, "\(key)") { try JSONDecoder().decode(SavedVCPU.self, from: damaged) }
        }
    }

    @Test func counterOfAnotherFrequency() throws {
        let scale = TSCScale(guest: 2_000_000, host: 3_000_000)
        #expect(scale.guestTicks(3_000_000) == 2_000_000)
        #expect(scale.guestTicks(nanoseconds: 1_000_000_000) == 2_000_000_000)
        #expect(TSCScale(guest: 0, host: 0).guestTicks(77) == 77)
        #expect(TSCScale(guest: .max, host: 1).guestTicks(.max) == .max)
        let system = try KVMSystem()
        let machine = try Machine(system)
        try machine.vcpu.setCPUID(cpuid)
        var state = try machine.save(listed, hostTSC: 0)
        let fresh = try Machine(system)
        state.tscKilohertz = state.tscKilohertz / 2
        do throws(SnapshotError) {
            try fresh.vcpu.restore(state, "vcpu0", fresh.sizes, hostTSC: HostTSC.now)
            #expect(system.value(of: .tscControl) != 0)
        } catch {
            #expect(system.value(of: .tscControl) == 0 && error.field == "devices.vcpu0.state.tscKilohertz")
        }
    }

    @Test func theClockGoesOnWithTheWorld() throws {
        let system = try KVMSystem()
        let machine = try Machine(system)
        let now = try machine.handle.clockReading()
        let before = ClockReading(nanoseconds: 5_000_000_000, realTime: now.realTime - 3_000_000_000)
        let skipped = try machine.handle.setClock(goneOnSince: before)
        #expect((3_000_000_000...4_000_000_000).contains(skipped))
        #expect((8_000_000_000...9_500_000_000).contains(try machine.handle.clock()))
        // The world's clock went back: the guest's does not.
        let future = ClockReading(nanoseconds: 50_000_000_000, realTime: now.realTime + 3_000_000_000)
        #expect(try machine.handle.setClock(goneOnSince: future) == 0)
        #expect((50_000_000_000...51_000_000_000).contains(try machine.handle.clock()))
        _ = try machine.handle.setClock(goneOnSince: ClockReading(nanoseconds: .max, realTime: 0))
    }
}
