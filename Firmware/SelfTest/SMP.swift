// The other CPUs: found in the MADT (ACPI 6.5, 5.2.12), started one after the other by INIT and SIPI (SDM volume 3,
// 9.4), each takes its own timer's interrupts and one from this CPU.

/// The MADT's entries.
struct Processors {
    private let table: ACPITable?
    init(_ table: ACPITable?) { self.table = table }

    /// Calls `body` with each entry's type and address.
    func forEach(_ body: (UInt8, UInt64) -> Void) {
        guard let table else { return }
        var offset: UInt64 = 44
        while offset + 2 <= table.length {
            let length = UInt64(table.read8(offset + 1))
            if length < 2 || offset + length > table.length { return }
            body(table.read8(offset), table.address + offset)
            offset += length
        }
    }

    /// Calls `body` with the APIC identifier of each CPU that may be started.
    func forEachCPU(_ body: (UInt32) -> Void) {
        forEach { type, entry in
            if type == 0, memoryRead32(entry + 4) & 1 != 0 {
                body(UInt32(memoryRead8(entry + 3)))
            } else if type == 9, memoryRead32(entry + 8) & 1 != 0 {
                body(memoryRead32(entry + 4))
            }
        }
    }

    var count: Int {
        var count = 0
        forEachCPU { _ in count += 1 }
        return count
    }

    /// The I/O APIC that serves `gsi`.
    func ioAPIC(for gsi: UInt32) -> IOAPIC? {
        var found: IOAPIC?
        forEach { type, entry in
            guard type == 1 else { return }
            let chip = IOAPIC(at: UInt64(memoryRead32(entry + 4)), base: memoryRead32(entry + 8))
            if gsi >= chip.base, gsi - chip.base < chip.count { found = chip }
        }
        return found
    }
}

enum SMP {
    /// Where the real-mode code is copied to: conventional memory that no loader's data uses once it has been read.
    private static let page: UInt64 = 0x8000
    /// Lines are printed for this many CPUs at most.
    private static let verbose = 8
    /// How long a started CPU may take, in milliseconds: more than all its own waits together.
    private static let patience: UInt64 = 12_000

    static func test(_ processors: Processors) {
        let count = processors.count
        let own = LocalAPIC.id
        say("cpus: \(count) in the MADT, \(LocalAPIC.isX2APIC ? "x2APIC" : "xAPIC"), this one is \(own)")
        report(own, Timer.test(), always: true)
        if count <= 1 { return }

        var source = Image.trampoline.address
        var target = page
        while source < Image.trampolineEnd.address {
            memoryWrite8(target, memoryRead8(source))
            source += 1
            target += 1
        }
        var online = 1
        processors.forEachCPU { id in
            if id != own, startAndTest(id, quiet: count > verbose) { online += 1 }
        }
        Result.check(online == count, "cpus: \(online) of \(count) took their interrupts")
    }

    private static func startAndTest(_ id: UInt32, quiet: Bool) -> Bool {
        let phase = Image.otherReport.address
        let done = Image.otherDone.address
        memoryWrite64(phase, 0)
        memoryWrite32(done, 0)
        memoryFence()
        LocalAPIC.send(to: id, 0x4500)
        Clock.pause(microseconds: 200)
        LocalAPIC.send(to: id, 0x4600 | UInt32(page >> 12))
        if !Clock.wait(milliseconds: 20, until: { memoryRead32(phase) != 0 }) {
            // The second one that the multiprocessor specification asks for.
            LocalAPIC.send(to: id, 0x4600 | UInt32(page >> 12))
        }
        guard Clock.wait(milliseconds: patience, until: { memoryRead32(phase) >= 2 }) else {
            return give(up: id, "start", memoryRead32(phase))
        }
        LocalAPIC.send(to: id, Vector.call)
        guard Clock.wait(milliseconds: patience, until: { memoryRead32(done) != 0 }) else {
            return give(up: id, "end", memoryRead32(phase))
        }
        let failed = memoryRead32(phase + 4)
        report(id, failed, always: !quiet)
        return failed == 0
    }

    /// Puts the CPU back to where it waits for its start: the next one gets its stack.
    private static func give(up id: UInt32, _ what: StaticString, _ phase: UInt32) -> Bool {
        LocalAPIC.send(to: id, 0x4500)
        return Result.check(false, "cpu \(id): \(what), phase \(phase)")
    }

    private static func report(_ id: UInt32, _ failed: UInt32, always: Bool) {
        guard always || failed != 0 else { return }
        tell("cpu \(id): ")
        if failed == 0 {
            tell("timer one-shot")
            if Timer.hasDeadline { tell(", TSC deadline") }
            tell(", HLT")
        } else {
            tell("missed:")
            if failed & Timer.oneShotFailed != 0 { tell(" one-shot timer") }
            if failed & Timer.deadlineFailed != 0 { tell(" TSC deadline timer") }
            if failed & Timer.haltFailed != 0 { tell(" timer in HLT") }
            if failed & 8 != 0 { tell(" interrupt from the first CPU") }
            if failed & 16 != 0 { tell(" own APIC identifier") }
        }
        Result.check(failed == 0, "")
    }
}

/// A started CPU's work. It prints nothing: the serial port belongs to the first one.
@_cdecl("guest_ap_main")
func guestAPMain() {
    let phase = Image.otherReport.address
    memoryWrite32(phase, 1)
    LocalAPIC.start()
    let calls = Interrupts.count(Vector.call)
    var failed = Timer.test()
    memoryWrite32(phase, 2)
    if !Interrupts.wait(Vector.call, after: calls) { failed |= 8 }
    memoryWrite32(phase + 4, failed)
}
