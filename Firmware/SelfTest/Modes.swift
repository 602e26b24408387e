// The modes beside the full test: what Main.swift's first comment lists.

/// What every mode may need.
struct Guest {
    let commandLine: CommandLine
    let acpi: ACPI

    /// A number from the command line.
    func number(_ key: StaticString, default value: UInt64) -> UInt64 { commandLine.value(key)?.number ?? value }

    /// Clock, interrupt table and local APIC of this CPU.
    func startInterrupts() {
        Clock.start(acpi)
        Interrupts.start()
        var wanted = true
        if let word = commandLine.value("apic"), word == "xapic" { wanted = false }
        LocalAPIC.choose(x2APIC: wanted)
        LocalAPIC.start()
    }
}

enum Modes {
    /// Runs the mode, or returns when it is the full test's.
    static func run(_ mode: Word, _ guest: Guest) {
        if mode == "full" { return }
        if mode == "hello" { hello() }
        if mode == "reset" { reset() }
        if mode == "i8042-reset" { resetByKeyboardController() }
        if mode == "triple-fault" { faultThrice() }
        if mode == "hang" { hang() }
        if mode == "spin" { spin() }
        if mode == "echo" { echo(guest) }
        if mode == "power-button" { powerButton(guest) }
        if mode == "probe" { Probe.run(guest) }
        if mode == "bar-move" { BARMove.run(guest) }
        if mode == "hostile" { Hostile.run(guest) }
        if mode == "disk-load" { DiskLoad.run(guest) }
        if mode == "disk-log" { DiskLog.run(guest) }
        Result.abort("unknown mode=\(bytes: mode.start, count: UInt64(mode.count))")
    }

    private static func hello() -> Never {
        say("hello from the self-test guest")
        Result.stop(0)
    }

    private static func reset() -> Never {
        guard Result.power.reset.exists else { Result.abort("reset: the FADT names no reset register") }
        say("reset: register at \(hex: Result.power.reset.address), value \(Result.power.resetValue)")
        Result.power.reset.write(Result.power.resetValue)
        outlived("reset")
    }

    private static func resetByKeyboardController() -> Never {
        say("i8042-reset")
        Power.resetByKeyboardController()
        outlived("i8042-reset")
    }

    private static func faultThrice() -> Never {
        say("triple-fault")
        tripleFault()
        outlived("triple-fault")
    }

    private static func hang() -> Never {
        say("hang")
        haltForever()
    }

    private static func spin() -> Never {
        say("spin")
        spinForever()
    }

    /// A reset may take effect on another thread of the monitor: the guest gives it a second.
    private static func outlived(_ what: StaticString) -> Never {
        Clock.pause(microseconds: 1_000_000)
        Result.abort("\(what): still running")
    }

    private static func echo(_ guest: Guest) -> Never {
        Clock.start(guest.acpi)
        say("echo: until q")
        let quit = Clock.wait(milliseconds: guest.number("seconds", default: 60) * 1000) {
            guard let byte = Serial.read() else { return false }
            Serial.write(byte)
            return byte == 0x71
        }
        say("")
        Result.check(quit, "echo")
        Result.finish()
    }

    private static func powerButton(_ guest: Guest) -> Never {
        guest.startInterrupts()
        let gsi = UInt32(truncatingIfNeeded: guest.number("ged_gsi", default: 5))
        let port = UInt16(truncatingIfNeeded: guest.number("ged_port", default: 0x604))
        guard let chip = Processors(guest.acpi.madt).ioAPIC(for: gsi) else {
            Result.abort("power-button: no I/O APIC serves GSI \(gsi)")
        }
        let before = Interrupts.count(Vector.event)
        chip.route(gsi, to: Vector.event)
        say("power-button: waiting for GSI \(gsi)")
        let seconds = guest.number("seconds", default: 60)
        guard Interrupts.wait(Vector.event, after: before, milliseconds: seconds * 1000) else {
            Result.abort("power-button: no interrupt in \(seconds) seconds")
        }
        // Bit 0 is the button's; reading the register clears it.
        let events = portRead32(port)
        Result.check(events & 1 == 1, "power button, events \(hex: events)")
        let again = portRead32(port)
        Result.check(again & 1 == 0, "power button: event cleared by reading")
        Result.stop(UInt8(min(Result.failures, 255)))
    }
}
