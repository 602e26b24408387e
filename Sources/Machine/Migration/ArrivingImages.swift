import Host
import Migration
import Spec
import VirtioBlock

/// Where the images of disks are to be that come with a machine.
struct ArrivingImages {
    private let disks: [MirroredDisk]
    private let options: [DiskOptions]

    /// - Returns: nil where the machine's disks are here already.
    /// - Throws: where the disks that come are not those of its configuration.
    init?(_ config: VMConfig, _ plan: MachinePlan, _ hello: Hello) throws(MigrationError) {
        guard let disks = hello.disks else { return nil }
        guard disks.map(\.id) == config.disks.map(\.id) else {
            throw MigrationError(.invalid, "the disks that come along are not those of the machine's configuration")
        }
        var options: [DiskOptions] = []
        for disk in disks {
            let device = plan.devices.first { $0.id == disk.id }
            guard case .block(let found, _)? = device?.kind else {
                throw MigrationError(.invalid, "the machine has no disk \"\(disk.id)\"")
            }
            options.append(found)
        }
        (self.disks, self.options) = (disks, options)
    }

    /// What changes of the configuration: paths that were asked for here, and what the guest was told of the disks.
    static func changes(_ request: ReceiveMigrationRequest, _ hello: Hello) -> [MovedDisk] {
        var changes = request.disks
        for disk in hello.disks ?? [] {
            let index = changes.firstIndex { $0.id == disk.id } ?? changes.count
            if index == changes.count { changes.append(MovedDisk(id: disk.id)) }
            changes[index].logicalBlockSize = disk.logicalBlockSize
            // Of a block device it may be more than a configuration can say.
            changes[index].physicalBlockSize = min(disk.physicalBlockSize, Limits.physicalBlockSize.upperBound)
        }
        return changes
    }

    /// Every reason why they could not be made, or not be used then.
    func obstacles() -> [String] {
        ArrivingDisks.obstacles(disks, at: options.map(\.path)) { index, draft in
            var draftOptions = options[index]
            draftOptions.path = draft
            do throws(DiskError) {
                try DiskImage.check(draftOptions, ignoringLock: true)
                return nil
            } catch {
                return "\(error.field).path: \(options[index].path): \(error.problem)"
            }
        }
    }

    func make() throws(MigrationError) -> ArrivingDisks { try ArrivingDisks(disks, at: options.map(\.path)) }
}
