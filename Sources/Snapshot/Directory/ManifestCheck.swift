import Host

/// Checks what a manifest's values mean: each is one that this version can have written.
struct ManifestCheck {
    /// The manifest's path, for errors.
    let file: String

    /// The architecture that this version runs guests of.
    static let architecture = "x86_64"
    /// Behind the highest guest-physical address that a region may have.
    static let addressLimit: UInt64 = 1 << 52
    /// The most regions.
    static let regionLimit = 256

    func check(_ manifest: Manifest) throws(SnapshotError) {
        guard manifest.architecture == Self.architecture else {
            throw SnapshotError(
                .architecture, file: file, field: "architecture",
                "the guest is of \(manifest.architecture) and this version runs guests of \(Self.architecture); restore it "
                    + "on a host of its architecture")
        }
        try identifier(manifest.id, "id")
        if let parent = manifest.parent {
            try identifier(parent.id, "parent.id")
            guard !parent.path.isEmpty, parent.path.utf8.count < 4096, !parent.path.utf8.contains(0) else {
                throw bad("parent.path", "\"\(parent.path.prefix(40))\" is no path")
            }
            if parent.id == manifest.id { throw bad("parent.id", "a snapshot cannot be its own parent") }
        }
        let end = try memory(manifest.memory)
        let images = try images(manifest)
        try files(manifest.files, images, memoryEnd: end)
    }

    private func identifier(_ text: String, _ field: String) throws(SnapshotError) {
        let bytes = Array(text.utf8)
        let dashes = [8, 13, 18, 23]
        let isID =
            bytes.count == 36
            && bytes.indices.allSatisfy { index in
                dashes.contains(index)
                    ? bytes[index] == UInt8(ascii: "-") : 0x30...0x39 ~= bytes[index] || 0x61...0x66 ~= bytes[index]
            }
        if !isID { throw bad(field, "\"\(text.prefix(40))\" is no UUID in lower case") }
    }

    /// - Returns: the length that the memory's file has to have.
    private func memory(_ memory: Manifest.MemoryLayout) throws(SnapshotError) -> UInt64 {
        guard memory.pageSize == HostRange.pageSize else {
            throw bad("memory.page_size", "\(memory.pageSize) is not \(HostRange.pageSize)")
        }
        guard memory.chunkSize == MemoryGeometry.chunkSize else {
            throw bad("memory.chunk_size", "\(memory.chunkSize) is not \(MemoryGeometry.chunkSize)")
        }
        guard 1...Self.regionLimit ~= memory.regions.count else {
            throw bad("memory.regions", "\(memory.regions.count) regions are not 1 to \(Self.regionLimit)")
        }
        var address: UInt64 = 0
        var offset: UInt64 = 0
        for (index, region) in memory.regions.enumerated() {
            let place = "memory.regions[\(index)]"
            let page = UInt64(HostRange.pageSize)
            guard region.size > 0, region.size % page == 0, region.size <= Self.addressLimit else {
                throw bad("\(place).size", "\(region.size) bytes are no whole pages of a guest's RAM")
            }
            guard region.guestAddress >= address, region.guestAddress % page == 0,
                region.guestAddress <= Self.addressLimit - region.size
            else {
                throw bad("\(place).guest_address", "\(region.guestAddress) is no place for RAM behind \(address)")
            }
            let expected = MemoryGeometry.alignedUp(offset)
            guard region.fileOffset == expected else {
                throw bad("\(place).file_offset", "\(region.fileOffset) is not \(expected), where the region begins")
            }
            address = region.guestAddress + region.size
            offset = region.fileOffset + region.size
        }
        guard memory.dataBytes % UInt64(HostRange.pageSize) == 0, memory.dataBytes <= offset else {
            throw bad("memory.data_bytes", "\(memory.dataBytes) bytes are no pages of \(offset) bytes of RAM")
        }
        return offset
    }

    /// - Returns: the names of the disks' images.
    private func images(_ manifest: Manifest) throws(SnapshotError) -> Set<String> {
        var names: Set<String> = []
        for (index, disk) in (manifest.disks ?? []).enumerated() {
            guard let name = disk.file else { continue }
            let place = "disks[\(index)]"
            guard name == SnapshotFile.image(index), names.insert(name).inserted else {
                throw bad("\(place).file", "\"\(name.prefix(40))\" is not \(SnapshotFile.image(index))")
            }
            guard let entry = manifest.files[name] else { throw bad("files.\(name)", "the file is not listed") }
            guard entry.length == UInt64(exactly: disk.size) else {
                throw bad("files.\(name).length", "\(entry.length) bytes are not the disk's \(disk.size)")
            }
            if let sum = entry.crc32c, Hexadecimal.value(sum.utf8) == nil {
                throw bad("files.\(name).crc32c", "\"\(sum.prefix(40))\" is not eight hexadecimal digits")
            }
        }
        return names
    }

    private func files(
        _ files: [String: Manifest.FileEntry], _ images: Set<String>, memoryEnd: UInt64
    ) throws(SnapshotError) {
        for name in [SnapshotFile.config, SnapshotFile.state, SnapshotFile.memoryMap, SnapshotFile.memory] {
            guard let entry = files[name] else { throw bad("files.\(name)", "the file is not listed") }
            guard name != SnapshotFile.memory else {
                guard entry.length == memoryEnd else {
                    throw bad(
                        "files.\(name).length",
                        "\(entry.length) bytes are not the \(memoryEnd) that the regions have together")
                }
                continue
            }
            guard let sum = entry.crc32c, Hexadecimal.value(sum.utf8) != nil else {
                throw bad("files.\(name).crc32c", "\"\(entry.crc32c ?? "")\" is not eight hexadecimal digits")
            }
            guard entry.length <= UInt64(StateDocument.limit) else {
                throw bad("files.\(name).length", "\(entry.length) bytes are more than \(StateDocument.limit)")
            }
        }
        for name in files.keys where !SnapshotFile.all.contains(name) && !images.contains(name) {
            throw bad("files.\(name)", "this version knows no such file")
        }
    }

    private func bad(_ field: String, _ words: String) -> SnapshotError {
        SnapshotError(.malformed, file: file, field: field, "\(words); the file is damaged or was changed")
    }
}

extension SnapshotFile {
    /// The files that each manifest lists.
    static let all: Set<String> = [config, state, memory, memoryMap]
}
