import Host
import KVM
import Memory
import Synchronization
import TestSupport
import Testing

/// The real `/dev/kvm`: a machine of a few instructions, its exits, notifications and interrupt routes.
struct KVMTests {
    /// Runs in real mode from address 0x1000 in a machine of its own until the guest stops it, at most ten seconds.
    private struct Guest {
        let memory: GuestMemory
        let machine: VMHandle
        let vcpu: VCPUHandle

        /// - Parameter ringEntries: those of a ring for the pages that it writes; 0 for none.
        init(_ code: [UInt8], ringEntries: Int = 0) throws {
            memory = try GuestMemory([MemoryRange(address: 0, size: 0x10000)])
            try memory.write(code, at: 0x1000)
            machine = try KVMSystem().createVM()
            if ringEntries > 0 { try machine.enableDirtyRings(entries: ringEntries) }
            try machine.setTSS(at: 0xFFFB_D000)
            try machine.setMemory(slot: 0, address: 0, size: 0x10000, hostAddress: memory.hostAddress(ofRegion: 0))
            vcpu = try machine.createVCPU(id: 0)
            var special = try vcpu.specialRegisters()
            (special.cs.base, special.cs.selector) = (0, 0)
            try vcpu.setSpecialRegisters(special)
            var registers = try vcpu.registers()
            (registers.rip, registers.rflags) = (0x1000, 2)
            try vcpu.setRegisters(registers)
        }

        /// The next exit; a guest that does not come back is kicked until it does.
        func run() throws -> VMExit {
            try KickSignal.install()
            let exit = try Outcome()
            let vcpu = vcpu
            let thread = try Thread("vcpu-test") {
                exit.value.withLock { $0 = try? vcpu.runOnce() }; exit.done.signal()
            }
            guard Deadline.seconds(10).wait(until: { exit.done.isPending }) else {
                vcpu.setImmediateExit(true)
                thread.kick()
                throw FakeDriverError(description: "the guest did not exit in time")
            }
            thread.join()
            return try #require(exit.value.withLock { $0 })
        }
    }

    private final class Outcome: Sendable {
        let value = Mutex<VMExit?>(nil)
        let done: EventFD
        init() throws { done = try EventFD() }
    }

    @Test func thisHostHasWhatGuestsNeed() throws {
        let system = try KVMSystem()
        for capability in KVMCapability.required {
            let value = system.value(of: capability)
            #expect(value > 0, "\(capability.name)")
        }
        let leaves = try system.supportedCPUID()
        #expect(leaves.contains { $0.function == 0 } && leaves.contains { $0.function == 0x4000_0000 })
        let registers = try system.stateMSRs()
        #expect(registers.contains(0x10))
    }

    @Test func missingDevice() {
        do throws(KVMError) {
            _ = try KVMSystem(path: "/dev/no-kvm")
            Issue.record("opened")
        } catch {
            #expect(error == .unavailable(path: "/dev/no-kvm", .noSuchFile))
            #expect(error.description.hasPrefix("/dev/no-kvm does not exist: this host has no KVM; "))
        }
        do throws(KVMError) {
            _ = try KVMSystem(path: "/dev/null")
            Issue.record("opened")
        } catch {
            #expect(error == .unavailable(path: "/dev/null", Errno(25)))
        }
    }

    @Test func aPortWriteIsAnExit() throws {
        // mov $0xF4, %dx; mov $0x2A, %al; out %al, (%dx); in (%dx), %al; out %al, (%dx)
        let guest = try Guest([0xBA, 0xF4, 0x00, 0xB0, 0x2A, 0xEE, 0xEC, 0xEE])
        guard case .port(let first) = try guest.run() else { throw FakeDriverError(description: "no port exit") }
        #expect(first.port == 0xF4 && first.size == 1 && first.isWrite && first.count == 1)
        guard case .port(let second) = try guest.run() else { throw FakeDriverError(description: "no port exit") }
        #expect(!second.isWrite && second.port == 0xF4)
        #expect(try guest.vcpu.registers().rax & 0xFF == 0x2A)
    }

    @Test func memoryThatIsNotRAMIsAnExit() throws {
        // mov $0xF000, %ax; mov %ax, %ds; movb $0x77, 0x8000 (address 0xF8000)
        let guest = try Guest([0xB8, 0x00, 0xF0, 0x8E, 0xD8, 0xC6, 0x06, 0x00, 0x80, 0x77])
        guard case .memory(let access) = try guest.run() else { throw FakeDriverError(description: "no memory exit") }
        #expect(access.address == 0xF8000 && access.size == 1 && access.isWrite && access.value & 0xFF == 0x77)
    }

