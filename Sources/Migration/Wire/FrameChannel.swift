import Host
import Synchronization

/// A frame as it came.
package struct Frame: Sendable {
    package let kind: FrameKind
    /// The payload; of pages and of a disk only the head, whose bytes are in the channel's memory until the next frame.
    package let payload: [UInt8]
    /// Bytes of pages, or of a disk, behind the head.
    package let pageBytes: Int
}

/// One stream of a migration: frames both ways, each with its number and its checksums.
///
/// One thread sends and one receives at a time.
package final class FrameChannel: Sendable {
    package let connection: any ByteStream
    /// Frames so far; relaxed, since one thread at a time counts each.
    private let sent = Atomic<UInt64>(0)
    private let received = Atomic<UInt64>(0)
    /// Room for a frame of pages that goes out, with its header, and for the pages of one that comes in.
    private let outgoing: ScratchMemory
    private let incoming: ScratchMemory

    package init(_ connection: any ByteStream) throws(MigrationError) {
        self.connection = connection
        do throws(HostError) {
            outgoing = try ScratchMemory(count: FrameHeader.size + PagesHead.size + PagesHead.chunkSize)
            incoming = try ScratchMemory(count: PagesHead.chunkSize)
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }

    // MARK: Sending

    /// Sends a frame.
    ///
    /// - Parameters:
    ///   - milliseconds: how long that may take.
    ///   - stop: ends the waiting while its counter is above zero.
    package func send(
        _ kind: FrameKind, _ payload: [UInt8] = [], descriptors: [Int32] = [], within milliseconds: Int,
        heeding stop: EventFD? = nil
    ) throws(MigrationError) {
        guard payload.count <= kind.limit else {
            throw MigrationError(
                .invalid, "the machine's \(kind) has \(payload.count) bytes, and a migration takes \(kind.limit)")
        }
        let header = FrameHeader(
            kind, sequence: nextNumber(), length: payload.count, checksum: Checksum.crc32c(payload))
        do throws(StreamFault) {
            try connection.send(
                header.bytes + payload, descriptors: descriptors, within: milliseconds, heeding: stop)
        } catch {
            throw MigrationError(fault: error, "sending \(kind)")
        }
    }

    /// Sends pages: copies them first, since the guest may write them meanwhile.
    ///
    /// - Parameter chunk: the chunk's bytes.
    /// - Returns: the bytes that went out.
    package func send(
        _ head: PagesHead, of chunk: HostRange, within milliseconds: Int, heeding stop: EventFD?
    ) throws(MigrationError) -> Int {
        var end = FrameHeader.size + PagesHead.size
        for run in head.present.runs {
            let pages = chunk.pages(run)
            outgoing.range.part(end..<end + pages.count).copy(from: pages)
            end += pages.count
        }
        outgoing.fill(head.bytes, at: FrameHeader.size)
        let payload = outgoing.range.part(FrameHeader.size..<end)
        let header = FrameHeader(
            .pages, sequence: nextNumber(), length: payload.count, checksum: Checksum.crc32c(payload))
        outgoing.fill(header.bytes)
        do throws(StreamFault) {
            try connection.send(outgoing.range.part(0..<end), within: milliseconds, heeding: stop)
        } catch {
            throw MigrationError(fault: error, "sending pages")
        }
        return end
    }

    /// The number of the next frame that goes out.
    func nextNumber() -> UInt64 { sent.wrappingAdd(1, ordering: .relaxed).oldValue }

    // MARK: Receiving

    /// Whether something has come that was not received yet, the stream's end included.
    package var hasInput: Bool { connection.hasInput }

    /// Receives the next frame, and checks it.
    ///
    /// - Parameter memory: where pages are put at once; what came is all in vain where they turn out to be damaged. Without
    ///   it they stay in the channel's memory.
    package func receive(
        within milliseconds: Int?, heeding stop: EventFD? = nil, into memory: ArrivingMemory? = nil
    ) throws(MigrationError) -> Frame {
        let header = try header(within: milliseconds, heeding: stop)
        // Whoever begins a frame finishes it, however long the next one may take.
        let rest = milliseconds ?? 30_000
        if header.kind == .pages { return try pages(header, into: memory, within: rest, heeding: stop) }
        if header.kind == .diskData { return try diskData(header, within: rest, heeding: stop) }
        let payload = try bytes(header.length, within: rest, heeding: stop, "a frame (\(header.kind))")
        guard Checksum.crc32c(payload) == header.checksum else {
            throw .violation("a frame (\(header.kind)) was damaged on the way")
        }
        return Frame(kind: header.kind, payload: payload, pageBytes: 0)
    }

    /// The pages, or a disk's bytes, of the frame that was received last, packed: its first `pageBytes` bytes.
    package var pages: HostRange { incoming.range }

    private func header(within milliseconds: Int?, heeding stop: EventFD?) throws(MigrationError) -> FrameHeader {
        let bytes = try bytes(FrameHeader.size, within: milliseconds, heeding: stop, "a frame")
        let number = received.wrappingAdd(1, ordering: .relaxed).oldValue
        return try FrameHeader(bytes, sequence: number)
    }

    private func pages(
        _ header: FrameHeader, into memory: ArrivingMemory?, within milliseconds: Int, heeding stop: EventFD?
    ) throws(MigrationError) -> Frame {
        let count = header.length - PagesHead.size
        guard count >= 0, count % HostRange.pageSize == 0 else {
            throw .violation("a frame of pages has \(header.length) bytes, which are no whole pages")
        }
        let bytes = try bytes(PagesHead.size, within: milliseconds, heeding: stop, "pages")
        let head = PagesHead(bytes)
        let chunk = try memory?.place(head, dataBytes: count)
        let runs = head.present.runs
        // A call each costs less than a copy while they are few.
        let isDirect = runs.count <= 4
        var parts = [incoming.range.part(0..<count)]
        if let chunk, isDirect { parts = runs.map(chunk.pages) }
        try receive(parts, behind: bytes, header, within: milliseconds, heeding: stop, "pages")
        if let chunk {
            if !isDirect { chunk.put(incoming.range, at: head.present) }
            for run in head.zero.runs { chunk.pages(run).clear() }
        }
        return Frame(kind: .pages, payload: bytes, pageBytes: count)
    }

    /// Receives a frame's data, which comes behind its head, and checks both.
    func receive(
        _ parts: [HostRange], behind head: [UInt8], _ header: FrameHeader, within milliseconds: Int,
        heeding stop: EventFD?, _ what: String
    ) throws(MigrationError) {
        var sum = Checksum.crc32c(head)
        for part in parts {
            do throws(StreamFault) {
                try connection.receive(into: part, within: milliseconds, heeding: stop)
            } catch {
                throw MigrationError(fault: error, "waiting for \(what)")
            }
            sum = Checksum.crc32c(part, after: sum)
        }
        guard sum == header.checksum else { throw .violation("the bytes of \(what) were damaged on the way") }
    }

    /// Receives bytes, with memory for them as they come: a length alone allocates nothing.
    func bytes(
        _ count: Int, within milliseconds: Int?, heeding stop: EventFD?, _ what: String
    ) throws(MigrationError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = min(count - bytes.count, PagesHead.chunkSize)
            do throws(StreamFault) {
                try connection.receive(into: incoming.range.part(0..<part), within: milliseconds, heeding: stop)
            } catch {
                throw MigrationError(fault: error, "waiting for \(what)")
            }
            bytes += incoming.bytes(0..<part)
        }
        return bytes
    }
}
