import Foundation
import Host
import TestSupport
import Testing

/// Advice about rights, and what interfaces are.
struct AccessTests {
    @Test func adviceFitsOwnerGroupAndMode() throws {
        let path = "/dev/kvm"
        func remedy(_ group: UInt32, _ mode: UInt32) -> String {
            FileOwnership(owner: 0, group: group, mode: mode).remedy(path, usualGroup: "kvm")
        }
        // Group 1 is `daemon` on every Debian.
        #expect(remedy(1, 0o660).hasPrefix("add the user to the group daemon (usermod -aG daemon $USER,"))
        // The group root is nobody's to join, and a group without rights gains nothing.
        for (group, mode) in [(0, 0o600), (0, 0o660), (1, 0o600), (1, 0o640)] as [(UInt32, UInt32)] {
            let text = remedy(group, mode)
            #expect(text.contains("chgrp kvm /dev/kvm && chmod 660 /dev/kvm"), "\(group) \(mode): \(text)")
        }
        #expect(remedy(0, 0o666).contains("a container or a security module"))
        #expect(
            FileOwnership(owner: 0, group: 0, mode: 0o600).remedy("/dev/net/tun", usualGroup: nil)
                == "run as root, or as root: chmod 666 /dev/net/tun")
    }

    @Test func ownershipIsThatOfTheFile() throws {
        let scratch = try ScratchDirectory("owner")
        let path = try scratch.write("file", "x")
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
        let found = try #require(FileOwnership(path: path))
        #expect(found == FileOwnership(owner: geteuid(), group: found.group, mode: 0o640))
        #expect(found.words.hasSuffix(", mode 0640"))
        #expect(FileOwnership(owner: 0, group: 0, mode: 0o600).words == "root:root, mode 0600")
        #expect(
            FileOwnership(owner: 4_000_000_000, group: 4_000_000_000, mode: 0).words
                == "4000000000:4000000000, mode 0000")
        #expect(FileOwnership(path: scratch.path("none")) == nil)
    }

    @Test func interfacesThatAreNoTaps() throws {
        #expect(TapNature(interface: "lo") == .other(isTun: false))
        #expect(TapNature(interface: "swlnone0") == nil)
        #expect(TapNature(interface: "") == nil && TapNature(interface: "../lo") == nil)
        let tap = try TapQueue(name: "", multiQueue: false)
        #expect(TapNature(interface: tap.interface) == .tap(multiQueue: false))
        let several = try TapQueue(name: "", multiQueue: true)
        #expect(TapNature(interface: several.interface) == .tap(multiQueue: true))
    }

    @Test func tellsTheHostsMemory() throws {
        let text = try String(contentsOfFile: "/proc/meminfo", encoding: .utf8)
        func kibibytes(_ name: String) throws -> UInt64 {
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("\(name):") })
            return try #require(UInt64(line.filter(\.isNumber)))
        }
        let memory = HostProbe.memory
        #expect(memory.ram == (try kibibytes("MemTotal")) << 10)
        #expect(memory.swap == (try kibibytes("SwapTotal")) << 10)
    }
}
