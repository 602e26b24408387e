import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    /// Devices that come to a running guest and leave it, by commands to its API.
    @Suite struct HotPlug {
        /// What is on the guest's side of the network card.
        private static let mac = "52:54:00:5a:1e:1f"

        @Test func aDiskAndANetworkCardComeAndGoTenTimesWhileAnotherDiskIsWritten() throws {
            try withGuest("hotplug") { scratch in
                let rounds = 10
                let (written, plugged) = (
                    try scratch.sparse("written", bytes: 256 << 20), try scratch.sparse("plugged", bytes: 8 << 20)
                )
                var spec = try VMConfiguration(
                    tests: "hotplug", words: "swiftlet.rounds=\(rounds)", "swiftlet.ip=192.168.250.2/24",
                    "swiftlet.peer=192.168.250.1")
                spec.cpus = .init(bootVcpus: 2, maxVcpus: 2)
                spec.disks = [.init(path: written)]
                let socket = scratch.path("api")
                // Forty devices come or go, each with its driver's start or end.
                let guest = try LinuxGuest(spec, in: scratch, options: ["--api-socket", socket], patience: 4)
                let api = try GuestAPI(socket, by: guest.deadline)
                try guest.expect("SWIFTLET: hotplug-ready")
                for round in 1...rounds {
                    try plug(round, plugged, api)
                    let came = try guest.expect("SWIFTLET: came \(round) ") + guest.expect("\n")
                    #expect(came.contains("came \(round) \(8 << 11) serial\(round) \(Self.mac)"), "\(came)")
                    for id in ["disk", "card"] {
                        #expect(try api.put("vm.remove-device", "{\"id\":\"\(id)\"}").status == 204)
                    }
                    try guest.expect("SWIFTLET: gone \(round)")
                    try expectGone(["disk", "card"], api, guest.deadline)
                    #expect(!FileManager.default.fileExists(atPath: "/sys/class/net/swh\(getpid())"))
                    let mark = try scratch.read("plugged").prefix(10)
                    #expect(String(decoding: mark, as: UTF8.self).hasPrefix("round \(round)"))
                }
                try resize(plugged, scratch, api, guest)
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                let count = try #require(report["written"].flatMap { Int($0) })
                #expect(count > rounds, "too little was written beside: \(count) blocks")
                try expectBlocks(count, try scratch.read("written"))
            }
        }

        /// What is asked of a guest before it can hear is not lost, and holds over its reboot.
        @Test func devicesComeAndLeaveBeforeTheGuestHasItsDrivers() throws {
            try withGuest("early") { scratch in
                var spec = try VMConfiguration(tests: "early")
                spec.disks = [
                    .init(path: try scratch.sparse("count", bytes: 1 << 20), serial: "first"),
                    .init(path: try scratch.sparse("leaver", bytes: 1 << 20), serial: "leaver"),
                ]
                let comer = try scratch.sparse("comer", bytes: 1 << 20)
                let socket = scratch.path("api")
                let guest = try LinuxGuest(spec, in: scratch, options: ["--api-socket", socket])
                let api = try GuestAPI(socket, by: guest.deadline)
                #expect(try api.put("vm.remove-device", "{\"id\":\"_disk1\"}").status == 204)
                let added = try api.put(
                    "vm.add-disk", "{\"id\":\"comer\",\"path\":\"\(comer)\",\"serial\":\"comer\"}")
                #expect(added.status == 200 && added.body.contains("\"bdf\":\"0000:00:04.0\""), "\(added)")
                let pending = try api.get("vm.info").body
                #expect(pending.contains("\"pending_removal\":true"), "\(pending)")
                let report = try guest.finish()
                try #require(report.isClean, "\(report)")
                #expect(report.all("serials") == ["first comer", "first comer"], "\(report)")
            }
        }

        private func plug(_ round: Int, _ path: String, _ api: GuestAPI) throws {
            let disk = try api.put(
                "vm.add-disk",
                "{\"id\":\"disk\",\"path\":\"\(path)\",\"image_type\":\"Raw\",\"serial\":\"serial\(round)\"}")
            // Slot 1 has the first disk and slot 2 the entropy device.
            #expect(disk.status == 200 && disk.body.contains("\"bdf\":\"0000:00:03.0\""), "\(disk)")
            let card = try api.put(
                "vm.add-net",
                "{\"id\":\"card\",\"tap\":\"swh\(getpid())\",\"ip\":\"192.168.250.1\",\"mask\":\"255.255.255.0\","
                    + "\"mac\":\"\(Self.mac)\"}")
            #expect(card.status == 200 && card.body.contains("\"bdf\":\"0000:00:04.0\""), "\(card)")
        }

        /// The host learns of a removal when the guest has let go.
        private func expectGone(_ ids: [String], _ api: GuestAPI, _ deadline: Deadline) throws {
            var info = ""
            _ = try deadline.wait(every: .milliseconds(20)) {
                info = try api.get("vm.info").body
                return !ids.contains { info.contains("\"id\":\"\($0)\"") }
            }
            #expect(!ids.contains { info.contains("\"id\":\"\($0)\"") }, "\(info)")
        }

        private func resize(
            _ path: String, _ scratch: ScratchDirectory, _ api: GuestAPI, _ guest: LinuxGuest
        ) throws {
            let added = try api.put(
                "vm.add-disk", "{\"id\":\"disk\",\"path\":\"\(path)\",\"image_type\":\"Raw\"}")
            #expect(added.status == 200, "\(added)")
            try guest.expect("SWIFTLET: before \(8 << 11)")
            let odd = try api.put("vm.resize-disk", "{\"id\":\"disk\",\"desired_size\":\((8 << 20) + 1)}")
            #expect(odd.status == 400 && odd.body.contains("512"), "\(odd)")
            #expect(try api.put("vm.resize-disk", "{\"id\":\"disk\",\"desired_size\":\(20 << 20)}").status == 204)
            try guest.expect("SWIFTLET: grown \(20 << 11)")
            try guest.expect("SWIFTLET: written-to-the-end")
            let bytes = try scratch.read("plugged")
            #expect(bytes.count == 20 << 20 && bytes.suffix(512).starts(with: Array("end".utf8)))
            #expect(try api.put("vm.resize-disk", "{\"id\":\"disk\",\"desired_size\":\(4 << 20)}").status == 204)
            try guest.expect("SWIFTLET: shrunk \(4 << 11)")
            #expect(try scratch.read("plugged").count == 4 << 20)
        }

        /// The blocks of 4 KiB, each with its number as text.
        private func expectBlocks(_ count: Int, _ bytes: [UInt8]) throws {
            try #require(bytes.count >= 4096 * count)
            let wrong = (0..<count).filter { number in
                let text = Array("\(number)".utf8)
                let block = bytes[(4096 * number)..<(4096 * number + 4096)]
                return !block.starts(with: text) || block.dropFirst(text.count).contains { $0 != UInt8(ascii: " ") }
            }
            #expect(wrong.isEmpty, "\(wrong.count) of \(count) blocks are wrong: \(wrong.prefix(10))")
        }
    }
}