    @Test func aNotificationReplacesTheExit() throws {
        // mov $0x500, %dx; mov $1, %ax; out %ax, (%dx); mov $0xF4, %dx; out %al, (%dx)
        let guest = try Guest([0xBA, 0x00, 0x05, 0xB8, 0x01, 0x00, 0xEF, 0xBA, 0xF4, 0x00, 0xEE])
        let event = try EventFD()
        try guest.machine.notify(event, on: .port(0x500), assign: true)
        guard case .port(let access) = try guest.run() else { throw FakeDriverError(description: "no port exit") }
        #expect(access.port == 0xF4)
        #expect(event.isPending)
        try guest.machine.notify(event, on: .port(0x500), assign: false)
        #expect(throws: KVMError.self) { try guest.machine.notify(event, on: .port(0x500), assign: false) }
    }

    /// Writes that KVM keeps come in the order in which the guest made them, whether they found room in the ring or not.
    @Test func deferredWritesComeInTheirOrder() throws {
        // mov $400, %ecx; mov $0xCF8, %dx; xor %eax, %eax
        // next: out %eax, (%dx); inc %eax; dec %ecx; jnz next
        // inc %dx; out %al, (%dx); out %al, $0x80
        let guest = try Guest([
            0x66, 0xB9, 0x90, 0x01, 0x00, 0x00, 0xBA, 0xF8, 0x0C, 0x66, 0x31, 0xC0,
            0x66, 0xEF, 0x66, 0x40, 0x66, 0x49, 0x75, 0xF8, 0x42, 0xEE, 0xE6, 0x80,
        ])
        let writes = DeferredPortWrites.begin(guest.machine, guest.vcpu, at: 0xCF8, size: 4)
        let system = try KVMSystem()
        #expect((writes != nil) == (system.value(of: .deferredPortWrites) > 0))
        var seen: [[Int]] = []
        var exits = 0
        while true {
            guard case .port(let access) = try guest.run() else { throw FakeDriverError(description: "no port exit") }
            writes?.take { seen.append([Int($0), $1, Int($2)]) }
            if access.port == 0x80 { break }
            exits += 1
            seen.append([Int(access.port), Int(access.size), Int(guest.vcpu.portValue(access))])
        }
        #expect(seen == (0..<400).map { [0xCF8, 4, $0] } + [[0xCF9, 1, 400 & 0xFF]])
        // The ring has a page.
        #expect(exits == (writes == nil ? 401 : 2), "\(exits)")
        writes?.take { Issue.record("again: \($0), \($1), \($2)") }
    }

