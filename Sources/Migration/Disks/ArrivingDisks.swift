import Host
import Synchronization

/// The images of the disks that come with a machine: takes blocks, each once a round, and nothing that lies outside.
package final class ArrivingDisks: Sendable {
    private struct Seen {
        /// The round at hand; nil when nothing comes any more.
        var round: UInt64? = 1
        var blocks: [SeenBlocks]
    }
    private let images: [IncomingImage]
    private let seen: Mutex<Seen>

    /// Makes an image of zeroes for each disk.
    ///
    /// - Parameter paths: of the disks in their order.
    /// - Throws: where one cannot be made; none is left then.
    package init(_ disks: [MirroredDisk], at paths: [String]) throws(MigrationError) {
        var images: [IncomingImage] = []
        // Those that are made go with the array.
        for (disk, path) in zip(disks, paths) { images.append(try IncomingImage(disk, at: path)) }
        self.images = images
        seen = Mutex(Seen(blocks: disks.map { SeenBlocks(bytes: $0.size) }))
    }

    /// Every reason why the images could not be made. Each is made for a moment, which shows most of them.
    ///
    /// - Parameter look: says what is wrong with an image, given its disk's place in the list and the file that stands in
    ///   for it.
    package static func obstacles(
        _ disks: [MirroredDisk], at paths: [String], look: (Int, String) -> String? = { _, _ in nil }
    ) -> [String] {
        var reasons: [String] = []
        var needed: [UInt64: (bytes: UInt64, free: UInt64, at: String)] = [:]
        var made: [IncomingImage] = []
        for (index, (disk, path)) in zip(disks, paths).enumerated() {
            do throws(MigrationError) {
                let image = try IncomingImage(disk, at: path)
                made.append(image)
                if let reason = look(index, image.draft) { reasons.append(reason) }
            } catch {
                reasons += error.reasons
                continue
            }
            guard let (system, free) = space(Directory.parent(of: path)) else { continue }
            let before = needed[system]?.bytes ?? 0
            needed[system] = (before &+ disk.dataBytes, free, path)
        }
        for image in made { image.discard() }
        for place in needed.values.sorted(by: { $0.at < $1.at }) where place.bytes > place.free {
            reasons.append(
                "the disks need \(place.bytes) bytes on the file system of \(place.at), where \(place.free) are free; make "
                    + "room there, or give them other paths (disks of vm.receive-migration)")
        }
        return reasons
    }

    /// Which file system a directory is on, and the bytes that are free there.
    private static func space(_ directory: String) -> (system: UInt64, free: UInt64)? {
        guard let file = try? Directory.open(directory), let status = try? file.status(), let free = file.freeBytes()
        else { return nil }
        return (status.device, free)
    }

    // MARK: Filling

    /// Begins a round: each block may come again.
    func begin(round: UInt64) {
        seen.withLock { seen in
            seen.round = round
            for index in seen.blocks.indices { seen.blocks[index].clear() }
        }
    }

    /// Puts what a frame brought where it belongs.
    ///
    /// - Parameter data: where the frame's bytes are, if it has some.
    /// - Throws: where the blocks lie outside of the disks, came before in this round, or are not as many as the head says;
    ///   and where they cannot be written.
    func put(_ frame: Frame, _ data: HostRange) throws(MigrationError) {
        guard let head = DiskHead(frame.payload) else {
            throw .violation("a frame of a disk has \(frame.payload.count) bytes before its data")
        }
        let limit = frame.kind == .diskData ? DiskBlocks.perFrame : DiskBlocks.zeroesPerFrame
        if frame.kind == .diskData, UInt64(frame.pageBytes) != head.count {
            throw .violation("\(frame.pageBytes) bytes came for \(head.count) of a disk")
        }
        let image = try target(head, limit)
        if frame.kind == .diskData {
            try image.write(data.part(0..<frame.pageBytes), at: head.offset)
        } else {
            try image.clear(at: head.offset, count: head.count)
        }
    }

    /// The image that a head's blocks belong to, once it is clear that they may come.
    private func target(_ head: DiskHead, _ limit: Int) throws(MigrationError) -> IncomingImage {
        guard let index = Int(exactly: head.disk), index < images.count else {
            throw .violation("bytes came for disk \(head.disk), and \(images.count) come along")
        }
        let image = images[index]
        let (end, wraps) = head.offset.addingReportingOverflow(head.count)
        guard !wraps, end <= image.size, head.count > 0 else {
            throw .violation("\(head.count) bytes at \(head.offset) lie behind the end of disk \(index)")
        }
        guard head.offset % DiskBlocks.size == 0, end % DiskBlocks.size == 0 || end == image.size,
            head.count <= UInt64(limit) * DiskBlocks.size
        else {
            throw .violation("\(head.count) bytes at \(head.offset) of disk \(index) are no blocks of a frame")
        }
        let blocks = Int(head.offset / DiskBlocks.size)..<DiskBlocks.count(in: end)
        let (isOfRound, isNew) = seen.withLock { seen in
            guard seen.round == UInt64(head.round) else { return (false, false) }
            return (true, seen.blocks[index].insert(blocks))
        }
        guard isOfRound else { throw .violation("a disk's bytes of round \(head.round) came in another one") }
        guard isNew else {
            throw .violation("bytes at \(head.offset) of disk \(index) came twice in round \(head.round)")
        }
        return image
    }

    /// Takes nothing any more, and has all that came brought to stable storage.
    func close() throws(MigrationError) {
        seen.withLock { $0.round = nil }
        try settle()
    }

    /// Has all that came so far brought to stable storage.
    func settle() throws(MigrationError) { for image in images { try image.settle() } }

    // MARK: Their names

    /// Gives the images their names, for the machine to be made with them.
    package func install() throws(MigrationError) {
        seen.withLock { $0.round = nil }
        for image in images { try image.install() }
    }

    /// The images are the machine's from here on.
    package func keep() { for image in images { image.keep() } }

    /// Removes the images, unless they are kept.
    package func discard() {
        seen.withLock { $0.round = nil }
        for image in images { image.discard() }
    }
}

extension ArrivingDisks? {
    /// Puts what a frame brought where it belongs, and counts it.
    func put(_ frame: Frame, _ channel: FrameChannel, _ progress: MigrationProgress) throws(MigrationError) {
        guard let disks = self else { throw .violation("a disk came where none was to come along") }
        try disks.put(frame, channel.pages)
        progress.update { report in
            let bytes = UInt64(FrameHeader.size + frame.payload.count + frame.pageBytes)
            report.bytes += bytes
            report.disks?.sent += bytes
        }
    }
}
