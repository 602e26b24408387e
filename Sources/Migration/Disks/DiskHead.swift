import Host

/// What stands in front of a disk's bytes, or says that there are zeroes.
///
///     0 place of the disk in the hello's list   4 round   8 offset on the disk   16 bytes
package struct DiskHead: Equatable, Sendable {
    package static let size = 24
    /// The most bytes behind it.
    package static let dataLimit = Int(DiskBlocks.size) * DiskBlocks.perFrame

    package var disk: UInt32
    package var round: UInt32
    /// A multiple of the blocks' size.
    package var offset: UInt64
    /// Whole blocks, or up to the disk's end.
    package var count: UInt64

    package init(disk: UInt32, round: UInt32, offset: UInt64, count: UInt64) {
        (self.disk, self.round, self.offset, self.count) = (disk, round, offset, count)
    }

    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size)
        LittleEndian.append(UInt64(disk), 4, to: &bytes)
        LittleEndian.append(UInt64(round), 4, to: &bytes)
        LittleEndian.append(offset, 8, to: &bytes)
        LittleEndian.append(count, 8, to: &bytes)
        return bytes
    }

    /// Reads a head; nil where there are not as many bytes as it has.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        disk = UInt32(truncatingIfNeeded: LittleEndian.number(bytes, 0, 4))
        round = UInt32(truncatingIfNeeded: LittleEndian.number(bytes, 4, 4))
        offset = LittleEndian.number(bytes, 8, 8)
        count = LittleEndian.number(bytes, 16, 8)
    }
}

/// Room for a frame of a disk's bytes: they begin at a page, and the heads stand right before those that are sent.
final class DiskBuffer: Sendable {
    private let memory: ScratchMemory
    private static let start = HostRange.pageSize
    /// The bytes, page-aligned.
    let data: HostRange

    init() throws(MigrationError) {
        do throws(HostError) { memory = try ScratchMemory(count: Self.start + DiskHead.dataLimit) } catch {
            throw MigrationError(.machine, "\(error)")
        }
        data = memory.range.part(Self.start..<Self.start + DiskHead.dataLimit)
    }

    /// A frame of some of the bytes. What is before them is written over.
    func frame(_ part: Range<Int>, _ head: DiskHead, sequence: UInt64) -> HostRange {
        let begin = Self.start + part.lowerBound
        memory.fill(head.bytes, at: begin - DiskHead.size)
        let payload = memory.range.part(begin - DiskHead.size..<begin + part.count)
        let header = FrameHeader(
            .diskData, sequence: sequence, length: payload.count, checksum: Checksum.crc32c(payload))
        memory.fill(header.bytes, at: begin - DiskHead.size - FrameHeader.size)
        return memory.range.part(begin - DiskHead.size - FrameHeader.size..<begin + part.count)
    }
}

extension FrameChannel {
    /// Sends a part of a buffer as bytes of a disk.
    ///
    /// - Returns: the bytes that went out.
    func send(
        _ head: DiskHead, _ part: Range<Int>, of buffer: DiskBuffer, within milliseconds: Int, heeding stop: EventFD?
    ) throws(MigrationError) -> Int {
        let frame = buffer.frame(part, head, sequence: nextNumber())
        do throws(StreamFault) { try connection.send(frame, within: milliseconds, heeding: stop) } catch {
            throw MigrationError(fault: error, "sending a disk")
        }
        return frame.count
    }

    /// Receives the rest of a frame of a disk's bytes: its payload is the head, and the bytes are in `pages`.
    func diskData(
        _ header: FrameHeader, within milliseconds: Int, heeding stop: EventFD?
    ) throws(MigrationError) -> Frame {
        let count = header.length - DiskHead.size
        guard count > 0 else { throw .violation("a frame of a disk has \(header.length) bytes") }
        let head = try bytes(DiskHead.size, within: milliseconds, heeding: stop, "a disk")
        try receive(
            [pages.part(0..<count)], behind: head, header, within: milliseconds, heeding: stop, "a disk")
        return Frame(kind: .diskData, payload: head, pageBytes: count)
    }
}
