import Host
import Memory
import TestSupport
import Testing
import Virtio
import VirtioBlock

/// Opening images: what is refused and in which words, locks, direct I/O, and the configuration space.
struct DiskImageTests {
    private let scratch: ScratchDirectory

    init() throws { scratch = try ScratchDirectory("image") }

    private func refusal(_ options: DiskOptions) -> String? {
        do throws(DiskError) {
            _ = try DiskImage(options)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func filesThatCannotBeDisks() throws {
        let missing = scratch.path("missing.raw")
        #expect(
            refusal(rawDisk(missing))
                == "$.disks[0].path: \(missing): cannot be opened: No such file or directory (ENOENT); check the path; "
                + "a relative one starts at the directory that swiftlet runs in")
        #expect(
            refusal(rawDisk(scratch.path))
                == "$.disks[0].path: \(scratch.path): cannot be opened: Is a directory (EISDIR); "
                + "name an image file or a block device")
        #expect(
            refusal(rawDisk(scratch.path) { $0.readOnly = true })
                == "$.disks[0].path: \(scratch.path): is a directory; name an image file or a block device")
        #expect(
            refusal(rawDisk("/dev/null"))
                == "$.disks[0].path: /dev/null: is neither a file nor a block device; "
                + "name an image file or a block device")
        let empty = try scratch.write("empty.raw", [])
        #expect(
            refusal(rawDisk(empty))
                == "$.disks[0].path: \(empty): has 0 bytes; a disk has at least 512; truncate -s 1G makes one")
        let short = try scratch.write("short.raw", [UInt8](repeating: 0, count: 511))
        #expect(refusal(rawDisk(short))?.contains("has 511 bytes; a disk has at least 512") == true)
    }

    @Test(arguments: [("QFI\u{FB}", "Qcow2"), ("vhdxfile", "Vhdx"), ("conectix", "FixedVhd")])
    func otherFormats(magic: String, name: String) throws {
        let head = magic.unicodeScalars.map { UInt8($0.value) }
        let path = try scratch.write("image", head + [UInt8](repeating: 0, count: 1024 - head.count))
        #expect(
            refusal(rawDisk(path) { $0.declaredRaw = false })
                == "$.disks[0].path: \(path): is a \(name) image, which is not supported; "
                + "convert it: qemu-img convert -O raw \(path) IMAGE.raw")
        // Whoever says that it is raw gets its bytes.
        #expect(refusal(rawDisk(path)) == nil)
    }

    @Test func aPartOfASectorIsRefused() throws {
        let path = try scratch.sparse("odd.raw", bytes: 700)
        for readOnly in [false, true] {
            #expect(
                refusal(rawDisk(path) { $0.readOnly = readOnly })
                    == "$.disks[0].path: \(path): has 700 bytes, and a disk is made of whole sectors of 512; "
                    + "truncate -s 1024 \(path) fills the last one with zeros")
        }
        let fixed = try runProcess(Command("truncate", ["-s", "1024", path]))
        #expect(fixed.succeeded)
        #expect(try DiskImage(rawDisk(path)).size == 1024)
    }

    @Test func aPartOfABlockIsRefused() throws {
        let path = try scratch.sparse("odd.raw", bytes: 9 * 512)
        #expect(
            refusal(rawDisk(path) { $0.logicalBlockSize = 4096 })
                == "$.disks[0].path: \(path): has 4608 bytes, and a disk is made of whole blocks of 4096; "
                + "truncate -s 8192 \(path) fills the last one with zeros")
        #expect(refusal(rawDisk(path)) == nil)
    }

    /// A look finds what opening would, takes no lock, and needs no right to write.
    @Test func looksWithoutOpening() throws {
        func look(_ options: DiskOptions) -> String? {
            do throws(DiskError) {
                try DiskImage.check(options)
                return nil
            } catch {
                return error.description
            }
        }
        let path = try scratch.sparse("disk.raw", bytes: 1 << 20)
        #expect(look(rawDisk(path)) == nil)
        for wrong in [scratch.path("missing"), "/dev/null", try scratch.sparse("odd", bytes: 700), scratch.path] {
            let options = rawDisk(wrong) { $0.readOnly = true }
            #expect(look(options) != nil && look(options) == refusal(options))
        }
        let foreign = try scratch.write("qcow2", [0x51, 0x46, 0x49, 0xFB] + [UInt8](repeating: 0, count: 1020))
        #expect(look(rawDisk(foreign) { $0.declaredRaw = false })?.contains("is a Qcow2 image") == true)
        do {
            let holder = try DiskImage(rawDisk(path))
            #expect(look(rawDisk(path))?.contains("is locked: another VM uses it") == true)
            #expect(look(rawDisk(path) { $0.readOnly = true })?.contains("is locked") == true)
            #expect(holder.size == 1 << 20)
        }
        let reader = try DiskImage(rawDisk(path) { $0.readOnly = true })
        #expect(look(rawDisk(path) { $0.readOnly = true }) == nil)
        #expect(look(rawDisk(path))?.contains("is locked") == true)
        #expect(reader.size == 1 << 20)
    }

    @Test func locksKeepASecondWriterAway() throws {
        let path = try scratch.sparse("disk.raw", bytes: 1 << 20)
        let locked =
            "$.disks[0].path: \(path): is locked: another VM uses it; stop that VM, give this one another image, or "
            + "give both of them the image with readonly"
        do {
            let first = try DiskImage(rawDisk(path))
            #expect(refusal(rawDisk(path)) == locked)
            #expect(refusal(rawDisk(path) { $0.readOnly = true }) == locked)
            #expect(first.size == 1 << 20)
        }
        // The first one is gone, and its lock with it.
        let reader = try DiskImage(rawDisk(path) { $0.readOnly = true })
        #expect(refusal(rawDisk(path) { $0.readOnly = true }) == nil)
        #expect(refusal(rawDisk(path)) == locked)
        #expect(reader.size == 1 << 20)
    }

    // MARK: Direct I/O

    @Test func directTransfersFromUnalignedMemory() throws {
        let content = testBytes(1 << 20)
        let path = try scratch.write("direct.raw", content)
        let bench = try BlockBench(rawDisk(path) { $0.direct = true })
        // Longer than the buffer between, over segments that are aligned to nothing.
        let place = BlockBench.data + 3
        let read = try bench.request(
            0, sector: 8, [.writable(place, 1001), .writable(place + 1001, 400 * 1024 - 1001)])
        #expect(read.status == 0 && read.used == 400 * 1024 + 1)
        #expect(try bench.memory.bytes(at: place, count: 400 * 1024) == Array(content[4096..<(4096 + 400 * 1024)]))
        let new = [UInt8](testBytes(300 * 1024).reversed())
        try bench.memory.write(new, at: place)
        let write = try bench.request(1, sector: 16, [.readable(place, 5), .readable(place + 5, 300 * 1024 - 5)])
        #expect(write.status == 0)
        #expect(try scratch.read("direct.raw") == content[..<8192] + new + content[(8192 + 300 * 1024)...])
    }

    @Test func directTransfersFromAlignedMemory() throws {
        let content = testBytes(64 * 1024)
        let path = try scratch.write("direct.raw", content)
        let bench = try BlockBench(rawDisk(path) { $0.direct = true })
        let read = try bench.request(0, sector: 0, [.writable(BlockBench.data, 32768)])
        #expect(read.status == 0)
        #expect(try bench.memory.bytes(at: BlockBench.data, count: 32768) == Array(content[..<32768]))
        #expect(try bench.write(0xAB, sector: 8, count: 8) == 0)
        #expect(try scratch.read("direct.raw")[4096..<8192].allSatisfy { $0 == 0xAB })
        // Parts of the host's blocks, which direct I/O may not take.
        #expect(try bench.write(0xCD, sector: 17) == 0)
        let now = try scratch.read("direct.raw")
        #expect(now[(17 * 512)..<(18 * 512)].allSatisfy { $0 == 0xCD })
        #expect(now[(18 * 512)...] == content[(18 * 512)...])
    }

    @Test func directZeroes() throws {
        let path = try scratch.write("direct.raw", testBytes(64 * 1024))
        let bench = try BlockBench(rawDisk(path) { $0.direct = true })
        try bench.memory.write([3, 0, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0, 0, 0, 0, 0], at: BlockBench.data)
        #expect(try bench.request(13, sector: 0, [.readable(BlockBench.data, 16)]).status == 0)
        #expect(try scratch.read("direct.raw")[(3 * 512)..<(93 * 512)].allSatisfy { $0 == 0 })
    }

    // MARK: What the driver is shown

    @Test func configurationSpaceByteByByte() throws {
        let path = try scratch.sparse("disk.raw", bytes: 3 << 40)
        var settings = BlockSettings()
        settings.queues = 4
        settings.queueSize = 256
        let options = rawDisk(path) { ($0.logicalBlockSize, $0.physicalBlockSize) = (512, 4096) }
        let device = BlockDevice(id: "_disk0", try DiskImage(options), settings)
        let expected: [UInt8] =
            [0, 0, 0, 0x80, 1, 0, 0, 0]  // capacity: 3 TiB in sectors
            + [0, 0, 0, 0] + [254, 0, 0, 0]  // size_max, seg_max
            + [0, 0, 0, 0] + [0, 2, 0, 0]  // geometry, blk_size
            + [3, 0, 8, 0, 0, 0, 0, 0]  // topology
            + [1, 0, 4, 0]  // writeback, unused, num_queues
            + [0, 0, 0x40, 0] + [16, 0, 0, 0] + [8, 0, 0, 0]  // discard
            + [0, 0, 0x40, 0] + [16, 0, 0, 0] + [1, 0, 0, 0]  // write zeroes
        #expect(device.configuration() == expected)
        #expect(device.configurationSize == expected.count)
        #expect(device.queueSizes == [256, 256, 256, 256])
        #expect(device.features == 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14)
    }

    /// What the configuration leaves open follows from the rest: blocks are written at once in the logical size at least.
    @Test(
        arguments: [
            (nil, nil, 512, 1), (4096, nil, 4096, 1), (nil, 4096, 512, 8), (1024, 4096, 1024, 4),
        ] as [(UInt32?, UInt32?, Int, UInt8)])
    func blockSizes(logical: UInt32?, physical: UInt32?, shown: Int, atOnce: UInt8) throws {
        let path = try scratch.sparse("disk.raw", bytes: 1 << 20)
        let options = rawDisk(path) { ($0.logicalBlockSize, $0.physicalBlockSize) = (logical, physical) }
        let configuration = BlockDevice(id: "_disk0", try DiskImage(options), BlockSettings()).configuration()
        #expect(configuration[20..<24].elementsEqual([0, UInt8(shown / 256), 0, 0]))
        #expect(configuration[24] == UInt8(atOnce.trailingZeroBitCount) && configuration[26] == atOnce)
    }

    @Test func featuresOfAReadOnlyDisk() throws {
        let path = try scratch.sparse("disk.raw", bytes: 1 << 20)
        let image = try DiskImage(rawDisk(path) { $0.readOnly = true })
        let device = BlockDevice(id: "_disk0", image, BlockSettings())
        #expect(device.features == 1 << 2 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10)
        let before = device.configuration()
        device.writeConfiguration(offset: 0, bytes: [9, 9, 9, 9])
        #expect(device.configuration() == before)
    }
}
