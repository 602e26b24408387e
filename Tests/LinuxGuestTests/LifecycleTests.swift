import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    @Suite struct Lifecycle {
        /// The same process boots four times: three reboots, then the power-off.
        @Test func rebootsThreeTimesThenPowersOff() throws {
            try withGuest("reboot") { scratch in
                var spec = try VMConfiguration(tests: "reboot")
                spec.disks = [.init(path: try scratch.sparse("count", bytes: 1 << 20))]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                #expect(report.all("boot") == ["1", "2", "3", "4"])
                #expect(try scratch.read("count").prefix(8).elementsEqual("4       ".utf8))
            }
        }

        /// A panic with panic=-1 is a reboot, in the same process.
        @Test func bootsAgainAfterAPanic() throws {
            try withGuest("panic") { scratch in
                var spec = try VMConfiguration(tests: "panic")
                spec.cpus = .init(bootVcpus: 2, maxVcpus: 2)
                spec.disks = [.init(path: try scratch.sparse("count", bytes: 1 << 20))]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                #expect(report.all("boot") == ["1", "2"])
                #expect(report.output.contains("Kernel panic - not syncing: sysrq triggered crash"))
                #expect(report["after-panic"] != nil)
            }
        }

        /// SIGUSR1 presses the button; Linux reports KEY_POWER (type 1, code 116).
        @Test func hearsThePowerButton() throws {
            try withGuest("power") { scratch in
                let guest = try LinuxGuest(try VMConfiguration(tests: "power"), in: scratch)
                try guest.expect("SWIFTLET: power-ready")
                guest.process.signal(SIGUSR1)
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                #expect(report["power-event"]?.hasPrefix("1 116 1") == true, "\(report)")
            }
        }
    }
}
