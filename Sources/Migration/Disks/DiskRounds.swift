import Host

/// The disks' part of a migration's rounds, on the sender's thread.
final class DiskRounds {
    private let source: any MirrorSource
    private let sender: DiskSender
    /// What is to go next.
    private var left: [[UInt64]]
    private let progress: MigrationProgress

    /// Begins to note what is written, and looks what there is.
    init(
        _ source: any MirrorSource, _ disks: [MirroredDisk], _ channels: [FrameChannel], _ limit: BandwidthLimit?,
        _ ends: (progress: MigrationProgress, stop: MigrationStop, patience: MigrationPatience)
    ) throws(MigrationError) {
        (self.source, progress) = (source, ends.progress)
        sender = try DiskSender(source, disks, channels, limit, ends)
        progress.update { $0.disks = .init(disks) }
        try source.begin()
        left = try sender.everything()
    }

    /// Bytes of the blocks that are to go next.
    var leftBytes: UInt64 { DiskBlocks.bytes(left) }

    /// Sends what is to go next.
    ///
    /// - Parameter heeding: whether a wish for the end ends it.
    /// - Returns: the bytes that went out.
    func send(_ round: DiskSender.Round, heeding: Bool) throws(MigrationError) -> UInt64 {
        let sent = try sender.send(left, round, heeding: heeding)
        for disk in left.indices { left[disk] = left[disk].map { _ in 0 } }
        return sent
    }

    /// What was written meanwhile is to go next as well.
    func take() throws(MigrationError) {
        Bitmaps.unite(&left, try source.takeWritten())
        let bytes = leftBytes
        progress.update { $0.disks?.remaining = bytes }
    }
}
