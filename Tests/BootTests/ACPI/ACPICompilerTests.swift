import Foundation
import Testing

@testable import Boot

/// Intel's ACPICA, which Linux contains, as the programs of Debian's acpica-tools.
enum ACPICA {
    /// Runs a program in a directory; what it printed and its exit status.
    static func run(
        _ tool: String, _ arguments: [String], in directory: URL
    ) throws -> (output: String, status: Int32) {
        let places = ["/usr/bin/", "/usr/local/bin/", "/usr/sbin/"].map { $0 + tool }
        let path = try #require(
            places.first { FileManager.default.isExecutableFile(atPath: $0) },
            "this test needs \(tool): install Debian's acpica-tools (apt-get install acpica-tools)")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["60", path] + arguments
        process.currentDirectoryURL = directory
        let pipe = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (String(decoding: output, as: UTF8.self), process.terminationStatus)
    }

    /// Hands a new directory to `body` and removes it.
    static func inScratch(_ body: (URL) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("acpi-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try body(directory)
    }

    static func write(_ bytes: [UInt8], _ name: String, in directory: URL) throws {
        try Data(bytes).write(to: directory.appendingPathComponent(name))
    }

    /// Runs debugger commands on a DSDT; what they printed.
    ///
    /// - Parameter registers: what every byte of a register reads as.
    static func interpret(_ commands: [String], registers: UInt8 = 0, dsdt: [UInt8]) throws -> String {
        var printed = ""
        try inScratch { directory in
            try write(dsdt, "dsdt.aml", in: directory)
            let (output, status) = try run(
                "acpiexec",
                ["-r", "-fv", "0x\(String(registers, radix: 16))", "-b"]
                    + [commands.joined(separator: ";"), "dsdt.aml"], in: directory)
            #expect(status == 0, "\(output)")
            for trouble in ["ACPI Error", "ACPI Warning", "AE_", "Firmware Error", "Insufficient"] {
                #expect(!output.contains(trouble), "\(output)")
            }
            printed = output
        }
        return printed
    }

    /// Disassembles a DSDT to ASL, which is then in the directory too.
    static func disassembled(_ dsdt: [UInt8], in directory: URL) throws -> String {
        try write(dsdt, "dsdt.aml", in: directory)
        let (output, status) = try run("iasl", ["-d", "dsdt.aml"], in: directory)
        #expect(status == 0, "\(output)")
        return try String(contentsOf: directory.appendingPathComponent("dsdt.dsl"), encoding: .utf8)
    }

    /// A DSDT whose method counts the bytes that are set in a buffer, under a lock, and returns 0x11 for each of the
    /// three: the terms that a scan of hot-plug slots is made of.
    static func lockedScan() throws -> [UInt8] {
        let (slot, count, lock) = (AMLTerm.local(0), AMLTerm.local(1), AMLTerm.path("HPLK"))
        let element = AMLTerm.dereference(.index(.path("SLOT"), slot))
        let scan = AMLTerm.method(
            "SCAN", serialized: true,
            [
                .if(.acquire(lock, milliseconds: 1000), then: [.return(.integer(.max))]),
                .store(.zero, in: slot), .store(.zero, in: count),
                .while(
                    .logical(.less, slot, .sizeOf(.path("SLOT"))),
                    [.if(.not(.equal(element, .zero)), then: [.increment(count)]), .increment(slot)]),
                .release(lock), .return(.arithmetic(.multiply, count, .integer(0x11))),
            ])
        let slots = AMLTerm.name("SLOT", .buffer([1, 0, 7, 0, 0, 9]))
        let terms: [AMLTerm] = [.scope("\\_SB_", [.mutex("HPLK", level: 3), slots, scan])]
        return try ACPITable.bytes("DSDT", revision: 2, AMLTerm.encoded(terms))
    }
}

/// The tables as ACPICA's compiler reads them.
@Suite struct ACPICompilerTests {
    @Test(arguments: [ACPIMachine.LegacyDevices.serial, [.serial, .clock, .keyboardController], []])
    func theDSDTCompilesBackToItself(devices: ACPIMachine.LegacyDevices) throws {
        try expectCompilesBack(DSDT.bytes(.sample(devices: devices)))
    }

    @Test func locksAndLoopsCompileBack() throws { try expectCompilesBack(ACPICA.lockedScan()) }

