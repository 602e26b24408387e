import Foundation
import Testing

@testable import SelfTestImage

/// What the executable takes for the guest is what the guest takes.
@Suite struct SelfTestCommandLineTests {
    private static func source(_ name: String) throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try String(contentsOf: root.appending(path: "Firmware/SelfTest/\(name)"), encoding: .utf8)
    }

    @Test func modesAreTheGuests() throws {
        let sources = try Self.source("Modes.swift") + Self.source("Main.swift")
        let compared = Set(sources.matches(of: /mode == "([a-z0-9-]+)"/).map { String($0.1) })
        #expect(compared == Set(SelfTestCommandLine.modes))
        let described = Set(
            try Self.source("Main.swift").matches(of: #/\n//   mode=([a-z0-9-]+) /#).map { String($0.1) })
        #expect(described == Set(SelfTestCommandLine.modes))
    }

    @Test func keysAreTheGuests() throws {
        let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Firmware/SelfTest")
        var keys: Set<String> = []
        for file in try FileManager.default.contentsOfDirectory(atPath: directory.path) where file.hasSuffix(".swift") {
            let text = try Self.source(file)
            keys.formUnion(text.matches(of: /(?:value|number)\("([a-z_]+)"/).map { String($0.1) })
        }
        #expect(keys == Set(SelfTestCommandLine.keys))
    }

    @Test(arguments: [
        "", "mode=hello", " mode=echo  seconds=5 ", "mode=bar-move bar_to=0xC0000000", "apic=xapic pci=none",
        "net_host=192.168.0.1 net_guest=192.168.0.2", "ged_gsi=5 ged_port=0x604",
    ]) func takes(_ text: String) { #expect(SelfTestCommandLine.mistake(text) == nil) }

    @Test(arguments: [
        ("foo", "'foo' is no key=value; modes: mode=full|hello|"),
        ("mode=nonsense", "mode: got 'nonsense', expected one of"),
        ("mode=", "mode: got '', expected one of full, hello"), ("mod=hello", "'mod' is unknown; keys: mode, net_host"),
        ("mode=hello foo", "'foo' is no key=value"), ("seconds=-1", "seconds: got '-1', expected a number"),
        ("seconds=0x", "seconds: got '0x'"), ("seconds=12345678901234567", "expected a number"),
        ("net_host=1.2.3", "net_host: got '1.2.3', expected an IPv4 address"),
        ("net_host=1.2.3.256", "expected an IPv4"),
        ("net_host=1.2.3.+4", "expected an IPv4"), ("apic=x2apic", "apic: got 'x2apic', expected xapic"),
        ("=", "'' is unknown"),
    ]) func refuses(_ text: String, _ words: String) throws {
        let mistake = try #require(SelfTestCommandLine.mistake(text))
        #expect(mistake.contains(words), "\(mistake)")
    }
}
