import Host

/// A snapshot with the snapshots that it builds upon, down to a full one: what a VM is restored from.
///
/// All memory files are open, so that a directory may be renamed meanwhile; its files must not be changed as long as a VM
/// has them mapped.
package final class SnapshotChain: Sendable {
    /// The snapshots: the one that was asked for first, the full one last.
    package let layers: [SnapshotDirectory]

    /// The longest chain that is followed.
    static let limit = 4096

    /// Opens a snapshot and its parents, and checks all but the bytes of the memory: manifests, the ids of the parents,
    /// lengths, checksums of the small files, the tables of the memory's pages.
    ///
    /// - Throws: ``SnapshotError`` with the file and the field.
    package init(opening path: String) throws(SnapshotError) {
        var layers = [try SnapshotDirectory(path, .all)]
        var ids: Set<String> = [layers[0].manifest.id]
        while let child = layers.last, let parent = child.manifest.parent, let place = child.parentPath {
            let manifestPath = "\(child.path)/\(SnapshotFile.manifest)"
            guard layers.count < Self.limit else {
                throw SnapshotError(
                    .malformed, file: manifestPath, field: "parent", "the chain has more than \(Self.limit) snapshots")
            }
            guard ids.insert(parent.id).inserted else {
                throw SnapshotError(
                    .notTheParent, file: manifestPath, field: "parent.id",
                    "snapshot \(parent.id) builds upon itself; the chain was tampered with")
            }
            layers.append(try Self.open(parent, at: place, of: child, manifestPath))
        }
        self.layers = layers
    }

    private static func open(
        _ parent: SnapshotParent, at place: String, of child: SnapshotDirectory, _ manifestPath: String
    ) throws(SnapshotError) -> SnapshotDirectory {
        guard Directory.exists(place) else {
            throw SnapshotError(
                .parentGone, file: manifestPath, field: "parent.path",
                "the parent is gone: snapshot \(parent.id) is not at \(place); bring it back, or restore another snapshot"
            )
        }
        let directory = try SnapshotDirectory(place, .memory)
        guard directory.manifest.id == parent.id else {
            throw SnapshotError(
                .notTheParent, file: manifestPath, field: "parent.id",
                "\(place) is not the parent: it is snapshot \(directory.manifest.id), and this diff builds upon \(parent.id)"
            )
        }
        guard directory.geometry == child.geometry else {
            throw SnapshotError(
                .memoryLayout, file: manifestPath, field: "memory.regions",
                "the memory has other regions than that of the parent \(place)")
        }
        return directory
    }

    /// The snapshot that was asked for.
    package var top: SnapshotDirectory { layers[0] }

    /// The manifest of the snapshot that was asked for.
    package var manifest: Manifest { top.manifest }

    /// The guest's memory: first guest-physical addresses and sizes in bytes.
    package var regions: [Manifest.Region] { top.manifest.memory.regions }

    /// Checks that a machine's memory is what the snapshot has.
    func check(_ regions: [MemoryRegion]) throws(SnapshotError) {
        let theirs = regions.map { "0x\(String($0.guestAddress, radix: 16))+\($0.host.count)" }
        let ours = self.regions.map { "0x\(String($0.guestAddress, radix: 16))+\($0.size)" }
        guard theirs == ours else {
            throw SnapshotError(
                .memoryLayout, file: "\(top.path)/\(SnapshotFile.manifest)", field: "memory.regions",
                "the snapshot's memory is \(ours.joined(separator: ", ")) and the machine's "
                    + "\(theirs.joined(separator: ", ")); restore with the configuration that it was taken with")
        }
    }

    /// One layer's part of a chunk's pages.
    struct Part {
        let layer: SnapshotDirectory
        /// Those of its pages that no later snapshot has.
        let visible: PageSet
        /// Those of them that are in its file; the others are zero.
        let data: PageSet
    }

    /// Which layers the pages of a chunk come from.
    func parts(of chunk: MemoryGeometry.Chunk) -> [Part] {
        var left = chunk.allPages
        var parts: [Part] = []
        for layer in layers {
            let (present, data) = layer.pages(of: chunk)
            let visible = present & left
            if visible.isEmpty { continue }
            parts.append(Part(layer: layer, visible: visible, data: data & visible))
            left = left.without(present)
            if left.isEmpty { break }
        }
        return parts
    }

    /// Reads a chunk into memory that holds zeroes, and checks all that is read.
    func read(_ chunk: MemoryGeometry.Chunk, to target: HostRange, _ scratch: HostRange) throws(SnapshotError) {
        for part in parts(of: chunk) {
            if !part.data.isEmpty { try part.layer.read(part.data, of: chunk, to: target, scratch) }
            try part.layer.checkZeroes(part.visible.without(part.data), of: chunk, scratch)
        }
    }

    /// Copies all the memory into a machine's, which holds zeroes, on several threads. Every byte is checked; pages that
    /// are zero are left alone.
    ///
    /// - Parameters:
    ///   - regions: the machine's, which have to be the snapshot's.
    ///   - workers: how many threads; nil for as many as there are processors.
    ///   - isCancelled: asked again and again; true ends it.
    /// - Throws: ``SnapshotError`` with the file and the chunk. The memory holds a part of the snapshot's then.
    package func copyMemory(
        into regions: [MemoryRegion], workers: Int? = nil,
        unless isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(SnapshotError) {
        try check(regions)
        let geometry = top.geometry
        try WorkerPool.run(geometry.chunkCount, workers: workers) { index, scratch throws(SnapshotError) in
            if isCancelled() { throw SnapshotError(.cancelled, file: self.top.path, "the restore was given up") }
            let chunk = geometry.chunk(index)
            let target = regions[chunk.region].host.part(chunk.offset..<chunk.offset + chunk.count)
            try self.read(chunk, to: target, scratch.first)
        }
    }
}
