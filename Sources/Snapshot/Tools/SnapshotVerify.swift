import Host
import Synchronization

/// What a full check of a snapshot has looked at.
package struct VerifiedSnapshot: Equatable, Sendable {
    /// The snapshots of the chain.
    package let snapshots: Int
    /// The files.
    package let files: Int
    /// Bytes of memory whose checksums were compared.
    package let memoryBytes: UInt64
}

extension SnapshotChain {
    /// Checks every byte of the snapshot and of its parents: all files, every chunk of the memory, and that what is no
    /// data is zero.
    ///
    /// - Throws: ``SnapshotError`` with the file and the field or chunk.
    package func verify(workers: Int? = nil) throws(SnapshotError) -> VerifiedSnapshot {
        var bytes: UInt64 = 0
        var files = 0
        for layer in layers {
            // Of the parents only the memory was opened.
            let whole = layer === top ? layer : try SnapshotDirectory(layer.path, .all)
            let state = try whole.state()
            for device in state.devices { _ = try state.kind(of: device) }
            try layer.verifyMemory(workers)
            try layer.verifyImages(workers)
            files += layer.manifest.files.count + 1
            bytes += layer.manifest.memory.dataBytes
        }
        return VerifiedSnapshot(
            snapshots: layers.count, files: files, memoryBytes: bytes)
    }
}

extension SnapshotDirectory {
    fileprivate func verifyMemory(_ workers: Int?) throws(SnapshotError) {
        let geometry = geometry
        try WorkerPool.run(geometry.chunkCount, workers: workers) { index, scratch throws(SnapshotError) in
            let chunk = geometry.chunk(index)
            let data = self.pages(of: chunk).data
            try self.read(data, of: chunk, to: scratch.first, scratch.second)
            // Behind a region that is no multiple of a chunk nothing is but a hole. The last one ends with the file.
            let whole = index + 1 < geometry.chunkCount ? chunk.withGap : chunk
            try self.checkZeroes(whole.allPages.without(data), of: whole, scratch.first)
        }
    }
}
