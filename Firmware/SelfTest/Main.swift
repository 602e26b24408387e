// The self-test guest.
//
// Entered through PVH with the address of hvm_start_info.

@_cdecl("guest_main")
func guestMain(_ address: UInt64) {
    Serial.start()
    let info = StartInfo(at: address)
    guard info.isSound else { Result.abort("start_info at \(hex: address) has no magic") }
    let commandLine = CommandLine(at: info.commandLine)
    let acpi = ACPI(rsdp: info.rsdp)
    Result.power = Power(acpi)
    let mode = commandLine.value("mode")
    if let mode {
        if mode == "exit" { Result.stop(0) }
        if mode == "hello" {
            say("hello from the self-test guest")
            Result.stop(0)
        }
    }
    info.report()
    acpi.report()
    CPU.report()
    Clock.start(acpi)
    Interrupts.start()
    LocalAPIC.choose(x2APIC: true)
    LocalAPIC.start()
    SMP.test(Processors(acpi.madt))
    let bus = PCIBus(acpi.mcfg)
    bus.report()
    DeviceTests.run(bus, NetAddresses(commandLine))
    Result.finish()
}
