import Host
import Snapshot
import Spec

/// The images that were made of a snapshot's for the VM that is restored; they go again unless it comes to be.
struct RestoredImages: ~Copyable {
    private var paths: [String] = []

    /// The VM has them.
    consuming func keep() { paths = [] }

    deinit { for path in paths { FileDescriptor.remove(path) } }

    mutating func add(_ path: String) { paths.append(path) }
}

/// The files of a snapshot, which must not change while a guest's memory may come from them.
struct SnapshotFiles {
    private let directories: Set<String>
    private let memory: [FileIdentity]

    init(_ chain: SnapshotChain) {
        directories = Set(chain.layers.compactMap { try? Directory.resolved($0.path) })
        memory = chain.layers.compactMap { FileIdentity(following: "\($0.path)/\(SnapshotFile.memory)") }
    }

    /// Whether a file is among them, by whatever name, or would be made there.
    func have(_ file: String) -> Bool {
        if let identity = FileIdentity(following: file), memory.contains(identity) { return true }
        // The file itself, where it is there, or the directory that it would be made in.
        let place = (try? Directory.resolved(file)) ?? file
        let parent = Directory.parent(of: place)
        return directories.contains((try? Directory.resolved(parent)) ?? parent)
    }

    /// Refuses a VM that would write to the snapshot that it is made of.
    func refuse(_ config: VMConfig) throws(VMError) {
        var files = config.disks.map { ("disk \"\($0.id ?? "")\"", $0.path) }
        for (what, console) in [("serial port", config.serial), ("console", config.console)] {
            if console.mode == .file, let file = console.file { files.append((what, file)) }
        }
        if config.debugConsole.mode == .file, let file = config.debugConsole.file {
            files.append(("debug console", file))
        }
        for (what, file) in files {
            guard have(file) else { continue }
            throw VMError(
                .invalid,
                [
                    "the file of the \(what), \(file), lies in the snapshot, which must not change; name another one by "
                        + "overrides"
                ])
        }
    }
}

extension VMM {
    /// Puts the images that a snapshot has to the paths of the VM's disks, where that is asked for, and names those that
    /// have changed since the snapshot otherwise.
    ///
    /// - Parameter config: the VM's, with what changes of it.
    /// - Throws: where something is at such a path, or the image cannot be made; what was made is gone then.
    func putImages(
        _ request: RestoreRequest, _ chain: SnapshotChain, _ config: VMConfig
    ) throws -> RestoredImages {
        var images = RestoredImages()
        let saved = chain.manifest.disks ?? []
        guard let copying = request.disks else {
            for disk in saved { warn(disk, config) }
            return images
        }
        for disk in config.disks {
            guard let image = saved.first(where: { $0.id == disk.id }), image.file != nil else {
                throw VMError(
                    .invalid,
                    [
                        "$.disks: the snapshot \(chain.top.path) does not have the image of the disk \"\(disk.id ?? "")\": take "
                            + "it with disks, or leave disks out to use the image at \(disk.path)"
                    ])
            }
            try chain.top.putImage(of: image, at: disk.path, copying == .reflink ? .reflink : .copy) {
                [controller] in controller.isEnding
            }
            images.add(disk.path)
        }
        return images
    }

    /// The guest's memory holds what its file systems had written, and what they had not.
    private func warn(_ saved: SnapshotDisk, _ config: VMConfig) {
        // An image at another path is somebody's choice.
        guard config.disks.contains(where: { $0.id == saved.id && $0.path == saved.path }),
            let change = saved.change
        else { return }
        var remedy = "restore it as it was"
        if saved.file != nil {
            remedy = "the snapshot has it as it was: restore with disks, at a path where nothing is"
        }
        logger.warning(
            "the image of a disk has changed since the snapshot; the guest may find its file system damaged",
            metadata: [
                "disk": "\(saved.id)", "path": "\(saved.path)", "change": "\(change)", "remedy": "\(remedy)",
            ])
    }
}