    private func expectCompilesBack(_ dsdt: [UInt8]) throws {
        try ACPICA.inScratch { directory in
            _ = try ACPICA.disassembled(dsdt, in: directory)
            let (output, status) = try ACPICA.run("iasl", ["-oa", "-p", "again", "dsdt.dsl"], in: directory)
            #expect(status == 0, "\(output)")
            #expect(output.contains(" 0 Errors, 0 Warnings"), "\(output)")
            let again = [UInt8](try Data(contentsOf: directory.appendingPathComponent("again.aml")))
            #expect(again.dropFirst(36) == dsdt.dropFirst(36))
        }
    }

    @Test func theDSDTHasItsDevices() throws {
        let dsdt = try DSDT.bytes(.sample())
        #expect(dsdt.count < 3072)
        try ACPICA.inScratch { directory in
            let text = try ACPICA.disassembled(dsdt, in: directory)
            for expected in [
                "EisaId (\"PNP0A08\")", "EisaId (\"PNP0A03\")", "EisaId (\"PNP0C02\")", "EisaId (\"PNP0C0C\")",
                "\"VM_Gen_Counter\"", "Notify (\\_SB.VGEN, 0x80)",
                "EisaId (\"PNP0501\")", "EisaId (\"PNP0B00\")", "\"ACPI0013\"",
                "ToUUID (\"33db4d5b-1ff7-401c-9657-7441c03dd766\")",
                "OperationRegion (EVTR, SystemIO, 0x0604, 0x04)", "Notify (\\_SB.PWRB, 0x80)",
                "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )",
                "Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive, ,, )",
                "OperationRegion (HPRG, SystemIO, 0x0608, 0x0C)",
            ] {
                #expect(text.contains(expected), "no \(expected) in:\n\(text)")
            }
            let plain = try DSDT.bytes(.sample(devices: []))
            let bare = try ACPICA.disassembled(plain, in: directory)
            #expect(!bare.contains("PNP0501") && !bare.contains("PNP0B00"))
        }
    }

    @Test func everyTableDisassembles() throws {
        let image = try ACPITables.build(.sample(all: 300, boot: 20))
        try ACPICA.inScratch { directory in
            for signature in ["FACP", "APIC", "MCFG", "XSDT"] {
                try ACPICA.write(try image.table(signature), "\(signature).bin", in: directory)
                let (output, status) = try ACPICA.run("iasl", ["-d", "\(signature).bin"], in: directory)
                #expect(status == 0, "\(output)")
                let text = try String(
                    contentsOf: directory.appendingPathComponent("\(signature).dsl"), encoding: .utf8)
                let troubles = text.split(separator: "\n").filter { line in
                    ["Invalid", "Unknown", "Incorrect", "****"].contains { line.contains($0) }
                }
                #expect(troubles.isEmpty)
            }
        }
    }
}

/// The DSDT's methods as ACPICA's interpreter runs them.
@Suite struct ACPIMethodTests {
    /// Runs debugger commands on a machine's DSDT; what they printed.
    ///
    /// - Parameter registers: what every byte of a register reads as.
    private func interpret(
        _ commands: [String], registers: UInt8 = 0, _ machine: ACPIMachine = .sample()
    ) throws -> String {
        try ACPICA.interpret(commands, registers: registers, dsdt: DSDT.bytes(machine))
    }

