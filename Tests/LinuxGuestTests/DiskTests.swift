import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    @Suite struct Disks {
        @Test func writesAnExt4FileSystemThatTheHostFindsWhole() throws {
            try withGuest("ext4") { scratch in
                let seed = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) }
                let disk = try makeFileSystem(["seed": seed, "old": [1, 2, 3]], in: scratch)
                var spec = try VMConfiguration(tests: "ext4")
                spec.disks = [.init(path: disk)]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                #expect(report["ext4-unmounted"] != nil)

                let check = try runProcess(Command("e2fsck", ["-fn", disk]))
                #expect(check.succeeded, "\(check)")
                #expect(try report["ext4-seed"] == hash(of: "/seed", on: disk))
                #expect(try report["ext4-numbers"] == hash(of: "/made/numbers", on: disk))
                #expect(try report["ext4-random"] == hash(of: "/made/random", on: disk))
                #expect(try report["ext4-random"] == hash(of: "/copy", on: disk))
                let names = try runProcess(Command("debugfs", ["-R", "ls -p /", disk])).text
                #expect(names.contains("/seed/") && names.contains("/link/") && !names.contains("/old/"), "\(names)")
            }
        }

        /// Five disks in the order of the spec, the first read-only; and the entropy device.
        @Test func seesItsDisksInTheOrderOfTheSpecAndTheReadOnlyOneRefusesWrites() throws {
            try withGuest("disks") { scratch in
                var spec = try VMConfiguration(tests: "readonly", "disks", "hwrng", "pci")
                spec.disks = []
                var expected: [String] = []
                for (index, letter) in ["a", "b", "c", "d", "e"].enumerated() {
                    let bytes = UInt64(index + 1) << 20
                    let path = try scratch.sparse("disk\(index)", bytes: bytes)
                    let text = "this is disk no\(index)"
                    try overwriteStart(of: path, with: text)
                    spec.disks?.append(.init(path: path, readonly: index == 0, serial: "serial-\(index)"))
                    expected.append("vd\(letter) \(bytes / 512) serial-\(index) \(text)")
                }
                let before = try scratch.read("disk0")
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                #expect(report["readonly-flag"] == "1")
                #expect(report["readonly-write"] == "refused")
                #expect(try scratch.read("disk0") == before)
                #expect(report.all("disk") == expected)
                #expect(report["hwrng-source"]?.hasPrefix("virtio_rng") == true)
                let random = try #require(report["hwrng-bytes"])
                #expect(random.count == 128 && Set(random).count > 8, "64 bytes in hexadecimal: \(random)")
                // Virtio 1.2, 4.1.2: modern devices are 1AF4:1040 and the device's type.
                let devices = report.all("pci")
                #expect(devices.filter { $0.contains("0x1af4 0x1042") }.count == 5, "\(devices)")
                #expect(devices.filter { $0.contains("0x1af4 0x1044") }.count == 1, "\(devices)")
            }
        }

        /// The second of two disks: the right one of them refuses.
        @Test func onlyTheReadOnlyDiskOfTwoRefusesWrites() throws {
            try withGuest("second-readonly") { scratch in
                var spec = try VMConfiguration(tests: "readonly", "writable", words: "swiftlet.readonly=vdb")
                let (first, second) = (
                    try scratch.sparse("first", bytes: 1 << 20), try scratch.sparse("second", bytes: 1 << 20)
                )
                try overwriteStart(of: first, with: "the first disk's")
                try overwriteStart(of: second, with: "the second disk.")
                spec.disks = [.init(path: first), .init(path: second, readonly: true)]
                let before = try scratch.read("second")
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                #expect(report["readonly-flag"] == "1" && report["readonly-write"] == "refused", "\(report)")
                #expect(report["readonly-text"] == "the second disk.")
                #expect(report["writable"] == "yes", "\(report)")
                #expect(try scratch.read("second") == before)
                #expect(try scratch.read("first").starts(with: Array("written by guest".utf8)))
            }
        }

        private func makeFileSystem(_ files: [String: [UInt8]], in scratch: ScratchDirectory) throws -> String {
            let tree = scratch.path("tree")
            try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: false)
            for (name, bytes) in files { try scratch.write("tree/\(name)", bytes) }
            let disk = try scratch.sparse("disk.raw", bytes: 64 << 20)
            let made = try runProcess(Command("mke2fs", ["-q", "-t", "ext4", "-d", tree, disk]))
            try #require(made.succeeded, "\(made)")
            return disk
        }

        /// The SHA-256 of a file in an unmounted file system, in hexadecimal.
        private func hash(of file: String, on disk: String) throws -> String {
            let copy = "\(disk).file"
            let read = try runProcess(Command("debugfs", ["-R", "dump \(file) \(copy)", disk]))
            try #require(read.succeeded, "\(read)")
            defer { try? FileManager.default.removeItem(atPath: copy) }
            return try sha256(of: copy)
        }
    }
}

/// The SHA-256 of a file, in hexadecimal.
func sha256(of path: String) throws -> String {
    let result = try runProcess(Command("sha256sum", [path]))
    try #require(result.succeeded, "\(result)")
    return String(result.text.prefix(64))
}

/// Writes a text over the start of a file and leaves the rest.
func overwriteStart(of path: String, with text: String) throws {
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    try file.write(contentsOf: Data(text.utf8))
    try file.close()
}
