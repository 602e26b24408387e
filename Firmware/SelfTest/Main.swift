// The self-test guest: what a machine without a payload boots, and the payload of the bare-metal tests.
//
// It is entered through PVH with the address of hvm_start_info. Its first instruction writes a byte to port 0x80.
// It reports over COM1 and ends with a result code at port 0xF4 (0, or the number of failed checks up to 255), then
// by the sleep register that the FADT names. Every wait has an end: one that passes it is a failed check.
//
// The command line is made of blank-separated words, `key=value`:
//
//   mode=full           the default: memory map, ACPI tables, CPUID, clock, timers and interrupts on every CPU, PCI
//                       functions and BARs, each virtio device driven, exit costs; the last line is
//                       `selftest: PASS` or `selftest: FAIL (n checks failed)`
//   mode=hello          one line, then power off
//   mode=exit           the result code 0 as the first thing, before any other device is touched, then power off
//   mode=reset          the FADT's reset register
//   mode=i8042-reset    the keyboard controller's reset pulse
//   mode=triple-fault   an exception without an interrupt table
//   mode=hang           one line, then HLT with interrupts off
//   mode=spin           one line, then a loop that never exits
//   mode=echo           echoes what COM1 receives until a `q`, then power off
//   mode=power-button   waits for the power button's interrupt, then power off
//   mode=probe          executes what a stock Linux kernel needs from its host: `probe: NAME ` before each
//                       instruction, `ok` or `exception N` after it, `probe: done` at the end; `probe: burst N
//                       instructions/s ok` tells how fast kernel-mode code runs
//   mode=bar-move       moves a virtio device's BAR and drives the device there, then moves it back
//   mode=hostile        gives every virtio device malformed rings and registers: each has to answer or ask for a reset,
//                       and is driven as in the full test afterwards
//   mode=disk-load      reads from the first disk without a break, and tells every 100 ms of its own clock how often
//   mode=disk-log       keeps a log on the first disk, whose first sector has to begin with SWIFTLET-SELFTEST, without
//                       a break, and reads each entry again before it is written over
//
//   net_host=A.B.C.D    the neighbour that the network test asks for, with net_guest=
//   net_guest=A.B.C.E   the guest's own address
//   pci=none            the machine has no PCI bus: that none is found is no failure
//   apic=xapic          leaves the local APICs in xAPIC mode where x2APIC is offered
//   seconds=N           how long echo and power-button wait, and disk-load and disk-log go on (60)
//   ged_gsi=N           the interrupt of the generic event device (5)
//   ged_port=N          its event register (0x604)
//   bar_to=ADDRESS      where bar-move moves the BAR to (behind the last one)
//
// A disk is written only when its first sector begins with SWIFTLET-SELFTEST: then its last sector is.
//
// KVM emulates kernel-mode code instruction by instruction on some hosts, at 1.7 million a second, and knows few
// of the newer ones: the guest keeps to plain integer instructions outside mode=probe and is sparing with them.

@_cdecl("guest_main")
func guestMain(_ address: UInt64) {
    let info = StartInfo(at: address)
    guard info.isSound else {
        Serial.start()
        Result.abort("start_info at \(hex: address) has no magic")
    }
    let commandLine = CommandLine(at: info.commandLine)
    let mode = commandLine.value("mode")
    if let mode, mode == "exit" {
        // Before the tables are looked for: whoever measures start-up waits for this write.
        portWrite8(0xF4, 0)
        Power(ACPI(rsdp: info.rsdp)).off()
        haltForever()
    }
    Serial.start()
    let guest = Guest(commandLine: commandLine, acpi: ACPI(rsdp: info.rsdp))
    Result.power = Power(guest.acpi)
    if let mode { Modes.run(mode, guest) }
    testEverything(info, guest)
}

private func testEverything(_ info: StartInfo, _ guest: Guest) -> Never {
    info.report()
    guest.acpi.report()
    CPU.report()
    guest.startInterrupts()
    // What the command line says is read before the other CPUs start: their first page may be where it stands.
    let addresses = NetAddresses(guest.commandLine)
    var expectsPCI = true
    if let word = guest.commandLine.value("pci"), word == "none" { expectsPCI = false }
    SMP.test(Processors(guest.acpi.madt))
    let bus = PCIBus(guest.acpi.mcfg)
    bus.report(expected: expectsPCI)
    DeviceTests.run(bus, addresses)
    ExitCosts.measure(guest.acpi)
    Result.finish()
}