    private func evaluate(_ method: String, _ arguments: String = "") throws -> String {
        let output = try interpret(["execute \(method) \(arguments)"])
        return try String(output[#require(output.range(of: "Evaluating \(method)")).lowerBound...])
    }

    @Test func locksAndLoopsRun() throws {
        // ACPICA reports a mutex's release by a thread that did not take it, so this also shows that it was taken.
        let printed = try ACPICA.interpret(["execute \\_SB.SCAN"], dsdt: ACPICA.lockedScan())
        #expect(printed.contains("[Integer] = 0000000000000033"), "\(printed)")
    }

    @Test func thePowerButtonIsNotified() throws {
        let notified = "Received a Device Notify on [PWRB]"
        let pressed = try interpret(["execute \\_SB.GED._EVT 5"], registers: 0xFF)
        #expect(pressed.contains(notified) && pressed.contains("Value 0x80"), "\(pressed)")
        #expect(pressed.components(separatedBy: notified).count == 2)
        let other = try interpret(["execute \\_SB.GED._EVT 5"], registers: 0xFE)
        #expect(other.contains("Evaluating \\_SB.GED._EVT") && !other.contains(notified), "\(other)")
    }

    @Test func bootConfigurationIsKept() throws {
        let uuid = "(D0 37 C9 E5 53 35 7A 4D 91 17 EA 4D 19 C3 43 4D)"
        #expect(try evaluate("\\_SB.PCI0._DSM", "\(uuid) 1 5 [0]").contains("[Integer] = 0000000000000000"))
        #expect(try evaluate("\\_SB.PCI0._DSM", "\(uuid) 1 0 [0]").contains("0000: 21 "))
        #expect(try evaluate("\\_SB.PCI0._DSM", "\(uuid) 1 7 [0]").contains("0000: 00 "))
        let other = "(D0 37 C9 E5 53 35 7A 4D 91 17 EA 4D 19 C3 43 4E)"
        #expect(try evaluate("\\_SB.PCI0._DSM", "\(other) 1 5 [0]").contains("0000: 00 "))
    }

    @Test func capabilitiesAreNegotiated() throws {
        func answer(uuid last: String = "66", revision: Int = 1, _ capabilities: String) throws -> String {
            try evaluate(
                "\\_SB.PCI0._OSC",
                "(5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 \(last)) \(revision) 3 (\(capabilities))")
        }
        // Hot-plug is asked for and refused, and the answer says so.
        #expect(
            try answer("01 00 00 00 1F 00 00 00 1F 01 00 00").contains("0000: 11 00 00 00 1F 00 00 00 1C 01 00 00"))
        // What remains is granted without an error.
        #expect(
            try answer("00 00 00 00 1F 00 00 00 1C 01 00 00").contains("0000: 00 00 00 00 1F 00 00 00 1C 01 00 00"))
        #expect(
            try answer(revision: 2, "00 00 00 00 1F 00 00 00 1C 00 00 00").contains("0000: 08 00 00 00"))
        #expect(
            try answer(uuid: "67", "00 00 00 00 1F 00 00 00 1F 01 00 00")
                .contains("0000: 04 00 00 00 1F 00 00 00 1F 01 00 00"))
    }

    @Test func resourcesAreWhatTheMachineHas() throws {
        var machine = ACPIMachine.sample()
        machine.pci.ports = [0x1000...0x7FFF, 0x9000...0xFFFF]
        let printed = try interpret(
            ["execute \\_S5", "execute \\_SB.PCI0._CRS", "execute \\_SB.MBRD._CRS", "execute \\_SB.GED._CRS"]
                + ["execute \\_SB.COM1._CRS", "execute \\_SB.RTC._CRS"], machine)
        let bytes = printed.split(separator: "\n").compactMap { line -> String? in
            guard let colon = line.range(of: ": "), let end = line.range(of: "//") else { return nil }
            return line[colon.upperBound..<end.lowerBound].trimmingCharacters(in: .whitespaces)
        }.joined(separator: " ")
        for expected in [
            // Buses, 0xCF8 to 0xCFF, two windows of ports, two of memory, as `AMLResourceTests` has them.
            "88 0D 00 02 0C 00 00 00 00 00 00 00 00 00 01 00 47 01 F8 0C F8 0C 01 08",
            "88 0D 00 01 0C 03 00 00 00 10 FF 7F 00 00 00 70 88 0D 00 01 0C 03 00 00 00 90 FF FF 00 00 00 70",
            "87 17 00 00 0C 01 00 00 00 00 00 00 00 C0 FF FF FF E7 00 00 00 00 00 00 00 28",
            "8A 2B 00 00 0C 03 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 FF FF FF FF 0F 00 00 00",
            "86 09 00 01 00 00 00 E8 00 00 10 00 79 00",
            "89 06 00 01 01 05 00 00 00 79 00",
            "47 01 F8 03 F8 03 01 08 89 06 00 03 01 04 00 00 00 79 00",
            "47 01 70 00 70 00 01 02 79 00",
        ] {
            #expect(bytes.contains(expected), "no \(expected) in:\n\(printed)")
        }
        #expect(printed.contains("[Integer] = 0000000000000005"), "\(printed)")
    }
}