    /// A page stays in the log until it is cleared, and then only the next write brings it back; without manual protection a
    /// look clears it.
    @Test func theDirtyLogIsClearedApart() throws {
        // movb $1, 0x3000; out %al, $0x80; jmp to the begin
        let guest = try Guest([0xC6, 0x06, 0x00, 0x30, 0x01, 0xE6, 0x80, 0xEB, 0xF7])
        let machine = guest.machine
        func log(_ on: Bool) throws {
            try machine.setMemory(
                slot: 0, address: 0, size: 0x10000, hostAddress: guest.memory.hostAddress(ofRegion: 0), logDirty: on)
        }
        func look() throws -> [UInt64] { try machine.dirtyLog(slot: 0, pages: 16) }
        func clear(_ words: [UInt64], _ pages: Range<Int> = 0..<16) throws(KVMError) {
            try machine.clearDirtyLog(slot: 0, words, pages: pages)
        }
        // A page that KVM has not mapped yet may count as written when it is read, like that of the code.
        _ = try guest.run()
        try log(true)
        _ = try guest.run()
        #expect(try look() == [1 << 3])
        #expect(try look() == [0])
        try log(false)
        guard machine.dirtyLogFeatures.contains(.manualProtection) else { return }

        try machine.setDirtyLogs(.manualProtection)
        try log(true)
        #expect(try look() == [0])
        _ = try guest.run()
        #expect(try look() == [1 << 3] && look() == [1 << 3])
        try clear([1 << 4])
        #expect(try look() == [1 << 3])
        try clear([1 << 3])
        #expect(try look() == [0])
        _ = try guest.run()
        #expect(try look() == [1 << 3])
        // What lies beyond the words or the slot, or at no multiple of 64 pages.
        #expect(throws: KVMError.request("clear the dirty log of memory slot 0 at page 0", .invalid)) {
            try clear([0], 0..<65)
        }
        #expect(throws: KVMError.request("clear the dirty log of memory slot 0 at page 1", .invalid)) {
            try clear([0], 1..<16)
        }
        #expect(throws: KVMError.request("clear the dirty log of memory slot 0", .invalid)) {
            try clear([0, 0], 0..<128)
        }
        try log(false)
        guard machine.dirtyLogFeatures.contains(.initiallySet) else { return }

        try machine.setDirtyLogs([.manualProtection, .initiallySet])
        try log(true)
        #expect(try look() == [0xFFFF])
        try clear([.max])
        #expect(try look() == [0])
        _ = try guest.run()
        #expect(try look() == [1 << 3])
    }

    /// A page that was written is in the vCPU's ring once, and again only when it was taken out and the rings were reset; but
    /// KVM notes each write that it emulates.
    @Test func aDirtyRingHasThePagesInTheirOrder() throws {
        let system = try KVMSystem()
        guard system.value(of: .dirtyRing) > 0 else {
            #expect(try system.createVM().dirtyRingLimit == 0)
            return
        }
        // movb $1, 0x5000; movb $1, 0x3000; out %al, $0x80; jmp to the begin
        let guest = try Guest(
            [0xC6, 0x06, 0x00, 0x50, 0x01, 0xC6, 0x06, 0x00, 0x30, 0x01, 0xE6, 0x80, 0xEB, 0xF2], ringEntries: 1024)
        let machine = guest.machine
        let ring = try #require(guest.vcpu.dirtyRing)
        func log(_ on: Bool) throws {
            try machine.setMemory(
                slot: 0, address: 0, size: 0x10000, hostAddress: guest.memory.hostAddress(ofRegion: 0), logDirty: on)
        }
        func harvest() -> [UInt64] {
            var pages: [UInt64] = []
            let count = ring.harvest { slot, page in
                #expect(slot == 0)
                pages.append(page)
            }
            #expect(count == pages.count)
            return HostProcessor.runsGuests ? pages : Array(pages.prefix(2))
        }
        _ = try guest.run()
        #expect(harvest() == [])
        try log(true)
        for _ in 0..<3 {
            _ = try guest.run()
            _ = try guest.run()
            #expect(harvest() == [5, 3])
            if HostProcessor.runsGuests {
                _ = try guest.run()
                #expect(harvest() == [])
            }
            try machine.resetDirtyRings()
        }
        _ = try guest.run()
        try log(false)
        // What is in it stays there.
        #expect(harvest() == [5, 3])
        try machine.resetDirtyRings()
        _ = try guest.run()
        #expect(harvest() == [])
        // It comes before the first vCPU, and once.
        #expect(throws: KVMError.self) { try machine.enableDirtyRings(entries: 1024) }
    }

    @Test func anImmediateExitInterrupts() throws {
        let guest = try Guest([0xEB, 0xFE])  // jmp to itself
        guest.vcpu.setImmediateExit(true)
        #expect(try guest.run() == .interrupted)
    }

    @Test func interruptRoutes() throws {
        let machine = try KVMSystem().createVM()
        try machine.createInterruptChip()
        let router = InterruptRouter(machine)
        let message = MSIMessage(addressLow: 0xFEE0_0000, addressHigh: 0, data: 0x41)
        let (first, second) = (try router.allocate(), try router.allocate())
        #expect(first >= InterruptRouter.chipInputs && second != first)
        try router.route(first, to: message)
        let event = try EventFD()
        try machine.raise(first, on: event, assign: true)
        try machine.raise(first, on: event, assign: false)
        try router.release(first)
        var given: Set<UInt32> = [second]
        for _ in 0..<(InterruptRouter.limit - InterruptRouter.chipInputs - 1) { given.insert(try router.allocate()) }
        #expect(given.count == Int(InterruptRouter.limit - InterruptRouter.chipInputs))
        #expect(throws: KVMError.exhausted("interrupt routes", limit: 4096)) { try router.allocate() }
        try router.release(second)
        #expect(try router.allocate() == second)
    }

    @Test func stateIsReadAsItWasSet() throws {
        let guest = try Guest([0xF4])
        var registers = try guest.vcpu.registers()
        registers.rbx = 0x1234_5678_9ABC_DEF0
        try guest.vcpu.setRegisters(registers)
        #expect(try guest.vcpu.registers().rbx == 0x1234_5678_9ABC_DEF0)
        try guest.vcpu.setMSRs([MSR(0xC000_0102, 0x1000)])
        #expect(try guest.vcpu.msrs([0xC000_0102]) == [MSR(0xC000_0102, 0x1000)])
        #expect(throws: KVMError.refusedMSR(index: 0x4242_4242)) {
            try guest.vcpu.setMSRs([MSR(0xC000_0102, 0), MSR(0x4242_4242, 1)])
        }
        #expect(throws: KVMError.self) { try guest.machine.createVCPU(id: 0) }
    }
}
