import Host

/// The memory of a chain of snapshots as one.
struct ChainMemory: MemorySource {
    let chain: SnapshotChain

    var geometry: MemoryGeometry { chain.top.geometry }

    func pages(of chunk: MemoryGeometry.Chunk) -> PageSet {
        let hasData = chain.parts(of: chunk).contains { !$0.data.isEmpty }
        return hasData ? chunk.allPages : PageSet()
    }

    func bytes(of chunk: MemoryGeometry.Chunk, _ scratch: ChunkScratch) throws(SnapshotError) -> HostRange {
        scratch.first.clear()
        try chain.read(chunk, to: scratch.first, scratch.second)
        return scratch.first.part(0..<chunk.count)
    }
}

extension SnapshotChain {
    /// Writes a full snapshot with the same content, complete or not at all. It keeps the id and the time, so that diffs
    /// that build upon this snapshot accept the new one in its place.
    ///
    /// All that is read is checked.
    ///
    /// - Parameters:
    ///   - path: what is to be written; it must not exist.
    ///   - hook: is told of each step.
    package func merge(
        into path: String, workers: Int? = nil, hook: SnapshotStepHook? = nil
    ) throws(SnapshotError) -> Manifest {
        var contents = SnapshotContents(
            writer: manifest.writer, config: top.config, state: top.stateBytes, needs: manifest.needs)
        contents.origin = manifest
        contents.disks = manifest.disks ?? []
        for disk in contents.disks { contents.images[disk.id] = disk.file.map { "\(top.path)/\($0)" } }
        let parent = try? Directory.resolved(Directory.parent(of: path))
        for layer in layers where parent != nil && parent == (try? Directory.resolved(layer.path)) {
            throw SnapshotError(
                .usage, file: path, "this is in the snapshot \(layer.path), which must not change; name another place")
        }
        let writer = try SnapshotWriter(path, hook: hook)
        try writer.write(contents, source: ChainMemory(chain: self), workers: workers)
        return try writer.commit()
    }
}
