import Host
import Migration
import VirtioBlock

/// The disks of the machine that leaves, for their images to come along.
final class LeavingDisks: MirrorSource {
    private let disks: [(id: String, image: DiskImage)]

    /// The disks of a VM whose guest is on, in the configuration's order.
    init(_ vm: CreatedVM) throws(MigrationError) {
        var disks: [(id: String, image: DiskImage)] = []
        for disk in vm.config.disks {
            guard let id = disk.id, let image = vm.backends?.disk(id) else {
                throw MigrationError(.machine, "the disk \(disk.path) is not open")
            }
            guard image.size <= MirroredDisk.sizeLimit else {
                throw MigrationError(
                    .invalid,
                    "disks: mirror copies disks of at most \(MirroredDisk.sizeLimit >> 40) TiB, and \"\(id)\" is larger; "
                        + "have both hosts reach the images, and shared")
            }
            disks.append((id, image))
        }
        self.disks = disks
    }

    /// What the hello tells of them; it looks at all of the images' holes.
    func list() throws(MigrationError) -> [MirroredDisk] {
        var list: [MirroredDisk] = []
        for (index, disk) in disks.enumerated() {
            let (logical, physical) = disk.image.blockSizes
            list.append(
                MirroredDisk(
                    id: disk.id, size: disk.image.size, dataBytes: try dataBytes(index), logicalBlockSize: logical,
                    physicalBlockSize: physical))
        }
        return list
    }

    /// Whether they are still the VM's, all of them.
    func areAll(of vm: CreatedVM) -> Bool {
        vm.config.disks.count == disks.count
            && zip(vm.config.disks, disks).allSatisfy { config, disk in
                config.id == disk.id && vm.backends?.disk(disk.id) === disk.image
            }
    }

    func begin() throws(MigrationError) {
        for (index, disk) in disks.enumerated() {
            do throws(Errno) { try disk.image.beginNoting() } catch {
                throw failure(index, "cannot be flushed: \(error)")
            }
        }
    }

    func takeWritten() throws(MigrationError) -> [[UInt64]] { disks.map { $0.image.takeWritten() } }

    func end() { for disk in disks { disk.image.endNoting() } }

    func nextData(_ disk: Int, from offset: UInt64) throws(MigrationError) -> Range<UInt64>? {
        do throws(Errno) { return try disks[disk].image.nextData(from: offset) } catch {
            throw failure(disk, "cannot be asked for its holes: \(error)")
        }
    }

    func read(_ disk: Int, into range: HostRange, at offset: UInt64) throws(MigrationError) {
        do throws(Errno) { try disks[disk].image.read(into: range, at: offset) } catch {
            throw failure(disk, "cannot be read at \(offset): \(error)")
        }
    }

    private func failure(_ disk: Int, _ words: String) -> MigrationError {
        let (id, image) = disks[disk]
        return MigrationError(.machine, "the disk \"\(id)\": \(image.options.path): \(words)")
    }
}
