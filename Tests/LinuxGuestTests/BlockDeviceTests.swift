import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    /// Block devices of the host as disks.
    @Suite struct BlockDevices {
        private let bytes: UInt64 = 4 << 20

        /// With 512-byte and with 4 KiB blocks, through the host's page cache and past it, a partition, and one that is
        /// only read: the guest sees size and blocks as they are, and what it writes, zeroes and discards arrives.
        @Test func areSeenWithTheirBlocksAndTakeWritesZeroesAndDiscards() throws {
            try withGuest("blockdevices") { scratch in
                func loop(_ name: String, _ options: String...) throws -> LoopDevice {
                    try LoopDevice(scratch.sparse(name, bytes: bytes), "-b", options.first ?? "512")
                }
                let small = try loop("small"), large = try loop("large", "4096")
                let smallDirect = try loop("small-direct"), largeDirect = try loop("large-direct", "4096")
                let disk = try LoopDevice(partitioned(in: scratch), "-P")
                let fixed = try LoopDevice(scratch.write("fixed", [UInt8](repeating: 7, count: Int(bytes))), "-r")
                let partition = "\(disk.path)p1"
                try awaitNode(partition)
                var spec = try VMConfiguration(tests: "blocks")
                spec.disks = [
                    .init(path: small.path), .init(path: large.path), .init(path: smallDirect.path, direct: true),
                    .init(path: largeDirect.path, direct: true), .init(path: partition),
                    .init(path: fixed.path, readonly: true),
                ]
                let report = try LinuxGuest.run(spec, in: scratch)
                try #require(report.isClean, "\(report)")
                // Name, bytes, whether read-only, logical and physical block size, the most that one discard takes.
                #expect(
                    report.all("block") == [
                        "vda 4194304 0 512 512 2147483648", "vdb 4194304 0 4096 4096 2147483648",
                        "vdc 4194304 0 512 512 2147483648", "vdd 4194304 0 4096 4096 2147483648",
                        "vde 4194304 0 512 512 2147483648", "vdf 4194304 1 512 512 0",
                    ])
                let written = report.all("wrote")
                #expect(written.count == 5 && report.all("reads") == written.map { "\($0) ZZZZ" }, "\(report)")
                let devices = [small, large, smallDirect, largeDirect].map(\.path) + [partition]
                for (device, wrote) in zip(devices, written) {
                    let sum = try runProcess(Command("sh", ["-c", "head -c 1572864 \(device) | md5sum"]))
                    #expect(sum.succeeded && wrote.hasSuffix(String(sum.text.prefix(32))), "\(device): \(sum)")
                }
            }
        }

        /// A file system on a disk whose 4 KiB blocks are written past the host's page cache, and one in a file that lies
        /// on such a disk.
        @Test func holdExt4InBlocksOf4KiBWithDirectIO() throws {
            try withGuest("direct4k") { scratch in
                let (inside, mounted) = try mountedFile(in: scratch)
                let device = try LoopDevice(scratch.sparse("device", bytes: 32 << 20), "-b", "4096")
                for path in [device.path, inside] {
                    let tree = scratch.path("tree")
                    try? FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: false)
                    try scratch.write("tree/seed", [UInt8](repeating: 0x5A, count: 100_000))
                    try run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", tree, path)
                    var spec = try VMConfiguration(tests: "ext4", "blocksize")
                    spec.disks = [.init(path: path, direct: true)]
                    let report = try LinuxGuest.run(spec, in: scratch)
                    try #require(report.isClean, "\(path): \(report)")
                    #expect(report["ext4-unmounted"] != nil && report["blocksize"] == "vda 4096", "\(report)")
                    #expect(try report["ext4-seed"] == sha256(of: scratch.path("tree/seed")))
                    try run("e2fsck", "-fn", path)
                }
                _ = mounted
            }
        }

        /// What the host would refuse at each write is refused before the guest starts.
        @Test func areRefusedWhereTheGuestCouldNotUseThem() throws {
            try withGuest("refused") { scratch in
                let fixed = try LoopDevice(scratch.sparse("fixed", bytes: bytes), "-r")
                let large = try LoopDevice(scratch.sparse("large", bytes: bytes), "-b", "4096")
                var spec = try VMConfiguration(tests: "hello")
                spec.disks = [
                    .init(path: fixed.path), .init(path: large.path, direct: true, logicalBlockSize: 512),
                ]
                let report = try LinuxGuest.run(spec, in: scratch)
                #expect(report.ending == .exited(65), "\(report)")
                #expect(
                    report.errors.contains(
                        "$.disks[0].path: \(fixed.path): is a read-only block device; set readonly, or make it writable: "
                            + "blockdev --setrw"), "\(report)")
                #expect(
                    report.errors.contains(
                        "$.disks[1].path: \(large.path): is read and written in blocks of 4096 bytes with direct, and "
                            + "logical_block_size is 512; leave logical_block_size out, or direct"), "\(report)")
            }
        }

        /// A disk of 5 MiB whose only partition is its last 4 MiB.
        private func partitioned(in scratch: ScratchDirectory) throws -> String {
            let path = try scratch.sparse("disk", bytes: bytes + 1 << 20)
            var table = [UInt8](repeating: 0, count: 512)
            // Not bootable, type Linux, first sector 2048, 8192 sectors; the signature.
            table.replaceSubrange(446..<462, with: [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x20, 0, 0])
            table.replaceSubrange(510..<512, with: [0x55, 0xAA])
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            try file.write(contentsOf: Data(table))
            try file.close()
            return path
        }

        private func awaitNode(_ path: String) throws {
            try #require(Deadline.seconds(10).wait { FileManager.default.fileExists(atPath: path) }, "no \(path)")
        }

        private func run(_ words: String...) throws {
            let result = try runProcess(Command(words[0], Array(words.dropFirst())))
            try #require(result.succeeded, "\(words.joined(separator: " ")): \(result)")
        }

        /// Unmounts when the last reference goes.
        private final class Mount: Sendable {
            private let point: String, device: LoopDevice
            init(_ device: LoopDevice, on point: String) throws {
                (self.device, self.point) = (device, point)
                let result = try runProcess(Command("mount", [device.path, point]))
                try #require(result.succeeded, "\(result)")
            }
            deinit { _ = try? runProcess(Command("umount", [point])) }
        }

        /// A file in a file system on a disk of 4 KiB blocks.
        private func mountedFile(in scratch: ScratchDirectory) throws -> (String, Mount) {
            let device = try LoopDevice(scratch.sparse("host", bytes: 64 << 20), "-b", "4096")
            try run("mke2fs", "-q", "-t", "ext4", device.path)
            let point = scratch.path("mount")
            try FileManager.default.createDirectory(atPath: point, withIntermediateDirectories: false)
            let mount = try Mount(device, on: point)
            return (try scratch.sparse("mount/image", bytes: 24 << 20), mount)
        }
    }
}
